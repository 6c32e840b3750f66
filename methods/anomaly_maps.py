"""From a raw anomaly map to the map and score that are judged."""

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
    # Four sigmas a side, as scipy.ndimage truncates; reflection needs a kernel smaller than the image.
    radius = min(max(1, round(4 * sigma)), maps.shape[-1] - 1)
    from torchvision.transforms.v2.functional import gaussian_blur  # torchvision takes seconds to import

    blurred: Tensor = gaussian_blur(maps.unsqueeze(1), [2 * radius + 1] * 2, [sigma] * 2).squeeze(1)
    return blurred


def upsample(maps: Tensor, size: int) -> Tensor:
    """Maps [N, h, w] to [N, size, size], bilinear."""
    return functional.interpolate(maps.unsqueeze(1), (size, size), mode="bilinear", align_corners=False).squeeze(1)


def top_mean(maps: Tensor, pixels_at_256: int) -> Tensor:
    """Mean of the largest pixels of each map [N, S, S]: ``pixels_at_256`` of them in a 256-pixel image."""
    size = maps.shape[-1]
    count = max(1, round(pixels_at_256 * (size / REFERENCE_SIZE) ** 2))
    return torch.topk(maps.flatten(1), min(count, size * size), dim=1).values.mean(dim=1)
