"""PaDiM: patch distribution modelling (Defard et al., ICPR 2021 workshops, arXiv 2011.08785). Nothing is trained.

At every place of the map the features of normal images follow a Gaussian; an image is judged, place by place, by its
Mahalanobis distance to it. Layers are joined at the size of the largest map; of their channels a random choice is
kept. Mean and covariance are gathered batch by batch in float64, so that memory does not grow with the images, but
with places and squared channels. Beyond 8 GiB it is refused, as for the paper's 550 channels of a WideResNet50-2.

Ours, where the paper's networks do not apply: the layers of the bundled backbone, at strides 4, 8 and 16 as the
paper's. The smoothing width scales with the image size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import smooth, upsample
from adbench.methods.backbone import BUNDLED, Backbone, check_backbone
from adbench.methods.base import Choice, Context, InputPath, Method, MethodConfig, Search, to_unit_tensor
from adbench.methods.chunks import chunks
from adbench.methods.training import epoch_seed

_BATCH = 32
_MAX_BYTES = 8 * 2**30
_CHUNK_ELEMENTS = 2**21
"""Numbers in the largest temporary of the statistics: places are worked on in chunks."""


class PaDiMConfig(MethodConfig):
    """Parameters of PaDiM; defaults of the paper (its ResNet18) where it states them."""

    backbone: str = Field(default=BUNDLED, description="timm model whose frozen features are modelled")
    weights: InputPath = Field(default=None, description="safetensors file with the backbone's weights")
    layers: Annotated[tuple[int, ...], Choice(((2, 3), (1, 2, 3)))] = Field(
        default=(1, 2, 3), description="the backbone's layers, joined at the size of the largest map"
    )
    channels: Annotated[int, Search(25, 150)] = Field(
        default=100, ge=1, le=4096, description="how many channels of all layers are kept, drawn by the seed"
    )
    regularisation: Annotated[float, Search(1e-4, 10.0, log=True)] = Field(
        default=0.01, gt=0.0, le=1e4, description="epsilon: added to the diagonal of every covariance"
    )
    smoothing: float = Field(default=4.0, ge=0.0, le=64.0, description="sigma of the map's Gaussian, at 256 px")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """The paper's layers at the full budget; at quick without the first, which costs four times the places."""
        presets: dict[str, dict[str, Any]] = {"smoke": {"channels": 32}, "quick": {"layers": (2, 3)}, "full": {}}
        return presets[budget]

    def check(self, image_size: int) -> None:
        """Backbone, layers and weights exist; the statistics fit into memory."""
        strides = check_backbone(self.backbone, self.layers, self.weights)
        places = math.ceil(image_size / min(strides)) ** 2
        if statistics_bytes(places, self.channels) <= _MAX_BYTES:
            return
        from adbench.methods.backbone_weights import layer_channels  # timm takes seconds to import

        available = layer_channels(self.backbone)
        kept = min(self.channels, sum(available[layer] for layer in self.layers))
        needed = statistics_bytes(places, kept)
        if needed > _MAX_BYTES:
            raise RequestError(
                f"PaDiM needs {needed / 2**30:.1f} GiB for {places} places (image_size={image_size}, "
                f"method.layers={list(self.layers)}) and {kept} channels (method.channels={self.channels})",
                allowed=f"{_MAX_BYTES // 2**30} GiB",
                remedy="take a smaller image_size, fewer method.channels, or method.layers without the shallowest",
            )


class PaDiM(Method):
    """A Gaussian at each of the map's P places, over d channels."""

    version = "1"
    paper: ClassVar[str] = (
        "Defard et al., PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization, "
        "ICPR 2021 workshops, arXiv 2011.08785"
    )
    config_class = PaDiMConfig

    def __init__(self, config: PaDiMConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: PaDiMConfig = config
        self.backbone = Backbone(config.backbone, config.layers, config.weights).to(context.device)
        self._learned: dict[str, Tensor] = {}

    @torch.inference_mode()
    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """One pass over the normal images for means and covariances, then their Cholesky factors."""
        device, report = self.context.device, self.context.report
        chosen = draw_channels(sum(self.backbone.channels), self.config.channels, self.context.seed).to(device)
        gaussians: RunningGaussians | None = None
        for start in range(0, len(train_images), _BATCH):
            images = to_unit_tensor(train_images.pixels(slice(start, start + _BATCH)), device)
            values = join_layers(self.backbone(images), chosen)
            gaussians = gaussians or RunningGaussians(values.shape[0], values.shape[2], device)
            gaussians.update(values)
            report(start // _BATCH + 1, {"images": float(gaussians.count)})
        if gaussians is None:
            raise ValueError("PaDiM cannot be fitted to an empty image set")
        whitening = gaussians.whitening(self.config.regularisation)
        self._learned = {"channels": chosen, "means": gaussians.means.float(), "whitening": whitening}
        report(-(-len(train_images) // _BATCH) + 1, {"places": float(len(whitening))})

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: Mahalanobis distances at image size, smoothed; score: its maximum."""
        learned, size = self.state_dict(), images.shape[-1]
        if len(images) == 0:
            return images.new_zeros(0), images.new_zeros((0, size, size))
        values = join_layers(self.backbone(images), learned["channels"])
        distances = mahalanobis(values, learned["means"], learned["whitening"])
        side = math.isqrt(len(distances))
        maps = smooth(upsample(distances.T.reshape(-1, side, side), size), self.config.smoothing)
        return maps.amax(dim=(1, 2)), maps

    def state_dict(self) -> dict[str, Tensor]:
        """The chosen channels, the means and the inverse Cholesky factors."""
        if not self._learned:
            raise RuntimeError("this PaDiM is not fitted: call fit or load_state_dict first")
        return dict(self._learned)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another object learned, whatever its seed."""
        self._learned = {name: state[name].to(self.context.device) for name in ("channels", "means", "whitening")}


class RunningGaussians:
    """Mean and scatter at each of P places over d channels, of all batches so far.

    Batches are merged by their centred sums (Chan, Golub, LeVeque 1983) in float64: no large numbers cancel.
    """

    def __init__(self, places: int, channels: int, device: torch.device) -> None:
        self.count = 0
        self.means = torch.zeros((places, channels), dtype=torch.float64, device=device)
        self._scatter = torch.zeros((places, channels, channels), dtype=torch.float64, device=device)

    def update(self, values: Tensor) -> None:
        """Add features [P, N, d] of N images."""
        new = values.shape[1]
        total = self.count + new
        for chunk in chunks(len(values), values[0].numel(), _CHUNK_ELEMENTS):
            means = self.means[chunk]
            batch = values[chunk].double()
            batch_means = batch.mean(dim=1)
            batch -= batch_means[:, None]
            shift = batch_means - means
            # The scatter between the two means is that of one more row.
            between = shift[:, None] * math.sqrt(self.count * new / total)
            rows = torch.cat([batch, between], dim=1)
            self._scatter[chunk].baddbmm_(rows.mT, rows)
            means += shift * (new / total)
        self.count = total

    def covariances(self, chunk: slice) -> Tensor:
        """Sample covariances (divided by n - 1) of some places, float64 [p, d, d]."""
        return self._scatter[chunk] / max(1, self.count - 1)

    def whitening(self, regularisation: float) -> Tensor:
        """L^-1 at each place, float32 [P, d, d], where L L^T is the covariance with ``regularisation`` added."""
        places, channels, _ = self._scatter.shape
        identity = torch.eye(channels, dtype=torch.float64, device=self._scatter.device)
        inverses = torch.empty(self._scatter.shape, dtype=torch.float32, device=self._scatter.device)
        for chunk in chunks(places, channels**2, _CHUNK_ELEMENTS):
            factors = torch.linalg.cholesky(self.covariances(chunk) + regularisation * identity)
            inverses[chunk] = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)
        return inverses


def statistics_bytes(places: int, channels: int) -> int:
    """Memory of the scatter in float64 and, beside it, of the inverse factors in float32."""
    return places * channels**2 * (8 + 4)


def draw_channels(available: int, wanted: int, seed: int) -> Tensor:
    """``wanted`` of the ``available`` channels (all, if there are fewer), drawn by the seed, rising, int64."""
    generator = torch.Generator().manual_seed(epoch_seed(seed, -1))
    return torch.randperm(available, generator=generator)[:wanted].sort().values


def join_layers(features: Sequence[Tensor], chosen: Tensor) -> Tensor:
    """Layers [N, C_l, h_l, w_l] to the chosen of all their channels at every place of the largest map, [P, N, d].

    A coarser map's value counts at all places it covers (nearest), as in the paper.
    """
    height, width = max((layer.shape[-2:] for layer in features), key=math.prod)
    parts, first = [], 0
    for layer in features:
        channels, h, w = layer.shape[1:]
        own = chosen[(chosen >= first) & (chosen < first + channels)] - first
        first += channels
        rows, columns = (
            torch.arange(big, device=layer.device) * small // big for big, small in ((height, h), (width, w))
        )
        covering = (rows[:, None] * w + columns).flatten()
        # First few channels, then many places: gathering whole rows is what is fast.
        parts.append(layer.permute(2, 3, 0, 1).reshape(h * w, len(layer), channels)[..., own][covering])
    return torch.cat(parts, dim=-1)


def mahalanobis(values: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """sqrt((x - mu)^T Sigma^-1 (x - mu)) = |L^-1 (x - mu)| of features [P, N, d] at each place: [P, N]."""
    distances = values.new_empty(values.shape[:2])
    for chunk in chunks(len(values), values[0].numel(), _CHUNK_ELEMENTS):
        whitened = (values[chunk] - means[chunk, None]) @ whitening[chunk].mT
        distances[chunk] = whitened.square().sum(dim=-1).sqrt()
    return distances
