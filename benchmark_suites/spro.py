"""Saturated per-region overlap (sPRO), the localisation metric of MVTec LOCO.

P. Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
Localization, IJCV 130 (2022).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adbench.benchmark_suites.operating_points import Scores, area_under_overlap, operating_points
from adbench.benchmark_suites.pixel_metrics import check_maps, sorted_normal_scores

Kind = Literal["good", "structural", "logical"]

SPRO_LIMITS: Mapping[str, float] = {
    "spro_001": 0.01,
    "spro_005": 0.05,
    "spro_010": 0.10,
    "spro_030": 0.30,
    "spro_100": 1.00,
}


def spro_metrics(
    maps: Sequence[Scores],
    channels: Sequence[NDArray[np.bool_]],
    saturations: Sequence[Sequence[int]],
    kinds: Sequence[Kind],
) -> dict[str, float | None]:
    """Area under sPRO over the false positive rate up to each of ``SPRO_LIMITS``, divided by the limit.

    Per image: ``maps`` finite [H, W], larger = more anomalous; ``channels`` bool [C, H, W], one per defect,
    which may overlap; ``saturations`` the C saturation areas in pixels, of which 0 counts as 1; ``kinds``. A
    good image has no defects: its channels are all False, in any number (none: [0, H, W]), and its
    saturations are not read.

    A defect counts min(pixels found / saturation, 1), averaged over defects; false positives are pixels
    outside the union of their image's channels. Logical and structural images are each evaluated together
    with all good ones and the two values averaged; where only one of the two is defined, it is the result,
    and where none is, None. Raises ValueError for lengths or shapes that differ, non-finite maps, empty
    defects, defects in good images, saturations outside 0..area and unknown kinds.
    """
    _check(maps, channels, saturations, kinds)
    by_kind = [
        areas
        for kind in ("structural", "logical")
        if (areas := _areas_of_kind(kind, maps, channels, saturations, kinds)) is not None
    ]
    if not by_kind:
        return dict.fromkeys(SPRO_LIMITS)
    return {name: sum(areas[name] for areas in by_kind) / len(by_kind) for name in SPRO_LIMITS}


def _areas_of_kind(
    kind: str,
    maps: Sequence[Scores],
    channels: Sequence[NDArray[np.bool_]],
    saturations: Sequence[Sequence[int]],
    kinds: Sequence[Kind],
) -> dict[str, float] | None:
    """The areas for the images of one kind together with all good ones, or None if undefined."""
    chosen = [index for index, image_kind in enumerate(kinds) if image_kind in ("good", kind)]
    found: list[Scores] = []
    weights: list[NDArray[np.float64]] = []
    for index in chosen:
        if kinds[index] == kind:
            for channel, saturation in zip(channels[index], saturations[index], strict=True):
                counted = _highest(maps[index][channel], max(1, saturation))
                found.append(counted)
                weights.append(np.full(counted.size, 1.0 / counted.size))
    if not found:
        return None
    unions = [np.asarray(channels[index].any(axis=0), dtype=np.bool_) for index in chosen]
    normal = sorted_normal_scores([maps[index] for index in chosen], unions)
    points = operating_points(normal, np.concatenate(found).astype(normal.dtype, copy=False))
    if points is None:
        return None
    all_weights = np.concatenate(weights) / len(found)
    return {name: area_under_overlap(points, all_weights, limit) for name, limit in SPRO_LIMITS.items()}


def _highest(scores: Scores, count: int) -> Scores:
    """The ``count`` highest scores: as the threshold falls, all that count before the defect is saturated."""
    return np.partition(scores, scores.size - count)[scores.size - count :]


def _check(
    maps: Sequence[Scores],
    channels: Sequence[NDArray[np.bool_]],
    saturations: Sequence[Sequence[int]],
    kinds: Sequence[Kind],
) -> None:
    if not len(maps) == len(channels) == len(saturations) == len(kinds):
        raise ValueError(
            "every image needs a map, channels, saturations and a kind; got "
            f"{len(maps)}, {len(channels)}, {len(saturations)} and {len(kinds)}"
        )
    check_maps(maps)
    for index, (anomaly_map, defects, kind) in enumerate(zip(maps, channels, kinds, strict=True)):
        if defects.dtype != np.bool_ or defects.ndim != 3 or defects.shape[1:] != anomaly_map.shape:
            raise ValueError(
                f"channels must be bool [C, H, W] of their map's size; those of image {index} are "
                f"{defects.dtype} {list(defects.shape)}, its map {list(anomaly_map.shape)}"
            )
        _check_defects(index, kind, [int(channel.sum()) for channel in defects], saturations[index])


def _check_defects(index: int, kind: str, areas: Sequence[int], saturations: Sequence[int]) -> None:
    if kind == "good":
        if any(areas):
            raise ValueError(f"image {index} is good but has anomalous pixels")
        return
    if kind not in ("structural", "logical"):
        raise ValueError(f"kinds are good, structural or logical; image {index} has '{kind}'")
    if not areas or not all(areas):
        raise ValueError(f"defects must have pixels; image {index} ({kind}) has the areas {list(areas)}")
    if len(areas) != len(saturations) or any(
        not 0 <= saturation <= area for saturation, area in zip(saturations, areas, strict=True)
    ):
        raise ValueError(
            f"each defect needs a saturation of 0 to its area; image {index} has {list(saturations)} "
            f"for the areas {list(areas)}"
        )
