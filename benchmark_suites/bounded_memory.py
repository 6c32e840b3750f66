"""Curves of sets whose pixels do not fit into memory: counted while streaming, with an error bound.

A first pass over the images chooses thresholds among the scores of anomalous pixels: all distinct ones if there
is room for them, else every second, fourth, ... of them. A second pass counts what lies above and at each
threshold. The counts are exact; what is lost are the thresholds left out, and the bounds of ``operating_points``
say how much that can change a metric.

With T thresholds for P anomalous pixels, 2P/T or fewer of them lie between two thresholds, give or take one per
image and halving. Bounds of AUROC and AUPRO, half the area of the rectangles between the curve's points, are
therefore about 1/T. The bounds that are reported are not that estimate: they are added up from the counts.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

from array_api_compat import array_namespace, device

from adbench.benchmark_suites.in_order import in_order
from adbench.benchmark_suites.judged_map import (
    KINDS_OF,
    Anomalies,
    Curve,
    JudgedMap,
    Pixels,
    chunks,
    gather,
)
from adbench.benchmark_suites.operating_points import Array, OperatingPoints
from adbench.benchmark_suites.sorted_scores import STRETCH, count_normal, overlap_weights, ranks

SizedCurve = tuple[Iterator[OperatingPoints], int, int]
"""A curve's points, the number of its anomalous pixels and that of its normal ones, none of them 0."""
Curves = dict[Curve, SizedCurve]
"""The curves that are defined."""

_BYTES_PER_THRESHOLD = 128  # six counts, and what counting another chunk needs for a moment
_BYTES_PER_PIXEL = 32
_FEWEST_THRESHOLDS, _MOST_THRESHOLDS = 16, 1 << 22


class Thresholds:
    """Chooses at most ``room`` thresholds among scores that arrive in parts."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._parts: list[Array] = []
        self._held = 0
        self._stride = 1
        self._skip = 0  # of the next part's scores: sampling goes on across parts
        self._lowest: Array | None = None

    def add(self, scores: Array) -> None:
        """Take scores [N] of one image or more, in any order."""
        xp = array_namespace(scores)
        ordered = xp.unique_values(scores)
        if self._lowest is None or bool(ordered[0] < self._lowest[0]):
            self._lowest = ordered[:1]
        # A copy, for a slice would keep all of them in memory.
        part = xp.asarray(ordered[self._skip :: self._stride], copy=True)
        self._skip = (self._skip - int(ordered.shape[0])) % self._stride
        self._parts.append(part)
        self._held += int(part.shape[0])
        if self._held > 2 * self._room:
            self._thin()

    def chosen(self) -> Array:
        """The thresholds, descending. The lowest score is always one of them: all anomalous pixels are counted."""
        self._thin()
        xp = array_namespace(self._parts[0])
        return xp.flip(xp.unique_values(xp.concat([*self._parts, self._lowest])))

    def _thin(self) -> None:
        xp = array_namespace(self._parts[0])
        kept = xp.unique_values(xp.concat(self._parts))
        while kept.shape[0] >= self._room:
            kept = xp.asarray(kept[::2], copy=True)
            self._stride *= 2
            self._skip = 0
        self._parts, self._held = [kept], int(kept.shape[0])


class Counts:
    """What lies above and at each of K thresholds (descending), of the pixels counted so far."""

    def __init__(self, thresholds: Array) -> None:
        self._xp = array_namespace(thresholds)
        self._thresholds = thresholds
        self._normal_above, self._normal = self._zeros(), self._zeros()
        self._anomalous_above, self._anomalous = self._zeros(), self._zeros()
        # In the integer units of overlap_weights.
        self._overlap_above, self._overlap = (self._xp.astype(self._zeros(), self._xp.int64) for _ in range(2))
        self.n_normal = self.n_anomalous = 0

    def add_normal(self, parts: Sequence[Array]) -> None:
        """Count normal pixels, given as ascending scores."""
        above, at = count_normal(parts, self._thresholds)
        self._normal_above += above
        self._normal += at
        self.n_normal += sum(int(part.shape[0]) for part in parts)

    def add_anomalous(self, found: Sequence[Anomalies], n_regions: int) -> None:
        """Count anomalous pixels; ``n_regions`` is the number of all images' regions."""
        if not found:
            return
        xp = self._xp
        scores = xp.concat([anomalies.scores for anomalies in found])
        weights = xp.concat([overlap_weights(one.areas, n_regions, scores)[one.regions] for one in found])
        order = xp.argsort(scores)
        size = int(order.shape[0])
        below, not_above = ranks(scores[order], xp.flip(self._thresholds))
        overlap = xp.cumulative_sum(xp.flip(weights[order]), include_initial=True)  # by number of pixels found
        above, at = xp.flip(size - not_above), xp.flip(size - below)
        self._anomalous_above += above
        self._anomalous += at
        self._overlap_above += overlap[above]
        self._overlap += overlap[at]
        self.n_anomalous += size

    def points(self) -> Iterator[OperatingPoints]:
        """The curve's points, in stretches."""
        last = [self._zeros(1)] * 3
        overlap_above, overlap_at = (
            self._xp.astype(units, self._xp.float64) / int(self._overlap[-1])
            for units in (self._overlap_above, self._overlap)
        )
        for start in range(0, int(self._thresholds.shape[0]), STRETCH):
            own = slice(start, start + STRETCH)
            at = [self._anomalous[own], self._normal[own], overlap_at[own]]
            anomalous, normal, overlap = (
                self._xp.concat([before, counts[:-1]]) for before, counts in zip(last, at, strict=True)
            )
            yield OperatingPoints(
                thresholds=self._thresholds[own],
                anomalous_before=anomalous,
                anomalous_above=self._anomalous_above[own],
                anomalous=at[0],
                normal_before=normal,
                normal_above=self._normal_above[own],
                normal=at[1],
                overlap_before=overlap,
                overlap_above=overlap_above[own],
                overlap=at[2],
            )
            last = [counts[-1:] for counts in at]

    def _zeros(self, size: int | None = None) -> Array:
        shape = self._thresholds.shape if size is None else (size,)
        return self._xp.zeros(shape, dtype=self._xp.float64, device=device(self._thresholds))


def pixels_at_once(memory_budget: int, threads: int) -> int:
    """Pixels of a chunk of images, such that the chunks in work need half of the budget."""
    return max(1, memory_budget // 2 // (threads + 1) // _BYTES_PER_PIXEL)


def bounded_curves(images: Iterable[JudgedMap], spro: bool, threads: int, memory_budget: int) -> Curves:
    """The curves of ``images``, which are gone through twice, in about ``memory_budget`` bytes.

    Arguments are those of ``map_metrics``.
    """
    at_once = pixels_at_once(memory_budget, threads)
    room = memory_budget // 2 // _BYTES_PER_THRESHOLD // (len(KINDS_OF) if spro else 1)
    room = min(max(room, _FEWEST_THRESHOLDS), _MOST_THRESHOLDS)

    def passed(with_normal: bool) -> Iterator[Pixels]:
        work = functools.partial(gather, spro=spro, with_normal=with_normal)
        return in_order(work, chunks(images, at_once, at_once), threads)

    thresholds: dict[Curve, Thresholds] = {}
    n_regions: dict[Curve, int] = {}
    for pixels in passed(with_normal=False):
        for curve, found in pixels.anomalies.items():
            chosen = thresholds.setdefault(curve, Thresholds(room))
            for anomalies in found:
                chosen.add(anomalies.scores)
                n_regions[curve] = n_regions.get(curve, 0) + len(anomalies.areas)
    counts = {curve: Counts(chosen.chosen()) for curve, chosen in thresholds.items()}
    for pixels in passed(with_normal=True):
        for curve, own in counts.items():
            own.add_normal([pixels.normal[kind] for kind in KINDS_OF[curve] if kind in pixels.normal])
            own.add_anomalous(pixels.anomalies.get(curve, []), n_regions[curve])
    return {
        curve: (own.points(), own.n_anomalous, own.n_normal)
        for curve, own in counts.items()
        if own.n_anomalous and own.n_normal
    }
