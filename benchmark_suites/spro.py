"""Saturated per-region overlap (sPRO), the localisation metric of MVTec LOCO.

P. Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
Localization, IJCV 130 (2022).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adbench.benchmark_suites.judged_map import JudgedMap, Kind
from adbench.benchmark_suites.map_metrics import SPRO_LIMITS, map_metrics
from adbench.benchmark_suites.operating_points import Array


def spro_metrics(
    maps: Sequence[Array],
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
    if not len(maps) == len(channels) == len(saturations) == len(kinds):
        raise ValueError(
            "every image needs a map, channels, saturations and a kind; got "
            f"{len(maps)}, {len(channels)}, {len(saturations)} and {len(kinds)}"
        )
    images = [JudgedMap(*image) for image in zip(maps, channels, saturations, kinds, strict=True)]
    values = map_metrics(images, spro=True).values
    return {name: values[name] for name in SPRO_LIMITS}
