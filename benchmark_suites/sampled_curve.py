"""The curves behind the areas, at a few fixed false positive rates: small enough to keep of every run.

All runs share the rates, so that curves of seeds and categories have a mean, whose area is the mean of their areas.
A curve only rises. Between two rates it lies in a rectangle that the line between its two points halves, so the area
under the points is off by no more than half of all these rectangles, whatever the curve does between them. Low rates,
where the areas up to small limits are made, therefore lie denser: the areas up to 0.01, 0.05, 0.1, 0.3 and 1, divided
by that limit, are within 0.01 of the exact ones for every curve, and far closer for those that rise bit by bit.
"""

from typing import Final, Literal

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from adbench.benchmark_suites.operating_points import Array, OperatingPoints

Floats = NDArray[np.float64]
CurveName = Literal["pixel_roc", "pro", "spro"]

_STEPS = (range(0, 100, 2), range(100, 500, 10), range(500, 1000, 20), range(1000, 3000, 50), range(3000, 10001, 200))

FALSE_POSITIVE_RATES: Final[Floats] = np.concatenate(_STEPS) / 10_000
"""[K]: 156 rates up to 0.3, of which 51 are up to 0.01, and 35 beyond, which only the pixel ROC and sPRO need."""

AREA_BOUND: Final = 0.01
"""How far the area under the points up to one of these limits, divided by it, can be from that of the curve."""


class SampledCurve:
    """Recall and overlap at FALSE_POSITIVE_RATES, on the lines that AreaUnderOverlap draws between points.

    Where the curve jumps at a rate, the upper end counts: what is found with at most that many false positives.
    Between thresholds that were left out to save memory it is the diagonal of what is possible.
    """

    def __init__(self, n_anomalous: int, n_normal: int) -> None:
        self._n_anomalous = n_anomalous
        self._counts = FALSE_POSITIVE_RATES * n_normal
        self._done = 0
        # Once all anomalous items are found, false positives are all that is left.
        self.recall: Floats = np.ones_like(self._counts)
        self.overlap: Floats = np.ones_like(self._counts)

    def add(self, points: OperatingPoints) -> None:
        """Take the next stretch of the curve."""
        xp = array_namespace(points.normal)
        left = xp.asarray(self._counts[self._done :], dtype=xp.float64, device=device(points.normal))
        at = xp.searchsorted(points.normal, left, side="right")  # the first threshold with more false positives
        size = int(points.normal.shape[0])
        reached = int(xp.count_nonzero(at < size))
        at, left = at[:reached], left[:reached]
        own = slice(self._done, self._done + reached)
        before, above, end = points.normal_before[at], points.normal_above[at], points.normal[at]
        found = (points.anomalous_before, points.anomalous_above, points.anomalous)
        overlap = (points.overlap_before, points.overlap_above, points.overlap)
        for target, heights, whole in ((self.recall, found, self._n_anomalous), (self.overlap, overlap, 1)):
            low, middle, high = (height[at] for height in heights)
            rising = _between(left, before, above, low, middle)
            tied = _between(left, above, end, middle, high)
            target[own] = np.asarray(xp.where(left < above, rising, tied).tolist()) / whole
        self._done += reached


def _between(x: Array, start: Array, end: Array, low: Array, high: Array) -> Array:
    """The height at ``x`` on the line from (start, low) to (end, high); of any use only where start <= x < end."""
    xp = array_namespace(x)
    return low + (high - low) * ((x - start) / xp.clip(end - start, min=1.0))
