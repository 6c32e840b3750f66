"""Regions of an anomaly map, and the attributes of them that an expert's rules can speak of."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Values = NDArray[np.float64]

MIN_PIXELS = 4
"""Smaller groups of pixels are no region: nothing can be said of their shape."""

RING_WIDTH = 0.04
"""Width of the ring around a region, in image sides (at least two pixels)."""

_NEIGHBOURS = np.ones((3, 3), np.int64)


@dataclass(frozen=True)
class Attribute:
    """What can be said of a region: a number between ``low`` and ``high``; ``meaning`` names its unit."""

    low: float
    high: float
    meaning: str


ATTRIBUTES: Mapping[str, Attribute] = {
    "area": Attribute(0.0, 1.0, "share of the image that the region covers"),
    "elongation": Attribute(
        0.0, 1.0, "1 - short axis / long axis of the ellipse with the region's second moments: 0 round, 1 a line"
    ),
    "grey": Attribute(0.0, 1.0, "mean grey of the region: 0 black, 1 white"),
    "contrast": Attribute(
        -1.0, 1.0, "mean grey of the region minus that of the ring around it: below 0 darker than its surroundings"
    ),
    "hue_distance": Attribute(
        0.0,
        1.0,
        "distance between the mean colours of region and ring in the plane of the opponent colours red - green "
        "and yellow - blue, as a share of the largest possible: 0 in grey images",
    ),
    "x": Attribute(0.0, 1.0, "centre from left (0) to right (1), in image sides"),
    "y": Attribute(0.0, 1.0, "centre from top (0) to bottom (1), in image sides"),
    "score": Attribute(0.0, 1.0, "mean anomaly score s of the region's pixels"),
}
"""Every attribute by the name that rules use. Error messages and documentation print this table."""


@dataclass(frozen=True)
class Regions:
    """R regions of one image: ``labels`` int [H, W] holds 0 (none) or 1..R, ``attributes`` float64 [R] each."""

    labels: NDArray[np.int32]
    attributes: Mapping[str, Values]

    def __len__(self) -> int:
        return len(self.attributes["area"])


def find_regions(scores: NDArray[np.float32], image: NDArray[np.uint8], threshold: float) -> Regions:
    """The 8-connected components of ``scores`` [H, W] above ``threshold`` in ``image`` uint8 [H, W, 3].

    The ring of a region holds the pixels of no region that lie within ``RING_WIDTH`` of it and are nearer to it than
    to any other. Where other regions leave no ring, its colour is that of the rest of the image.
    """
    labels, count = ndimage.label(scores > threshold, structure=_NEIGHBOURS)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = np.flatnonzero(sizes[1:] >= MIN_PIXELS) + 1
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    labels = renumbered[labels]
    colours = _colours(image)
    inside = _means(labels, colours, len(kept))
    ring = _ring_means(labels, colours, len(kept))
    attributes = _shapes(labels, len(kept)) | {
        "grey": inside[0],
        "contrast": inside[0] - ring[0],
        # The planes' extremes, red and cyan, or green and magenta, lie sqrt(5) apart.
        "hue_distance": np.hypot(*(inside[1:] - ring[1:])) / np.sqrt(5.0),
        "score": _means(labels, scores[None].astype(np.float64), len(kept))[0],
    }
    return Regions(labels, attributes)


def pseudo_label(
    scores: NDArray[np.float32], regions: Regions, degrees: Values, tau_a: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """y = s * d of each pixel's region [H, W], and A = {y >= tau_a} [H, W].

    If A is empty it is the region of the largest d times mean s, whose y is then s; without regions it stays empty.
    """
    labels = (scores * np.concatenate([[0.0], degrees])[regions.labels]).astype(np.float32)
    anomalous = labels >= tau_a
    if not anomalous.any() and len(regions):
        # Where no rule holds at all, the largest score decides.
        best = 1 + int(np.argmax((degrees + 1e-6) * regions.attributes["score"]))
        anomalous = regions.labels == best
        labels = np.where(anomalous, scores, labels)
    return labels, anomalous


def _colours(image: NDArray[np.uint8]) -> Values:
    """Grey, red - green and yellow - blue of uint8 [H, W, 3], as [3, H, W]."""
    red, green, blue = np.moveaxis(image.astype(np.float64) / 255.0, 2, 0)
    return np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue])


def _means(labels: NDArray[np.int32], planes: Values, count: int) -> Values:
    """Mean of each of the ``planes`` [K, H, W] over each region, [K, R]; NaN for a region without pixels."""
    flat = labels.ravel()
    pixels = np.bincount(flat, minlength=count + 1)[1:]
    sums = np.stack([np.bincount(flat, weights=plane.ravel(), minlength=count + 1)[1:] for plane in planes])
    means: Values = np.divide(sums, pixels, out=np.full(sums.shape, np.nan), where=pixels > 0)
    return means


def _ring_means(labels: NDArray[np.int32], colours: Values, count: int) -> Values:
    """Mean colours [3, R] of the ring around each region."""
    outside = labels == 0
    if count == 0 or not outside.any():
        return _means(labels, colours, count)  # No surroundings to differ from.
    distance, nearest = ndimage.distance_transform_edt(outside, return_indices=True)
    width = max(2.0, RING_WIDTH * labels.shape[0])
    rings = np.where(outside & (distance <= width), labels[nearest[0], nearest[1]], 0)
    means = _means(rings, colours, count)
    return np.where(np.isnan(means), colours[:, outside].mean(axis=1, keepdims=True), means)


def _shapes(labels: NDArray[np.int32], count: int) -> dict[str, Values]:
    """Area, centre and elongation of each region."""
    height, width = labels.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64) + 0.5
    planes = np.stack([rows, columns, rows * rows, columns * columns, rows * columns])
    y, x, yy, xx, yx = _means(labels, planes, count)
    # A pixel is a square, not a point: its own second moment keeps a line's short axis above zero.
    var_y, var_x, cov = yy - y * y + 1 / 12, xx - x * x + 1 / 12, yx - y * x
    middle, spread = (var_y + var_x) / 2, np.hypot((var_y - var_x) / 2, cov)
    return {
        "area": np.bincount(labels.ravel(), minlength=count + 1)[1:] / labels.size,
        "elongation": 1 - np.sqrt(np.maximum(middle - spread, 0) / (middle + spread)),
        "x": x / width,
        "y": y / height,
    }
