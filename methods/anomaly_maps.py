"""From a raw anomaly map to the map and score that are judged."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

REFERENCE_SIZE = 256
"""The image size in pixels at which papers state smoothing widths and pixel counts; both scale with resolution."""


def smooth(maps: Tensor, sigma_at_256: float) -> Tensor:
    """Gaussian smoothing of maps [N, S, S]; ``sigma_at_256`` is in pixels of a 256-pixel image; 0: none."""
    sigma = sigma_at_256 * maps.shape[-1] / REFERENCE_SIZE
    if sigma < 0.1:  # The identity to float32, whose kernel underflows for still smaller widths.
        return maps
    kernel = _gaussian(maps.shape[-1], sigma).to(maps.device)
    blurred: Tensor = kernel @ maps @ kernel.T
    return blurred


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # Made in a prediction or not, it may serve a training next.
def _gaussian(size: int, sigma: float) -> Tensor:
    """[size, size]: row p holds what each pixel gives to pixel p, the border reflected. Two products with it blur an
    image, and take less time than convolutions with kernels of this width."""
    # Four sigmas a side, as scipy.ndimage truncates; a single reflection needs a kernel smaller than the image.
    radius = min(max(1, round(4 * sigma)), size - 1)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    sources = (torch.arange(size)[:, None] + offsets).abs()
    sources = torch.where(sources >= size, 2 * (size - 1) - sources, sources)
    kernel = torch.zeros((size, size), dtype=torch.float64)
    return kernel.scatter_add_(1, sources, (weights / weights.sum()).expand(size, -1)).float()


def upsample(maps: Tensor, size: int) -> Tensor:
    """Maps [N, h, w] to [N, size, size], bilinear."""
    return functional.interpolate(maps.unsqueeze(1), (size, size), mode="bilinear", align_corners=False).squeeze(1)


def cosine_distances(features: Sequence[Tensor], rebuilt: Sequence[Tensor], size: int) -> Tensor:
    """Maps [N, size, size]: 1 - cosine similarity at each place of layers [N, C_l, H_l, W_l], summed over layers."""
    layers = [
        upsample(1 - functional.cosine_similarity(f.float(), r.float(), dim=1), size)
        for f, r in zip(features, rebuilt, strict=True)
    ]
    return torch.stack(layers).sum(dim=0)


def top_mean(maps: Tensor, pixels_at_256: int) -> Tensor:
    """Mean of the largest pixels of each map [N, S, S]: ``pixels_at_256`` of them in a 256-pixel image."""
    size = maps.shape[-1]
    count = max(1, round(pixels_at_256 * (size / REFERENCE_SIZE) ** 2))
    return torch.topk(maps.flatten(1), min(count, size * size), dim=1).values.mean(dim=1)
