"""Metrics of anomaly maps against masks, over all pixels of all images of a category at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.benchmark_suites.operating_points import (
    Scores,
    area_under_overlap,
    auroc,
    average_precision,
    best_f1,
    operating_points,
)

AUPRO_LIMITS: Mapping[str, float] = {"aupro_030": 0.30, "aupro_005": 0.05}


def pixel_metrics(
    maps: Sequence[Scores],
    masks: Sequence[NDArray[np.bool_]],
    *,
    aupro_limits: Mapping[str, float] = AUPRO_LIMITS,
) -> dict[str, float | None]:
    """Exact pixel metrics of one category; all None unless there are both normal and anomalous pixels.

    ``maps`` are finite [H_i, W_i], larger = more anomalous, never scaled per image; ``masks`` are bool
    [H_i, W_i], all False for normal images, which belong in the lists too. Sizes may differ between images.
    Gives ``pixel_auroc``, ``pixel_ap``, ``pixel_f1max_oracle`` and one AUPRO per entry of ``aupro_limits``
    (name: limit of the false positive rate in (0, 1]), each in [0, 1]. AUPRO's regions are the 8-connected
    components of each mask. Peak memory beyond the arguments: the maps once more, and some 140 bytes per
    anomalous pixel. Raises ValueError for lengths or shapes that differ, masks that are not bool, non-finite
    maps and limits outside (0, 1].
    """
    pixels = _gathered(maps, masks)
    points = operating_points(pixels.normal_ascending, pixels.anomalous)
    if points is None:
        return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1max_oracle", *aupro_limits))
    return {
        "pixel_auroc": auroc(points),
        "pixel_ap": average_precision(points),
        "pixel_f1max_oracle": best_f1(points)[0],
        **{name: area_under_overlap(points, pixels.weights, limit) for name, limit in aupro_limits.items()},
    }


def check_maps(maps: Sequence[Scores]) -> None:
    """Raise ValueError unless every anomaly map is [H, W] and finite; the message gives the image's index."""
    for index, anomaly_map in enumerate(maps):
        if anomaly_map.ndim != 2:
            raise ValueError(f"anomaly maps must be [H, W]; that of image {index} is {list(anomaly_map.shape)}")
        if not np.isfinite(anomaly_map).all():
            raise ValueError(f"anomaly maps must be finite; that of image {index} is not")


def sorted_normal_scores(maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]]) -> Scores:
    """Scores of all pixels outside the masks, in ascending order, [N]; filled in place to keep memory low."""
    sizes = [mask.size - int(np.count_nonzero(mask)) for mask in masks]
    normal = np.empty(sum(sizes), dtype=np.result_type(np.float16, *{m.dtype for m in maps}))
    start = 0
    for anomaly_map, mask, size in zip(maps, masks, sizes, strict=True):
        normal[start : start + size] = anomaly_map[~mask] if size < mask.size else anomaly_map.ravel()
        start += size
    normal.sort()
    return normal


@dataclass(frozen=True)
class _Pixels:
    normal_ascending: Scores  # [N]
    anomalous: Scores  # [P]
    weights: NDArray[np.float64]  # [P], 1 / (area of the pixel's region x number of regions)


def _gathered(maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]]) -> _Pixels:
    if len(maps) != len(masks):
        raise ValueError(f"every image needs a map and a mask; got {len(maps)} maps and {len(masks)} masks")
    check_maps(maps)
    anomalous: list[Scores] = []
    weights: list[NDArray[np.float64]] = []
    n_regions = 0
    for index, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        if mask.dtype != np.bool_ or mask.shape != anomaly_map.shape:
            raise ValueError(
                f"masks must be bool of the shape of their map; that of image {index} is {mask.dtype} "
                f"{list(mask.shape)}, its map {list(anomaly_map.shape)}"
            )
        if mask.any():
            regions = _regions(mask)
            areas = np.bincount(regions)
            anomalous.append(anomaly_map[mask])
            weights.append(1.0 / areas[regions])
            n_regions += areas.size
    normal = sorted_normal_scores(maps, masks)
    if not anomalous:
        return _Pixels(normal, np.empty(0, dtype=normal.dtype), np.empty(0))
    return _Pixels(
        normal,
        np.concatenate(anomalous).astype(normal.dtype, copy=False),
        np.concatenate(weights) / n_regions,
    )


def _regions(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The region, counted from 0, of each anomalous pixel in row order; diagonal neighbours are connected."""
    from scipy.ndimage import label  # late: listing the metrics must stay fast

    regions, _ = label(mask, structure=np.ones((3, 3), dtype=np.int64))
    return np.asarray(regions[mask], dtype=np.int64) - 1
