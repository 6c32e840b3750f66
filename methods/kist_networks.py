"""What KIST rebuilds, and with which network: pixels of evened contrast, or features of a frozen backbone."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import REFERENCE_SIZE, cosine_distances
from adbench.methods.backbone import Backbone
from adbench.methods.base import to_unit_tensor
from adbench.methods.ckaad_networks import FeatureAutoencoder
from adbench.methods.features import FeatureSet, cached_features
from adbench.methods.training import autocast

_WIDEST = 128
_BATCH = 32
_LEAST_DEVIATION = 0.05
"""Added to the local deviation of grey (0 to 1): even areas are not blown up to noise."""


def even_contrast(images: Tensor, sigma_at_256: float) -> Tensor:
    """Images [N, 3, S, S] minus their local mean grey, over its local deviation; 0: as they are.

    Local is a Gaussian window; its sigma is in pixels of a 256-pixel image. What remains is structure, in the same
    units in bright and dark images and places (local contrast normalisation).
    """
    sigma = sigma_at_256 * images.shape[-1] / REFERENCE_SIZE
    if sigma == 0:
        return images
    grey = images.mean(dim=1, keepdim=True)
    mean = _blurred(grey, sigma)
    deviation = _blurred((grey - mean).square(), sigma).sqrt()
    return (images - mean) / (deviation + _LEAST_DEVIATION)


def _blurred(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [N, 1, S, S], one axis after the other: wide windows would be slow in one kernel."""
    radius = min(max(1, round(3 * sigma)), planes.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, device=planes.device) / sigma
    kernel = torch.exp(-0.5 * offsets.square())
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    across = functional.conv2d(functional.pad(planes, (radius, radius, 0, 0), mode="reflect"), kernel)
    return functional.conv2d(functional.pad(across, (0, 0, radius, radius), mode="reflect"), kernel.mT)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # GroupNorm: its statistics are an image's own, whatever else is in the batch.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(math.gcd(8, outputs), outputs),
        nn.SiLU(),
    )


class PixelAutoencoder(nn.Module):
    """Images [N, 3, S, S] through ``latent`` channels at S / 2**depth and back, without a skip past the middle.

    The first halving and the last doubling only regroup pixels (2x2 to channels and back): no convolution works at
    full resolution. Sizes that 2**depth does not divide are padded with their border and cut again.
    """

    def __init__(self, width: int, depth: int, latent: int) -> None:
        super().__init__()
        self.factor = 2**depth
        widths = [min(width * 2**level, _WIDEST) for level in range(depth)]
        down = [_block(12, widths[0])]
        down += [_block(inputs, outputs, stride=2) for inputs, outputs in itertools.pairwise(widths)]
        self.encoder = nn.Sequential(nn.PixelUnshuffle(2), *down, nn.Conv2d(widths[-1], latent, 1))
        up: list[nn.Module] = [_block(latent, widths[-1])]
        for inputs, outputs in itertools.pairwise(widths[::-1]):
            up += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), _block(inputs, outputs)]
        self.decoder = nn.Sequential(*up, nn.Conv2d(widths[0], 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of the same shape."""
        height, width = images.shape[-2:]
        padding = (0, -width % self.factor, 0, -height % self.factor)
        rebuilt: Tensor = self.decoder(self.encoder(functional.pad(images, padding, mode="replicate")))
        return rebuilt[..., :height, :width]


class Inputs(Protocol):
    """What a network rebuilds of n images, by their rows."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, device: torch.device) -> list[Tensor]:
        """Of the chosen images, on the device."""
        ...


class Space(nn.Module, ABC):
    """What is rebuilt, the network that does it, and the error between the two."""

    network: nn.Module

    @abstractmethod
    def take(self, images: Tensor) -> list[Tensor]:
        """What is rebuilt of images [N, 3, S, S] in [0, 1]."""

    @abstractmethod
    def inputs(self, images: ImageSet, cache: Cache, device: torch.device) -> Inputs:
        """The same of a whole set."""

    @torch.no_grad()
    def inputs_of(self, pixels: NDArray[np.uint8], device: torch.device) -> Inputs:
        """The same of images uint8 [n, S, S, 3] that belong to no set."""
        parts = [
            self.take(to_unit_tensor(part, device)) for part in np.array_split(pixels, -(-len(pixels) // _BATCH))
        ]
        return FeatureSet([torch.cat(layer) for layer in zip(*parts, strict=True)])

    @abstractmethod
    def errors(self, taken: Sequence[Tensor], size: int) -> Tensor:
        """Errors [N, size, size] >= 0 of the reconstruction of what was taken."""


class PixelSpace(Space):
    """Images of evened contrast; the error is the squared one, averaged over channels."""

    def __init__(self, window: float, width: int, depth: int, latent: int) -> None:
        super().__init__()
        self._window = window
        self.network = PixelAutoencoder(width, depth, latent).to(memory_format=torch.channels_last)

    def take(self, images: Tensor) -> list[Tensor]:
        """[[N, 3, S, S]]."""
        return [even_contrast(images, self._window).contiguous(memory_format=torch.channels_last)]

    def inputs(self, images: ImageSet, cache: Cache, device: torch.device) -> Inputs:
        """Evened when they are asked for: of many large images there is no room for a copy."""
        return _Pixels(self, images)

    def errors(self, taken: Sequence[Tensor], size: int) -> Tensor:
        """Channel-mean squared error."""
        (images,) = taken
        with autocast(images.device):
            rebuilt = self.network(images)
        squared: Tensor = (images - rebuilt.float()).square()
        return squared.mean(dim=1)


class _Pixels:
    def __init__(self, space: PixelSpace, images: ImageSet) -> None:
        self._space, self._images = space, images

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor, device: torch.device) -> list[Tensor]:
        return self._space.take(to_unit_tensor(self._images.pixels(indices.numpy()), device))


class FeatureSpace(Space):
    """Features of a frozen backbone; the error is 1 - their cosine at each place, summed over layers."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = FeatureAutoencoder(backbone.channels, backbone.strides)

    def take(self, images: Tensor) -> list[Tensor]:
        """[N, C_l, H_l, W_l] for each layer."""
        features: list[Tensor] = self.backbone(images)
        return features

    def inputs(self, images: ImageSet, cache: Cache, device: torch.device) -> Inputs:
        """Features, computed once and kept."""
        return cached_features(self.backbone, images, cache, device)

    def errors(self, taken: Sequence[Tensor], size: int) -> Tensor:
        """Sum over layers of 1 - cosine, brought to the images' size."""
        with autocast(taken[0].device):
            rebuilt = self.network(taken)
        return cosine_distances(taken, rebuilt, size)
