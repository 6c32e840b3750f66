"""Anomalies made from normal images."""

import torch
from torch import Tensor

from adbench.methods.anomaly_maps import REFERENCE_SIZE


def elastic_anomalies(images: Tensor, alpha_at_256: float, sigma_at_256: float, generator: torch.Generator) -> Tensor:
    """Images [N, 3, S, S], each warped by a smooth random displacement field of its own.

    The field is uniform noise in [-1, 1], smoothed with ``sigma`` and scaled by ``alpha``, both in pixels of a
    256-pixel image (Simard et al. 2003; alpha 200 in CKAAD, section 4.1, for sets without labelled anomalies).
    """
    from torchvision.transforms.v2.functional import elastic, gaussian_blur  # torchvision takes seconds to import

    size = images.shape[-1]
    scale = size / REFERENCE_SIZE
    sigma = sigma_at_256 * scale
    radius = max(1, round(4 * sigma))
    kernel = [min(2 * radius + 1, 2 * size - 1)] * 2
    warped = []
    for image in images:
        noise = torch.rand((1, 2, size, size), generator=generator) * 2 - 1
        # Smoothing over fewer pixels weakens white noise less: squared, the warp keeps its share of the image.
        field = gaussian_blur(noise, kernel, [sigma] * 2) * (alpha_at_256 * scale**2)
        # torchvision wants displacements in units of half the image.
        displacement = field.permute(0, 2, 3, 1) * (2 / size)
        warped.append(elastic(image, displacement.to(images.device)))
    return torch.stack(warped)
