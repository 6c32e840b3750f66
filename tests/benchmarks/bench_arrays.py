"""Anomaly maps and masks to measure metrics on: drawn quickly at any size, like those of a fair method."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]
Shape = tuple[int, int, int]

NORMAL_EVERY = 3  # images 0, 3, 6, ... are normal
BLOBS, CLOUDS, GRAIN = 8, 32, 8  # cells along a side for masks and for maps, and pixels of the finest cell


def draw(shape: Shape, share: float = 0.02, seed: int = 0) -> tuple[Maps, Masks]:
    """Maps float32 [N, H, W] in (0, 1) and masks bool [N, H, W], of whose pixels ``share`` are anomalous.

    Masks are a few blobs each, a third of the images is normal. Maps are smooth, as if enlarged from features,
    and raised over the blobs so that the pixel AUROC is about 0.9. Equal arguments give equal arrays. Raises
    ValueError where the anomalous images cannot hold the share.
    """
    count, height, width = shape
    anomalous = count - len(range(0, count, NORMAL_EVERY))
    per_image = share * count / max(anomalous, 1)
    if not 0 < per_image < 1:
        raise ValueError(f"{anomalous} anomalous of {count} images cannot hold {share:.0%} of all pixels")
    rng = np.random.default_rng(seed)
    maps, masks = np.empty(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
    for index in range(count):
        logits = _relief(rng, height, width, (CLOUDS, CLOUDS)) - 2
        logits += 0.5 * _relief(rng, height, width, (max(1, height // GRAIN), max(1, width // GRAIN)))
        if index % NORMAL_EVERY:
            relief = _relief(rng, height, width, (BLOBS, BLOBS))
            relief -= np.quantile(relief, 1 - per_image)
            masks[index] = relief > 0
            logits += 2 * _logistic(4 * relief)
        maps[index] = _logistic(logits)
    return maps, masks


def save(folder: Path, maps: Maps, masks: Masks) -> None:
    """Write the arrays where processes find them."""
    np.save(folder / "maps.npy", maps)
    np.save(folder / "masks.npy", masks)


def load(folder: Path) -> tuple[Maps, Masks]:
    """The arrays of ``save``, in memory."""
    return np.load(folder / "maps.npy"), np.load(folder / "masks.npy")


def _relief(rng: np.random.Generator, height: int, width: int, cells: tuple[int, int]) -> Maps:
    """Smooth standard normal noise, [H, W]."""
    coarse = Image.fromarray(rng.standard_normal(cells, dtype=np.float32))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _logistic(x: Maps) -> Maps:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)
