"""CKAAD: coarse-knowledge-aware adversarial learning (Fang et al., AAAI 2025, arXiv 2412.12850), and `recon`.

A feature autoencoder also rebuilds anomalies too well. A small set of image-labelled anomalies lets a discriminator
push every reconstruction towards normal features. With an anomaly ratio of 0 and no adversary it is plain feature
reconstruction, the baseline `recon`.

Reconstructed by us, where the paper's text leaves it open: the widths of the autoencoder and its 1x1 heads; the
number of labelled anomalies in a batch (the anomaly ratio's own share, at least four); energies and losses are summed
over layers; elastic pseudo-anomalies are drawn once per run, so that their features are computed once; the smoothing
width and the number of scored pixels scale with the image size.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import cosine_distances, smooth, top_mean
from adbench.methods.backbone import BUNDLED, Backbone, check_doubling
from adbench.methods.base import Choice, Context, InputPath, Method, Search, WeaklySupervisedConfig, to_unit_tensor
from adbench.methods.ckaad_networks import FeatureAutoencoder, ImageDiscriminator, PatchDiscriminator
from adbench.methods.features import FeatureSet, cached_features
from adbench.methods.pseudo_anomalies import elastic_anomalies
from adbench.methods.training import Batch, autocast, epoch_seed, optimise, train

MARGIN = 5.0
_BETAS = (0.5, 0.999)
_MIN_LABELLED_IN_BATCH = 4
_ELASTIC_BATCH = 32


class CKAADConfig(WeaklySupervisedConfig):
    """Parameters of CKAAD; defaults of the paper where it states them."""

    backbone: str = Field(default=BUNDLED, description="timm model whose frozen features are reconstructed")
    weights: InputPath = Field(default=None, description="safetensors file with the backbone's weights")
    layers: Annotated[tuple[int, ...], Choice(((3,), (2, 3), (1, 2, 3)))] = Field(
        default=(2, 3), description="the backbone's layers, shallow to deep, at strides that double"
    )
    level: Annotated[Literal["patch", "image", "both"], Choice(("patch", "image", "both"))] = Field(
        default="patch", description="what the discriminator judges"
    )
    gamma: Annotated[float, Search(0.05, 1.0)] = Field(
        default=0.5, gt=0.0, le=1.0, description="weight of reconstructions against labelled anomalies in L_D"
    )
    w_adv: Annotated[float, Search(1e-3, 1.0, log=True)] = Field(
        default=0.02, ge=0.0, le=100.0, description="weight of the adversarial term in L_AE"
    )
    lr: Annotated[float, Search(1e-4, 1e-2, log=True)] = Field(
        default=1e-3, gt=0.0, le=1.0, description="learning rate of the autoencoder"
    )
    lr_d: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(
        default=1e-4, gt=0.0, le=1.0, description="learning rate of the discriminators"
    )
    pseudo_anomalies: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="elastic-transformed normals, 1:1, as anomalies; auto: where r > 0 and none are labelled",
    )
    elastic_alpha: float = Field(
        default=200.0, gt=0.0, le=2000.0, description="strength of the elastic transform, in pixels at 256 px"
    )
    elastic_sigma: float = Field(
        default=5.0, gt=0.0, le=50.0, description="smoothness of the elastic transform, in pixels at 256 px"
    )
    epochs: int = Field(default=200, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(default=32, ge=1, le=4096, description="normal images per step")
    smoothing: float = Field(default=4.0, ge=0.0, le=64.0, description="sigma of the map's Gaussian, at 256 px")
    score: Literal["top", "mean"] = Field(
        default="top", description="image score: mean of the 100 largest map pixels (at 256 px), or of all"
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """The paper's learning rates and layers by modality, and fewer epochs at smaller budgets."""
        epochs = {"smoke": 1, "quick": 8, "full": 200}[budget]
        preset: dict[str, Any] = {"epochs": epochs, "lr": 1e-3 if modality == "medical" else 5e-3}
        if budget == "full" and modality == "industrial":
            preset["layers"] = (1, 2, 3)
        return preset

    def check(self, image_size: int) -> None:
        """Backbone, layers and weights exist; the deepest layer is large enough for a bottleneck."""
        strides = check_doubling(self.backbone, self.layers, self.weights)
        smallest = max(64, 2 * strides[-1] + 1)  # The bottleneck halves once more; its norm needs over one pixel.
        if image_size < smallest:
            raise RequestError(
                f"image_size={image_size} is too small for this method at stride {strides[-1]}",
                allowed=f"{smallest} or more",
            )


class CKAAD(Method):
    """Feature autoencoder g on a frozen backbone, trained against patch and image energies."""

    version = "3"
    paper: ClassVar[str] = (
        "Fang et al., Boosting Fine-Grained Visual Anomaly Detection with Coarse-Knowledge-Aware "
        "Adversarial Learning, AAAI 2025, arXiv 2412.12850"
    )
    config_class = CKAADConfig

    def __init__(self, config: CKAADConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: CKAADConfig = config
        device = context.device
        self.backbone = Backbone(config.backbone, config.layers, config.weights).to(device)
        channels, strides = self.backbone.channels, self.backbone.strides
        sizes = [-(-context.image_size // stride) for stride in strides]
        # Built on the CPU under a seed of their own: the same initial weights on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(context.seed, -1))
            self.autoencoder = FeatureAutoencoder(channels, strides).to(device)
            self.discriminators = nn.ModuleList()
            if config.level in ("patch", "both"):
                self.discriminators.append(PatchDiscriminator(channels))
            if config.level in ("image", "both"):
                self.discriminators.append(ImageDiscriminator(channels, sizes))
            self.discriminators.to(device)
        self._ae_optimizer = torch.optim.Adam(self.autoencoder.parameters(), lr=config.lr, betas=_BETAS)
        self._d_optimizer = torch.optim.Adam(self.discriminators.parameters(), lr=config.lr_d, betas=_BETAS)
        self._normals: FeatureSet | None = None
        self._anomalies: FeatureSet | None = None
        self._anomaly_share = 0.0

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Train on cached features of normals and of labelled (or elastic) anomalies."""
        self._normals = cached_features(self.backbone, train_images, self.context.cache, self.context.device)
        self._anomalies = self._anomaly_features(train_images, labelled)
        if self._anomalies is not None:
            self._anomaly_share = len(self._anomalies) / len(self._normals)
        train(
            self,
            self.context,
            n_images=len(train_images),
            batch_size=self.config.batch_size,
            epochs=self.config.epochs,
        )
        self._normals = self._anomalies = None

    def start_epoch(self, epoch: int) -> None:
        """Every epoch is like the others."""

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the discriminators, then one of the autoencoder (paper, algorithm 1)."""
        assert self._normals is not None
        device = self.context.device
        normals = self._normals.batch(batch.indices, device)
        if self._anomalies is None:
            with autocast(device):
                loss = reconstruction_loss(normals, self.autoencoder(normals))
            optimise(loss, self._ae_optimizer, self.autoencoder.parameters())
            return {"loss": loss}
        count = min(len(self._anomalies), max(_MIN_LABELLED_IN_BATCH, round(batch.total * self._anomaly_share)))
        chosen = torch.randint(len(self._anomalies), (count,), generator=batch.generator)
        anomalies = self._anomalies.batch(batch.share(chosen), device)

        with autocast(device):
            rebuilt = self.autoencoder([torch.cat(pair) for pair in zip(normals, anomalies, strict=True)])
            rebuilt_normals = [layer[: len(batch.indices)] for layer in rebuilt]
            fixed = [layer.detach() for layer in rebuilt]
            d_loss = sum_over(
                discriminator_loss(judge(normals), judge(anomalies), judge(fixed), self.config.gamma)
                for judge in self.discriminators
            )
        optimise(d_loss, self._d_optimizer, self.discriminators.parameters(), clip_norm=1.0)

        with autocast(device):
            reconstruction = reconstruction_loss(normals, rebuilt_normals)
            adversarial = sum_over(
                sum_over(energy.mean() for energy in judge(rebuilt)) for judge in self.discriminators
            )
            loss = reconstruction + self.config.w_adv * adversarial
        optimise(loss, self._ae_optimizer, self.autoencoder.parameters())
        return {
            "loss": loss,
            "reconstruction": reconstruction,
            "energy": adversarial,
            "discriminator": d_loss,
        }

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: sum over layers of 1 - cosine similarity per location, at image size, smoothed."""
        self.autoencoder.eval()
        features = self.backbone(images)  # In float32, as the features that were trained on.
        with autocast(self.context.device):
            rebuilt = self.autoencoder(features)
        maps = smooth(cosine_distances(features, rebuilt, images.shape[-1]), self.config.smoothing)
        return (top_mean(maps, 100) if self.config.score == "top" else maps.mean(dim=(1, 2))), maps

    def state_dict(self) -> dict[str, Tensor]:
        """The autoencoder's and the discriminators' weights; the backbone's are not learned."""
        return {
            **{f"autoencoder.{name}": value for name, value in self.autoencoder.state_dict().items()},
            **{f"discriminators.{name}": value for name, value in self.discriminators.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore both networks."""
        for prefix, module in (("autoencoder.", self.autoencoder), ("discriminators.", self.discriminators)):
            module.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})

    def train_state(self) -> dict[str, Any]:
        """Networks and optimisers."""
        return {
            "networks": self.state_dict(),
            "ae_optimizer": self._ae_optimizer.state_dict(),
            "d_optimizer": self._d_optimizer.state_dict(),
        }

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        self.load_state_dict(state["networks"])
        self._ae_optimizer.load_state_dict(state["ae_optimizer"])
        self._d_optimizer.load_state_dict(state["d_optimizer"])

    def _anomaly_features(self, normals: ImageSet, labelled: ImageSet) -> FeatureSet | None:
        mode = self.config.pseudo_anomalies
        if mode == "always":
            return self._elastic_features(normals)
        if len(labelled):
            return cached_features(self.backbone, labelled, self.context.cache, self.context.device)
        if mode == "never" or self.config.anomaly_ratio == 0:  # r = 0 is the baseline.
            return None
        self.context.notes.append("no labelled anomalies: trained on elastic pseudo-anomalies (1:1)")
        return self._elastic_features(normals)

    @torch.no_grad()
    def _elastic_features(self, normals: ImageSet) -> FeatureSet:
        generator = torch.Generator().manual_seed(epoch_seed(self.context.seed, -2))
        layers: list[list[Tensor]] = [[] for _ in self.backbone.channels]
        for start in range(0, len(normals), _ELASTIC_BATCH):
            images = to_unit_tensor(normals.pixels(slice(start, start + _ELASTIC_BATCH)), self.context.device)
            warped = elastic_anomalies(images, self.config.elastic_alpha, self.config.elastic_sigma, generator)
            for kept, layer in zip(layers, self.backbone(warped), strict=True):
                kept.append(layer)
        return FeatureSet([torch.cat(kept) for kept in layers])


def reconstruction_loss(features: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
    """sum_l mean over images of 1 - cos(flatten F_l, flatten Fhat_l)."""
    return sum_over(
        (1 - functional.cosine_similarity(f.flatten(1), r.flatten(1), dim=1)).mean()
        for f, r in zip(features, rebuilt, strict=True)
    )


def discriminator_loss(
    normal: Sequence[Tensor], anomalous: Sequence[Tensor], rebuilt: Sequence[Tensor], gamma: float
) -> Tensor:
    """L_D = mean E(F_n) + (1-gamma) mean [m - E(F_a)]_+ + gamma mean [m - E(Fhat)]_+, summed over layers."""
    return sum_over(
        n.mean() + (1 - gamma) * functional.relu(MARGIN - a).mean() + gamma * functional.relu(MARGIN - r).mean()
        for n, a, r in zip(normal, anomalous, rebuilt, strict=True)
    )


def sum_over(terms: Any) -> Tensor:
    """The sum of tensors, without the integer zero that ``sum`` starts from."""
    total: Tensor = torch.stack(list(terms)).sum(dim=0)
    return total
