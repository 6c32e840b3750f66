"""SSAE: self-supervised training with autoencoders (Bauer, Nakajima, Mueller, arXiv 2206.11723).

Trained on partially corrupted normal images, the network learns to keep what is normal and to replace what is not:
the learned map resembles an orthogonal projection onto the manifold of normal images (Mathematics 2024, 12, 3988).
What it replaces is anomalous; one forward pass tells. Two objectives of the papers: the corruption alone, and with
Gaussian noise on top of it that is kept in the target. Two controls on the same network: plain denoising, and a plain
autoencoder. The latter is refused with ``input_skip``, with which the identity is for the taking; without it, the
convex skips inside the network remain, so that this control can still copy much of its input: it has no bottleneck,
and says little about autoencoders that have one.

Reconstructed by us, where the papers' text leaves it open: the corruption (corruption.py); the channels, norms and
1x1 gates of the network, a dilated block's way back to its channels, and that dilations which reach beyond the map
are left out (ssae_networks.py); the optimiser and its schedule. Ours, and to be turned off for the papers' network:
``input_skip``, which carries the convex skips on to the image itself, so that a short training need not learn to draw
what it can keep; ``stem``, which folds pixels into channels, so that a processor can train it at all.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import REFERENCE_SIZE
from adbench.methods.base import Choice, Context, InputPath, Method, MethodConfig, Search, to_unit_tensor
from adbench.methods.corruption import CONTENTS, Content, CorruptionLaw, corrupted, donors
from adbench.methods.ssae_networks import CorruptionAutoencoder
from adbench.methods.textures import texture_files
from adbench.methods.training import Batch, autocast, epoch_seed, optimise, train

_WARM_UP = 0.05
"""Share of the training in which the learning rate rises, before it falls along a cosine to 0."""
_CLIP_NORM = 1.0


class SSAEConfig(MethodConfig):
    """Parameters of SSAE; defaults of the papers where they state them."""

    objective: Literal["corruption", "noise", "autoencoder", "denoising"] = Field(
        default="corruption",
        description="corruption, also with noise kept in the target (noise); controls: denoising, and a plain "
        "autoencoder, without input_skip only",
    )
    lam: Annotated[float, Search(0.1, 0.95)] = Field(
        default=0.5, ge=0.0, le=1.0, description="lambda: weight of the corrupted region's error against the rest's"
    )
    noise: Annotated[float, Search(0.01, 0.3, log=True, only_if=("objective", ("noise", "denoising")))] = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="deviation of the Gaussian noise of the objectives noise and denoising",
    )
    min_area: Annotated[float, Search(0.004, 0.02, log=True)] = Field(
        default=0.005, gt=0.0, le=0.5, description="smallest corrupted region, as a share of the image"
    )
    max_area: Annotated[float, Search(0.03, 0.3, log=True)] = Field(
        default=0.15,
        gt=0.0,
        le=0.5,
        description="largest corrupted region, as a share of the image; there are 1 to 3",
    )
    min_alpha: Annotated[float, Search(0.05, 1.0)] = Field(
        default=0.3, ge=0.0, le=1.0, description="least opacity of a corruption"
    )
    max_alpha: float = Field(default=1.0, gt=0.0, le=1.0, description="greatest opacity of a corruption")
    contents: tuple[Content, ...] = Field(
        default=CONTENTS, min_length=1, description="what regions are filled with, each as often as it is listed"
    )
    textures: InputPath = Field(
        default=None,
        description="folder of texture images, such as the Describable Textures Dataset; null: drawn ones",
    )
    width: int = Field(
        default=64, ge=1, le=512, description="channels of the first stage; then 2 and 4 times as many"
    )
    poolings: Annotated[int, Choice((2, 3))] = Field(
        default=2, ge=1, le=4, description="poolings of the encoder; of the papers: 2 for textures, 3 for objects"
    )
    blocks: Annotated[int, Choice((1, 2, 4))] = Field(
        default=2, ge=1, le=16, description="blocks of dilated convolutions at the deepest stage"
    )
    stem: int = Field(default=1, ge=1, le=4, description="stem x stem pixels are folded into channels first")
    input_skip: bool = Field(default=True, description="a convex skip from the image itself to the output")
    lr: Annotated[float, Search(3e-4, 1e-2, log=True)] = Field(
        default=1e-3, gt=0.0, le=1.0, description="highest learning rate"
    )
    steps: int = Field(
        default=20_000, ge=1, le=10_000_000, description="steps of the training, rounded up to whole passes"
    )
    batch_size: int = Field(default=8, ge=1, le=4096, description="images per step")
    filter_size: Annotated[int, Choice((5, 11, 21, 31))] = Field(
        default=21, ge=1, le=255, description="k: side of the map's mean filter in pixels at 256 px"
    )
    filter_repeats: Annotated[int, Choice((1, 2, 3))] = Field(
        default=2, ge=0, le=16, description="n: how often the map is filtered"
    )
    score: Annotated[Literal["sum", "max"], Choice(("sum", "max"))] = Field(
        default="max", description="image score: sum or maximum of the map"
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Poolings as for objects on medical images; at smaller budgets a narrow network on folded pixels.

        Lambda 0.3 was chosen on val data of phantom among 0.05 to 0.9, for trainings as short as these.
        """
        poolings = {"poolings": 3} if modality == "medical" else {}
        if budget == "full":
            return poolings
        steps = {"smoke": 40, "quick": 500}[budget]
        return {"steps": steps, "lam": 0.3, "width": 24, "stem": 4, "poolings": 2, "blocks": 1, "batch_size": 4}

    @classmethod
    def for_data(cls, dataset: str, category: str) -> dict[str, Any]:
        """The sum on elpv, where much of a defective cell is darker; chosen on its val data."""
        return {"score": "sum"} if dataset == "elpv" else {}

    def check(self, image_size: int) -> None:
        """Bounds are in order, there is something to learn, the textures exist, and the image is large enough."""
        for name in ("area", "alpha"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise RequestError(
                    f"method.min_{name}={low} exceeds method.max_{name}={high}", allowed=f"min_{name} <= max_{name}"
                )
        if self.objective == "autoencoder" and self.input_skip:
            raise RequestError(
                "method.objective=autoencoder with method.input_skip=true learns to return its input, which finds"
                " nothing",
                remedy="method.input_skip=false",
            )
        smallest = 2 * self.stem * 2**self.poolings
        if image_size < smallest:
            raise RequestError(
                f"image_size={image_size} is too small for method.poolings={self.poolings} and"
                f" method.stem={self.stem}",
                allowed=f"{smallest} or more",
                remedy="take a larger image_size, or fewer poolings",
            )
        if self.textures is not None:
            texture_files(Path(self.textures).expanduser())

    def law(self) -> CorruptionLaw:
        """How images are corrupted."""
        return CorruptionLaw(
            min_area=self.min_area,
            max_area=self.max_area,
            min_alpha=self.min_alpha,
            max_alpha=self.max_alpha,
            contents=self.contents,
            textures=None if self.textures is None else Path(self.textures).expanduser(),
        )


class SSAE(Method):
    """Autoencoder f that restores corrupted images; the anomaly map is |x - f(x)|^2."""

    version = "1"
    paper: ClassVar[str] = (
        "Bauer, Nakajima, Mueller, Self-Supervised Training with Autoencoders for Visual Anomaly Detection, "
        "arXiv 2206.11723; Mathematics 2024, 12(24), 3988"
    )
    config_class = SSAEConfig

    def __init__(self, config: SSAEConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: SSAEConfig = config
        # Built on the CPU under a seed of their own: the same initial weights on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(context.seed, -1))
            network = CorruptionAutoencoder(
                width=config.width,
                poolings=config.poolings,
                stem=config.stem,
                blocks=config.blocks,
                image_size=context.image_size,
                input_skip=config.input_skip,
            )
        # Channels last: up to twice as fast on processors where channels are few, and what tensor cores want.
        self.network = network.to(device=context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.lr, weight_decay=1e-4)
        self._law = config.law()
        self._images: ImageSet | None = None
        self._epochs = self._steps_in_epoch = 1
        self._step = 0

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Train on normal images; labelled anomalies are not looked at."""
        self._images = train_images
        self._steps_in_epoch = -(-len(train_images) // self.config.batch_size)
        self._epochs = -(-self.config.steps // self._steps_in_epoch)
        train(
            self,
            self.context,
            n_images=len(train_images),
            batch_size=self.config.batch_size,
            epochs=self._epochs,
        )
        self._images = None

    def start_epoch(self, epoch: int) -> None:
        """The learning rate is a function of the step, counted from the first epoch."""
        self._step = epoch * self._steps_in_epoch

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """A step on images corrupted as the objective says."""
        device = self.context.device
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.lr * learning_rate_factor(
                (self._step + 0.5) / (self._epochs * self._steps_in_epoch)
            )
        self._step += 1
        seen, target, masks = self._task(batch)
        with autocast(device):
            rebuilt = self.network(seen)
        if masks is None:
            loss = (rebuilt - target).square().mean()
        else:
            loss = restoration_loss(target, rebuilt, masks, self.config.lam)
        optimise(loss, self._optimizer, self.network.parameters(), clip_norm=_CLIP_NORM)
        return {"loss": loss}

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: squared difference to the restored image, mean over channels, filtered; score: its sum or maximum."""
        with autocast(self.context.device):
            rebuilt = self.network(images)
        maps = mean_filter(
            (images - rebuilt).square().mean(dim=1), self.config.filter_size, self.config.filter_repeats
        )
        return (maps.sum(dim=(1, 2)) if self.config.score == "sum" else maps.amax(dim=(1, 2))), maps

    def state_dict(self) -> dict[str, Tensor]:
        """The network's weights."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the network."""
        self.network.load_state_dict(dict(state))

    def train_state(self) -> dict[str, Any]:
        """Network and optimiser."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _task(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """(what the network sees, what it shall return, M [B, 1, S, S] if regions are corrupted) of a batch."""
        objective, device = self.config.objective, self.context.device
        clean = self._pixels(batch.indices)
        if objective == "autoencoder":
            return clean, clean, None

        def draw_noise(generator: torch.Generator) -> Tensor:
            return self.config.noise * torch.randn(clean.shape[1:], generator=generator, device=device)

        if objective == "denoising":
            return clean + batch.draw(device, draw_noise), clean, None
        assert self._images is not None
        others = self._pixels(donors(batch.indices, batch.seeds, len(self._images)))
        seen, masks = corrupted(clean, others, batch.seeds, self._law)
        if objective == "corruption":
            return seen, clean, masks
        # Kept in the target, it anchors the Jacobian of f towards the identity.
        noise = batch.draw(device, draw_noise)
        return seen + noise, clean + noise, masks

    def _pixels(self, indices: Tensor) -> Tensor:
        assert self._images is not None
        return to_unit_tensor(self._images.pixels(indices.numpy()), self.context.device)


def learning_rate_factor(progress: float) -> float:
    """Of the highest learning rate, after a share ``progress`` of the training: a rise, then half a cosine to 0."""
    return min(1.0, progress / _WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * progress))


def restoration_loss(target: Tensor, rebuilt: Tensor, masks: Tensor, lam: float) -> Tensor:
    """L = (1-lambda)/|1-M|_1 |(1-M)(f(xh) - x)|^2 + lambda/|M|_1 |M (f(xh) - x)|^2, mean over images.

    ``target`` x and ``rebuilt`` f(xh) are [N, C, S, S], of which squares are averaged over channels; ``masks`` M are
    [N, 1, S, S] in [0, 1]. A norm of less than one pixel counts as one pixel.
    """
    error = (rebuilt - target).square().mean(dim=1, keepdim=True)

    def normalised(share: Tensor) -> Tensor:
        return (share.square() * error).sum(dim=(1, 2, 3)) / share.sum(dim=(1, 2, 3)).clamp(min=1.0)

    return ((1.0 - lam) * normalised(1.0 - masks) + lam * normalised(masks)).mean()


def mean_filter(maps: Tensor, size_at_256: int, repeats: int) -> Tensor:
    """Maps [N, S, S], each pixel the mean of those within a square around it, ``repeats`` times.

    Its side is ``size_at_256`` pixels in a 256-pixel image, and odd. At the border the mean is of what is inside.
    """
    side = 2 * round((size_at_256 * maps.shape[-1] / REFERENCE_SIZE - 1) / 2) + 1
    if side <= 1 or repeats == 0:
        return maps
    kernel = _box(maps.shape[-1], side, repeats).to(maps.device)
    filtered: Tensor = kernel @ maps @ kernel.T
    return filtered


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _box(size: int, side: int, repeats: int) -> Tensor:
    """[size, size]: row p is the mean over the places around p, ``repeats`` times. As the mean over a square is that
    of means over its rows, two products with it filter a map, however large the square."""
    places = torch.arange(size)
    inside = ((places[:, None] - places).abs() <= side // 2).double()
    kernel: Tensor = torch.linalg.matrix_power(inside / inside.sum(dim=1, keepdim=True), repeats)
    return kernel.float()
