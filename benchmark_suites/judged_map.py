"""An anomaly map beside its ground truth, and what of its pixels each curve counts."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from adbench.benchmark_suites.operating_points import Array
from adbench.benchmark_suites.sorted_scores import ascending

Kind = Literal["good", "structural", "logical"]
Curve = Literal["pixels", "structural", "logical"]

KINDS_OF: Mapping[Curve, tuple[Kind, ...]] = {
    "pixels": ("good", "structural", "logical"),
    "structural": ("good", "structural"),
    "logical": ("good", "logical"),
}
"""The images whose normal pixels each curve counts: all, or for sPRO the good ones and those of one kind."""


@dataclass(frozen=True)
class JudgedMap:
    """One image's anomaly map and its ground truth.

    ``anomaly_map`` is finite [H, W], larger = more anomalous, of NumPy or of PyTorch on any device. ``channels``
    bool [C, H, W]: one per defect, which may overlap; a good image has none, or empty ones. ``saturations``
    are the C saturation areas in pixels (0 counts as 1), which together with ``kind`` only sPRO reads.
    """

    anomaly_map: Array
    channels: NDArray[np.bool_]
    saturations: Sequence[int] = ()
    kind: Kind = "good"


@dataclass(frozen=True)
class Anomalies:
    """Scores [P] of anomalous pixels, the number of each one's region [P], counted from 0, and the regions' areas."""

    scores: Array
    regions: Array
    areas: NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """What some images contribute to the curves. ``normal``: ascending scores outside the defects, by kind."""

    normal: dict[Kind, Array]
    anomalies: dict[Curve, list[Anomalies]]


def chunks(images: Iterable[JudgedMap], first_size: int, largest_size: int) -> Iterator[list[tuple[int, JudgedMap]]]:
    """Images with their indices, in chunks of ``first_size`` pixels that grow with what has been given.

    They end up as few parts to count in, and yet as work for several threads. Raises ValueError for maps of
    different types or devices.
    """
    chunk: list[tuple[int, JudgedMap]] = []
    size = total = 0
    first = ""
    for index, image in enumerate(images):
        scores = image.anomaly_map
        place = f"{type(scores).__module__} {scores.dtype} on {device(scores)}"
        first = first or place
        if place != first:
            raise ValueError(f"all maps must be of one type; that of image {index} is {place}, the first {first}")
        chunk.append((index, image))
        size += math.prod(scores.shape)
        if size >= min(max(first_size, total // 4), largest_size):
            yield chunk
            total, chunk, size = total + size, [], 0
    if chunk:
        yield chunk


def gather(images: Iterable[tuple[int, JudgedMap]], *, spro: bool, with_normal: bool = True) -> Pixels:
    """The pixels of some images, given with their indices; without the scores of normal ones if so asked.

    Raises ValueError, with the image's index, for what JudgedMap does not allow.
    """
    normal: dict[Kind, list[Array]] = {}
    anomalies: dict[Curve, list[Anomalies]] = {}
    for index, image in images:
        scores = _checked(index, image)
        if spro:
            _check_defects(index, image)
        kind: Kind = image.kind if spro else "good"
        union = image.channels[0] if len(image.channels) == 1 else np.logical_or.reduce(image.channels)
        xp, where = array_namespace(scores), device(scores)
        mask = xp.asarray(union, device=where) if union.any() else None
        if with_normal:
            normal.setdefault(kind, []).append(xp.reshape(scores, (-1,)) if mask is None else scores[~mask])
        if mask is not None:
            regions, areas = label_regions(union)
            own = Anomalies(scores[mask], xp.asarray(regions, device=where), areas)
            anomalies.setdefault("pixels", []).append(own)
        if spro and image.kind != "good":
            anomalies.setdefault(image.kind, []).append(_saturated(image, scores))
    # concat copies, so that sorting in place never touches the caller's maps
    parts = {kind: ascending(array_namespace(*arrays).concat(arrays)) for kind, arrays in normal.items()}
    return Pixels(parts, anomalies)


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The region, counted from 0, of each pixel of ``mask`` [H, W] in row order, and the regions' areas.

    Regions are 8-connected: diagonal neighbours touch. There is at least one pixel.
    """
    from scipy.ndimage import label  # late: listing the metrics must stay fast

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most defects are small
    labels, _ = label(box, structure=np.ones((3, 3), dtype=np.int64))
    regions = np.asarray(labels[box], dtype=np.int32) - np.int32(1)
    return regions, np.bincount(regions)


def _saturated(image: JudgedMap, scores: Array) -> Anomalies:
    """Of each defect the highest scores, up to its saturation: as the threshold falls, all that count."""
    xp, where = array_namespace(scores), device(scores)
    found, areas = [], []
    for channel, saturation in zip(image.channels, image.saturations, strict=True):
        own = xp.sort(scores[xp.asarray(channel, device=where)])
        areas.append(max(1, saturation))
        found.append(own[own.shape[0] - areas[-1] :])
    regions = np.repeat(np.arange(len(areas), dtype=np.int32), areas)
    return Anomalies(xp.concat(found), xp.asarray(regions, device=where), np.array(areas, dtype=np.int64))


def _checked(index: int, image: JudgedMap) -> Array:
    """The anomaly map, of at least single precision."""
    scores, channels = image.anomaly_map, image.channels
    if scores.ndim != 2:
        raise ValueError(f"anomaly maps must be [H, W]; that of image {index} is {list(scores.shape)}")
    xp = array_namespace(scores)
    if not xp.isdtype(scores.dtype, "real floating"):
        raise ValueError(f"anomaly maps must be floating point; that of image {index} is {scores.dtype}")
    if not bool(xp.all(xp.isfinite(scores))):
        raise ValueError(f"anomaly maps must be finite; that of image {index} is not")
    if channels.dtype != np.bool_ or channels.ndim != 3 or channels.shape[1:] != tuple(scores.shape):
        raise ValueError(
            f"channels must be bool [C, H, W] of their map's size; those of image {index} are "
            f"{channels.dtype} {list(channels.shape)}, its map {list(scores.shape)}"
        )
    return scores if scores.dtype == xp.float64 else xp.astype(scores, xp.float32, copy=False)


def _check_defects(index: int, image: JudgedMap) -> None:
    areas = [int(np.count_nonzero(channel)) for channel in image.channels]
    if image.kind == "good":
        if any(areas):
            raise ValueError(f"image {index} is good but has anomalous pixels")
        return
    if image.kind not in ("structural", "logical"):
        raise ValueError(f"kinds are good, structural or logical; image {index} has '{image.kind}'")
    if not areas or not all(areas):
        raise ValueError(f"defects must have pixels; image {index} ({image.kind}) has the areas {areas}")
    if len(areas) != len(image.saturations) or any(
        not 0 <= saturation <= area for saturation, area in zip(image.saturations, areas, strict=True)
    ):
        raise ValueError(
            f"each defect needs a saturation of 0 to its area; image {index} has {list(image.saturations)} "
            f"for the areas {areas}"
        )
