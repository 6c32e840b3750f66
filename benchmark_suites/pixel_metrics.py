"""Metrics of anomaly maps against masks, over all pixels of all images of a category at once."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adbench.benchmark_suites.judged_map import JudgedMap
from adbench.benchmark_suites.map_metrics import AUPRO_LIMITS, MEMORY_BUDGET, map_metrics
from adbench.benchmark_suites.operating_points import Array


def pixel_metrics(
    maps: Sequence[Array],
    masks: Sequence[NDArray[np.bool_]],
    *,
    aupro_limits: Mapping[str, float] = AUPRO_LIMITS,
    threads: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> dict[str, float | None]:
    """Pixel metrics of one category; all None unless there are both normal and anomalous pixels.

    ``maps`` are finite [H_i, W_i], larger = more anomalous, never scaled per image, of NumPy or of PyTorch: maps
    on a GPU are judged there. ``masks`` are bool [H_i, W_i] of NumPy, all False for normal images, which belong
    in the lists too. Sizes may differ between images.

    Gives ``pixel_auroc``, ``pixel_ap``, ``pixel_f1max_oracle`` and one AUPRO per entry of ``aupro_limits``
    (name: limit of the false positive rate in (0, 1]), each in [0, 1]. AUPRO's regions are the 8-connected
    components of each mask. ``threads`` and ``memory_budget`` are those of ``map_metrics``, which also tells
    the error bound of values that are not exact.

    Memory beyond the arguments, for float32: 4 bytes per normal and 8 to 16 per anomalous pixel, and some 50 MB.
    Raises ValueError for lengths or shapes that differ, masks that are not bool, and what ``map_metrics`` refuses.
    """
    if len(maps) != len(masks):
        raise ValueError(f"every image needs a map and a mask; got {len(maps)} maps and {len(masks)} masks")
    for index, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        if mask.dtype != np.bool_ or mask.shape != tuple(anomaly_map.shape):
            raise ValueError(
                f"masks must be bool of the shape of their map; that of image {index} is {mask.dtype} "
                f"{list(mask.shape)}, its map {list(anomaly_map.shape)}"
            )
    images = [JudgedMap(anomaly_map, mask[None]) for anomaly_map, mask in zip(maps, masks, strict=True)]
    return map_metrics(
        images, spro=False, aupro_limits=aupro_limits, threads=threads, memory_budget=memory_budget
    ).values
