"""Drawn images for miniature datasets: gratings, anomalous ones with a bright blob, whose mask is known."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (24, 32)
"""Height and width of a miniature's images."""


def draw(
    rng: np.random.Generator, *, anomalous: bool = False, size: tuple[int, int] = SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A noisy grating uint8 [H, W, 3], and the mask bool [H, W] of the blob on it; without a blob it is empty."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    grating = 90 + 30 * np.sin(2 * np.pi * x / 8 + rng.uniform(0, 2 * np.pi))
    image = np.clip(grating[..., None] + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
    radius = min(height, width) / 5
    centre = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
    blob = anomalous & ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)
    image[blob] = 250
    return image, blob


def save(path: Path, pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> Path:
    """Write pixels (masks as 0 and 255) in the format of the path's suffix, and make its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    Image.fromarray(values).save(path)
    return path
