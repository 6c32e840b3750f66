"""What a detector does at every threshold, exactly: the common ground of all threshold-free metrics.

Between two neighbouring scores of anomalous items nothing but the number of false positives changes, so every
curve is known from its points at the distinct scores of anomalous items; normal items need only be counted.

Where thresholds had to be left out to save memory, other anomalous scores lie between two of them. The curve's
points at the thresholds are exact even then, and as a curve only rises, it lies within the rectangle between two
of its points. Every metric is therefore found as a pair of bounds, which are equal where no threshold is missing.

Arrays are those of NumPy, or of PyTorch on any device: the code is written against the array API standard.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

Array = Any
"""An array of NumPy or of PyTorch."""


@dataclass(frozen=True)
class OperatingPoints:
    """Counts at K thresholds, from the highest to the lowest; all arrays are float64 [K], of exact integers.

    An item is predicted anomalous when its score is at or above the threshold; tied items are therefore counted
    together. ``above`` counts items with a score above the threshold, ``before`` those at or above the threshold
    before it. Where the thresholds are all the distinct scores of anomalous items, ``anomalous_above`` is the
    same object as ``anomalous_before``, and ``overlap_above`` as ``overlap_before``.

    ``overlap`` is the summed weight of the anomalous items found; the weights of all sum to 1.
    """

    thresholds: Array  # [K], strictly descending, of the scores' type
    anomalous_before: Array
    anomalous_above: Array
    anomalous: Array
    normal_before: Array
    normal_above: Array
    normal: Array
    overlap_before: Array
    overlap_above: Array
    overlap: Array

    @property
    def complete(self) -> bool:
        """Whether no anomalous score lies between two thresholds."""
        return self.anomalous_above is self.anomalous_before


@dataclass(frozen=True)
class Bounds:
    """The exact value of a metric lies in [lower, upper]."""

    lower: float
    upper: float

    @property
    def value(self) -> float:
        """The middle: the exact value where both bounds agree."""
        return (self.lower + self.upper) / 2

    @property
    def error(self) -> float:
        """How far ``value`` can be from the exact value."""
        return (self.upper - self.lower) / 2


class CurveReader(Protocol):
    """What is found from a curve's operating points, given stretch by stretch."""

    def add(self, points: OperatingPoints) -> None:
        """Take the next stretch of the curve."""


class CurveMetric(CurveReader, Protocol):
    """A metric that is found from a curve."""

    def bounds(self) -> Bounds:
        """The metric of the whole curve, after its last stretch."""


def measure(stretches: Iterable[OperatingPoints], readers: Iterable[CurveReader]) -> None:
    """Give every reader all stretches of a curve in turn, so that one stretch at a time is held in memory."""
    chosen = tuple(readers)
    for points in stretches:
        for reader in chosen:
            reader.add(points)


class Auroc:
    """Area under the ROC curve: P(anomalous > normal) + P(equal) / 2 (Fawcett 2006)."""

    def __init__(self, n_anomalous: int, n_normal: int) -> None:
        self._n_normal = n_normal
        self._twice_all_pairs = 2 * n_anomalous * n_normal
        self._lower = self._upper = 0.0  # twice the pairs won; float64 is exact up to 2^53

    def add(self, points: OperatingPoints) -> None:
        won = 2 * (self._n_normal - points.normal) + (points.normal - points.normal_above)
        tied = _sum((points.anomalous - points.anomalous_above) * won)
        self._lower += tied
        self._upper += tied
        if not points.complete:
            between = points.anomalous_above - points.anomalous_before
            self._lower += _sum(between * 2 * (self._n_normal - points.normal_above))
            self._upper += _sum(between * 2 * (self._n_normal - points.normal_before))

    def bounds(self) -> Bounds:
        return Bounds(self._lower / self._twice_all_pairs, self._upper / self._twice_all_pairs)


class AveragePrecision:
    """Sum of precision x gain in recall over thresholds, without interpolation (Davis and Goadrich 2006)."""

    def __init__(self, n_anomalous: int) -> None:
        self._n_anomalous = n_anomalous
        self._lower = self._upper = 0.0

    def add(self, points: OperatingPoints) -> None:
        precision = points.anomalous / (points.anomalous + points.normal)
        tied = _sum((points.anomalous - points.anomalous_above) * precision)
        self._lower += tied
        self._upper += tied
        if not points.complete:
            xp = array_namespace(points.anomalous)
            between = points.anomalous_above - points.anomalous_before
            first = points.anomalous_before + 1  # the least precise threshold finds one more, after all normal ones
            self._lower += _sum(between * first / (first + points.normal_above))
            last = xp.maximum(points.anomalous_above, first)  # only to divide by no zero where ``between`` is 0
            self._upper += _sum(between * last / (last + points.normal_before))

    def bounds(self) -> Bounds:
        return Bounds(min(1.0, self._lower / self._n_anomalous), min(1.0, self._upper / self._n_anomalous))


class BestF1:
    """The highest F1 over all thresholds; ``threshold`` is the largest of those given that reaches it."""

    def __init__(self, n_anomalous: int) -> None:
        self._n_anomalous = n_anomalous
        self._lower = self._upper = 0.0
        self.threshold = float("inf")

    def add(self, points: OperatingPoints) -> None:
        xp = array_namespace(points.anomalous)
        f1 = 2 * points.anomalous / (self._n_anomalous + points.anomalous + points.normal)
        best = int(xp.argmax(f1))
        if float(f1[best]) > self._lower:
            self._lower, self.threshold = float(f1[best]), float(points.thresholds[best])
        self._upper = max(self._upper, self._lower)
        if not points.complete:
            between = points.anomalous_above > points.anomalous_before
            most = 2 * points.anomalous_above / (self._n_anomalous + points.anomalous_above + points.normal_before)
            self._upper = max(self._upper, float(xp.max(xp.where(between, most, xp.zeros_like(most)))))

    def bounds(self) -> Bounds:
        return Bounds(self._lower, self._upper)


class FprAtRecall:
    """False positive rate at the largest threshold with at least ``recall``, in (0, 1]."""

    def __init__(self, n_anomalous: int, n_normal: int, recall: float) -> None:
        self._n_anomalous, self._n_normal, self._recall = n_anomalous, n_normal, recall
        self._found: Bounds | None = None

    def add(self, points: OperatingPoints) -> None:
        reached = points.anomalous / self._n_anomalous >= self._recall
        if self._found is None and bool(reached[-1]):
            first = int(array_namespace(reached).nonzero(reached)[0][0])
            between = float(points.anomalous_above[first]) / self._n_anomalous >= self._recall
            ends = (points.normal_before, points.normal_above) if between else (points.normal, points.normal)
            lower, upper = (float(end[first]) / self._n_normal for end in ends)
            self._found = Bounds(lower, upper)

    def bounds(self) -> Bounds:
        assert self._found is not None  # the lowest threshold finds all
        return self._found


class AreaUnderOverlap:
    """Area under overlap over false positive rate from 0 to ``limit`` in (0, 1], divided by ``limit``.

    The curve starts at (0, 0), ends at (1, 1), is linear between the points of distinct scores, and is
    interpolated at the limit (Bergmann et al., IJCV 2021). Raises ValueError for another limit.
    """

    def __init__(self, n_normal: int, limit: float) -> None:
        if not 0 < limit <= 1:
            raise ValueError(f"the limit of the false positive rate must lie in (0, 1]; got {limit}")
        self._limit = limit * n_normal  # in normal items, as the areas below
        self._lower = self._upper = 0.0
        self._reached = self._overlap = 0.0

    def add(self, points: OperatingPoints) -> None:
        if self._reached == self._limit:
            return
        xp = array_namespace(points.normal)
        before, above, at = (
            xp.clip(count, max=self._limit) for count in (points.normal_before, points.normal_above, points.normal)
        )
        self._lower += _sum((above - before) * points.overlap_before)
        self._upper += _sum((above - before) * points.overlap_above)
        # Tied items move the curve along a straight line, of which the limit may cut off the end.
        width, tied = at - above, points.normal - points.normal_above
        share = width / xp.clip(tied, min=1.0)
        area = _sum(width * (points.overlap_above + share * (points.overlap - points.overlap_above) / 2))
        self._lower += area
        self._upper += area
        self._reached, self._overlap = float(at[-1]), float(points.overlap[-1])

    def bounds(self) -> Bounds:
        rest = (self._limit - self._reached) * self._overlap  # all is found, false positives are all that is left
        return Bounds(
            min(1.0, (self._lower + rest) / self._limit),
            min(1.0, (self._upper + rest) / self._limit),
        )


def _sum(values: Array) -> float:
    return float(array_namespace(values).sum(values))
