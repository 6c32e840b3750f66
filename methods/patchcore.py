"""PatchCore: total recall of normal patches (Roth et al., CVPR 2022, arXiv 2106.08265). Nothing is trained.

A memory bank keeps a core-set of the patch features of normal images, chosen by greedy k-centre; a patch is judged by
its distance to the nearest in the bank, an image by its worst patch, re-weighted by how common that patch's neighbour
is (the paper's equation 7).

Ours, where the paper leaves it open or its networks do not apply: layers 2 and 3 of the bundled backbone (strides 8
and 16, as the paper's); features are pooled to 1024 channels, as the authors' code does, only where there are more;
at borders the 3x3 average takes what places there are; the neighbours of a bank patch count itself; the core-set
starts at a random patch; patches beyond a memory bound are left out at random, equally many of each image, with a
note. The smoothing width scales with the image size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import smooth, upsample
from adbench.methods.backbone import BUNDLED, Backbone, check_backbone
from adbench.methods.base import Choice, Context, InputPath, Method, MethodConfig, Search, to_unit_tensor
from adbench.methods.chunks import chunks
from adbench.methods.coreset import greedy_k_centre, random_directions
from adbench.methods.training import epoch_seed

_BATCH = 32
_CHUNK_ELEMENTS = 2**22
"""Distances in the largest temporary of a nearest neighbour search."""


class PatchCoreConfig(MethodConfig):
    """Parameters of PatchCore; defaults of the paper where it states them."""

    backbone: str = Field(default=BUNDLED, description="timm model whose frozen features are kept")
    weights: InputPath = Field(default=None, description="safetensors file with the backbone's weights")
    layers: Annotated[tuple[int, ...], Choice(((2, 3), (1, 2, 3)))] = Field(
        default=(2, 3), description="the backbone's layers, joined at the size of the largest map"
    )
    channels: int = Field(
        default=1024, ge=1, le=8192, description="adaptive average pooling to so many channels, where there are more"
    )
    coreset_ratio: Annotated[float, Search(0.005, 0.25, log=True)] = Field(
        default=0.1, gt=0.0, le=1.0, description="share of all normal patches that the bank keeps"
    )
    projection: int = Field(
        default=128,
        ge=1,
        le=4096,
        description="random directions on which the core-set is chosen, if channels exceed",
    )
    neighbours: Annotated[int, Choice((0, 3, 9))] = Field(
        default=9, ge=0, le=1000, description="b: bank patches that re-weight the image score; 0: no re-weighting"
    )
    smoothing: float = Field(default=4.0, ge=0.0, le=64.0, description="sigma of the map's Gaussian, at 256 px")
    memory_mb: int = Field(
        default=2048,
        ge=1,
        le=10**6,
        description="bound on the patches held while fitting; beyond it they are thinned",
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """The paper's bank of 10 % at the full budget, smaller ones below it."""
        return {
            "smoke": {"coreset_ratio": 0.05},
            "quick": {"coreset_ratio": 0.01},
            "full": {},
        }[budget]

    def check(self, image_size: int) -> None:
        """Backbone, layers and weights exist; re-weighting has something to compare with."""
        check_backbone(self.backbone, self.layers, self.weights)
        if self.neighbours == 1:
            raise RequestError(
                "method.neighbours=1 would compare a patch with itself", allowed="0 (no re-weighting), or 2 or more"
            )


class PatchCore(Method):
    """A bank of M normal patches over C channels."""

    version = "1"
    paper: ClassVar[str] = (
        "Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, arXiv 2106.08265"
    )
    config_class = PatchCoreConfig

    def __init__(self, config: PatchCoreConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: PatchCoreConfig = config
        self.backbone = Backbone(config.backbone, config.layers, config.weights).to(context.device)
        self._bank: MemoryBank | None = None
        self._steps = 0

    @torch.inference_mode()
    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """One pass over the normal images for their patches, then the core-set of these."""
        if len(train_images) == 0:
            raise ValueError("PatchCore cannot be fitted to an empty image set")
        self._steps = 0
        generator = torch.Generator().manual_seed(epoch_seed(self.context.seed, -1))
        patches, projected = self._collect(train_images, generator)
        count = math.ceil(self.config.coreset_ratio * len(patches))
        # Less than the neighbours that re-weight a score would be too small a bank.
        count = min(len(patches), max(count, self.config.neighbours))
        start = int(torch.randint(len(patches), (1,), generator=generator))
        chosen = greedy_k_centre(
            projected, count, start, lambda done, radius: self._report(bank=float(done), radius=radius)
        )
        self._bank = MemoryBank(patches[chosen])

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: distances to the nearest in the bank at image size, smoothed; score: the paper's equation 7."""
        bank, size = self._fitted(), images.shape[-1]
        if len(images) == 0:
            return images.new_zeros(0), images.new_zeros((0, size, size))
        patches = self._patches(images)
        distances, indices = (found.reshape(patches.shape[:2]) for found in bank.nearest(patches.flatten(0, 1)))
        scores, worst = distances.max(dim=1)
        if self.config.neighbours:
            rows = torch.arange(len(images), device=images.device)
            weights = bank.weights(patches[rows, worst], indices[rows, worst], scores, self.config.neighbours)
            scores = weights * scores
        side = math.isqrt(distances.shape[1])
        maps = smooth(upsample(distances.reshape(-1, side, side), size), self.config.smoothing)
        return scores, maps

    def state_dict(self) -> dict[str, Tensor]:
        """The bank."""
        return {"bank": self._fitted().patches}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the bank of another object, whatever its seed and size."""
        self._bank = MemoryBank(state["bank"].to(self.context.device))

    def _fitted(self) -> "MemoryBank":
        if self._bank is None:
            raise RuntimeError("this PatchCore is not fitted: call fit or load_state_dict first")
        return self._bank

    def _report(self, **values: float) -> None:
        self._steps += 1
        self.context.report(self._steps, values)

    def _patches(self, images: Tensor) -> Tensor:
        """Locally aware patch features [N, P, C] of images."""
        return patch_features(self.backbone(images), self.config.channels)

    def _collect(self, images: ImageSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Patches [n, C] of all images, or as many of each as the memory bound allows, and their projections."""
        device = self.context.device
        places, channels = self._patches(to_unit_tensor(images.pixels(slice(0, 1)), device)).shape[1:]
        dimensions = min(self.config.projection, channels)
        # Beside the patches: their projections and the two copies of these that choosing the core-set makes.
        kept = patches_per_image(len(images), places, channels + 3 * dimensions, self.config.memory_mb)
        if kept < places:
            self.context.notes.append(
                f"the bank was chosen from {kept} random patches of the {places} of each image, to stay within "
                f"memory_mb={self.config.memory_mb}"
            )
        directions = random_directions(channels, dimensions, generator).to(device)
        patches = torch.empty((len(images) * kept, channels), device=device)
        projected = patches if dimensions == channels else torch.empty((len(patches), dimensions), device=device)
        for start in range(0, len(images), _BATCH):
            found = self._patches(to_unit_tensor(images.pixels(slice(start, start + _BATCH)), device))
            if kept < places:
                order = torch.rand(found.shape[:2], generator=generator).argsort(dim=1)[:, :kept].to(device)
                found = found.gather(1, order[..., None].expand(-1, -1, channels))
            rows = slice(start * kept, (start + len(found)) * kept)
            patches[rows] = found.flatten(0, 1)
            if dimensions < channels:
                projected[rows] = patches[rows] @ directions
            self._report(images=float(start + len(found)))
        return patches, projected


class MemoryBank:
    """Patches [M, C] among which the nearest of others are found, exactly."""

    def __init__(self, patches: Tensor) -> None:
        self.patches = patches
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab cancels less where the bank's mean is the origin.
        self._centre = patches.mean(dim=0)
        self._columns = (patches - self._centre).T.contiguous()
        self._halves = self._columns.square().sum(dim=0) / 2

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [Q] of queries [Q, C] to their nearest patches, and these' indices, int64 [Q]."""
        distances = queries.new_empty(len(queries))
        indices = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
        for chunk in chunks(len(queries), len(self.patches), _CHUNK_ELEMENTS):
            indices[chunk] = self._ranks(queries[chunk]).argmin(dim=1)
            # The distance itself is taken from the difference, where nothing cancels.
            distances[chunk] = (queries[chunk] - self.patches[indices[chunk]]).square().sum(dim=1).sqrt()
        return distances, indices

    def weights(self, queries: Tensor, indices: Tensor, distances: Tensor, neighbours: int) -> Tensor:
        """1 - exp|q - m*| / sum over m in N_b(m*) of exp|q - m|, in [0, 1], for queries [Q, C] (equation 7).

        m* is the bank patch at ``indices`` and the query's nearest, at ``distances``; N_b(m*) are the ``neighbours``
        bank patches nearest to it, itself among them.
        """
        weights = torch.empty_like(distances)
        for chunk in chunks(len(queries), max(len(self.patches), neighbours * queries.shape[1]), _CHUNK_ELEMENTS):
            own = indices[chunk, None]
            ranks = self._ranks(self.patches[indices[chunk]]).scatter_(1, own, -torch.inf)
            around = ranks.topk(min(neighbours, len(self.patches)), dim=1, largest=False).indices
            apart = (queries[chunk, None] - self.patches[around]).square().sum(dim=2).sqrt()
            weights[chunk] = 1 - (distances[chunk] - apart.logsumexp(dim=1)).exp()
        return weights.clamp_(min=0)

    def _ranks(self, queries: Tensor) -> Tensor:
        """[Q, M], rising with the distance: |b|^2/2 - ab."""
        return torch.addmm(self._halves, queries - self._centre, self._columns, alpha=-1)


def patch_features(features: Sequence[Tensor], channels: int) -> Tensor:
    """Layers [N, C_l, h_l, w_l] to patches [N, P, C] at the places of the largest map.

    Each layer is averaged over 3x3 places and brought to the largest map's size (bilinear); joined channels are
    pooled to ``channels``, where there are more.
    """
    size = max((tuple(layer.shape[-2:]) for layer in features), key=math.prod)
    averaged = [functional.avg_pool2d(layer, 3, stride=1, padding=1, count_include_pad=False) for layer in features]
    joined = torch.cat(
        [
            layer if layer.shape[-2:] == size else functional.interpolate(layer, size, mode="bilinear")
            for layer in averaged
        ],
        dim=1,
    )
    patches = joined.flatten(2).mT.contiguous()
    return functional.adaptive_avg_pool1d(patches, channels) if patches.shape[2] > channels else patches


def patches_per_image(images: int, places: int, numbers: int, memory_mb: int) -> int:
    """How many of the patches of an image, of ``numbers`` float32 each, fit if all images are to: at least one."""
    return max(1, min(places, memory_mb * 2**20 // (4 * numbers * images)))
