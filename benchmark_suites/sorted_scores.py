"""Scores in order: normal ones as sorted parts that are only counted, anomalous ones with their regions.

Arrays are those of NumPy or PyTorch, see operating_points.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from numpy.typing import NDArray

from adbench.benchmark_suites.in_order import in_order
from adbench.benchmark_suites.operating_points import Array, OperatingPoints

STRETCH = 1 << 16
"""Anomalous items of one stretch of a curve: on a processor, its arrays stay in the cache."""
STRETCH_ON_GPU = 1 << 24

_SIGN_BIT = 31
_WHOLE_OVERLAP = 1 << 60


def ascending(scores: Array) -> Array:
    """``scores`` [N] in ascending order; NumPy arrays are sorted in place, to need no second one."""
    if is_numpy_array(scores):
        scores.sort()
        return scores
    return array_namespace(scores).sort(scores)


def count_normal(parts: Sequence[Array], descending: Array, threads: int = 1) -> tuple[Array, Array]:
    """How many scores lie above each threshold, and how many at or above it: float64 [K] each.

    ``parts`` are ascending scores, ``descending`` the thresholds [K], all of one type.
    """
    xp = array_namespace(descending)
    # Ascending queries: the binary searches then walk through memory in one direction, which is faster.
    thresholds = xp.flip(descending)
    above = xp.zeros(thresholds.shape, dtype=xp.float64, device=device(descending))
    at = xp.zeros_like(above)
    total = sum(int(part.shape[0]) for part in parts)
    for below, not_above in in_order(lambda part: ranks(part, thresholds), parts, threads):
        at -= below
        above -= not_above
    at += total
    above += total
    return xp.flip(above), xp.flip(at)


def ranks(part: Array, thresholds: Array) -> tuple[Array, Array]:
    """How many scores of ``part`` lie below each threshold, and how many at or below it; both ascending."""
    xp = array_namespace(thresholds)
    # Within the thresholds' range a search takes fewer steps, and they stay in the cache.
    start = int(xp.searchsorted(part, thresholds[:1], side="left")[0])
    stop = int(xp.searchsorted(part, thresholds[-1:], side="right")[0])
    inside = part[start:stop]
    below = xp.searchsorted(inside, thresholds, side="left")
    not_above = xp.asarray(below, copy=True)
    if start < stop:
        # Few thresholds are scores of the part: only those need a second search.
        equal = xp.nonzero(inside[xp.clip(below, max=stop - start - 1)] == thresholds)[0]
        not_above[equal] = xp.searchsorted(inside, thresholds[equal], side="right")
    return below + start, not_above + start


def packed(scores: Array, regions: Array) -> Array:
    """Keys int64 [P] that order float32 ``scores``; the lower half of a key is its region's number.

    -0.0 comes just before 0.0: they stay neighbours, and so a tie.
    """
    xp = array_namespace(scores)
    bits = xp.astype(scores.view(xp.int32), xp.int64)
    return (_monotone(bits) << 32) | xp.astype(regions, xp.int64)


def unpacked(keys: Array) -> tuple[Array, Array]:
    """The scores and regions of ``packed`` keys."""
    xp = array_namespace(keys)
    bits = _monotone(keys >> 32)
    return xp.astype(bits, xp.int32).view(xp.float32), keys & 0xFFFFFFFF


def _monotone(bits: Array) -> Array:
    """Bits of a float32 as an integer in the order of the floats, and back: negative floats count downwards."""
    return bits ^ ((bits >> _SIGN_BIT) & 0x7FFFFFFF)


class Anomalous:
    """Scores of anomalous items in descending order, each with the number of its region.

    ``parts`` are pairs of scores and int regions, which lie in [0, 2^31); the list is emptied, to free each part
    as soon as it is copied. The order of float32 scores is that of one sort of 64-bit keys, which needs half the
    memory of an argsort and is several times faster.
    """

    def __init__(self, parts: list[tuple[Array, Array]]) -> None:
        xp, where = array_namespace(parts[0][0]), device(parts[0][0])
        self.size = sum(int(scores.shape[0]) for scores, _ in parts)
        self._keys: Array = None
        if parts[0][0].dtype == xp.float32:
            keys, filled = xp.empty(self.size, dtype=xp.int64, device=where), 0
            while parts:
                scores, regions = parts.pop()
                keys[filled : filled + scores.shape[0]] = packed(scores, regions)
                filled += int(scores.shape[0])
            self._keys = ascending(keys)
        else:
            order = xp.argsort(xp.concat([scores for scores, _ in parts]))
            self._scores = xp.concat([scores for scores, _ in parts])[order]
            self._regions = xp.concat([regions for _, regions in parts])[order]
            parts.clear()

    def slice(self, start: int, stop: int) -> tuple[Array, Array]:
        """Scores and regions of the items ``start`` to ``stop``, counted from the highest score."""
        ends = slice(self.size - stop, self.size - start)
        scores, regions = (
            (self._scores[ends], self._regions[ends]) if self._keys is None else unpacked(self._keys[ends])
        )
        xp = array_namespace(scores)
        return xp.flip(scores), xp.flip(regions)


def overlap_weights(areas: NDArray[np.int64], n_regions: int, like: Array) -> Array:
    """What each item of regions of these areas adds to the mean overlap of ``n_regions``, int64 [R].

    The unit is 2^-60 of the overlap of all: sums of integers are the same in any order and on any device. The
    array is of the library and on the device of ``like``.
    """
    weights = [_WHOLE_OVERLAP // (area * n_regions) for area in areas.tolist()]
    return array_namespace(like).asarray(np.array(weights, dtype=np.int64), device=device(like))


def complete_curve(
    anomalous: Anomalous, areas: NDArray[np.int64], normal: Sequence[Array], threads: int = 1
) -> Iterator[OperatingPoints]:
    """The curve with every distinct anomalous score as a threshold, in stretches of bounded size.

    ``areas`` [R]: the number of items of each region; ``normal``: ascending parts, of the type of the anomalous
    scores.
    """
    xp, where = array_namespace(normal[0]), device(normal[0])
    length = STRETCH if is_numpy_array(normal[0]) else STRETCH_ON_GPU
    weights = overlap_weights(areas, len(areas), normal[0])
    whole = sum(_WHOLE_OVERLAP // (area * len(areas)) * area for area in areas.tolist())
    last_found, last_normal, last_overlap = (xp.zeros(1, dtype=xp.float64, device=where) for _ in range(3))
    weight_found = 0
    for start in range(0, anomalous.size, length):
        stop = min(start + length, anomalous.size)
        # One more than the stretch: the last of it is a threshold only if the next score differs.
        scores, regions = anomalous.slice(start, min(stop + 1, anomalous.size))
        weights_found = weight_found + xp.cumulative_sum(weights[regions[: stop - start]])
        weight_found = int(weights_found[-1])
        last_of_ties = xp.nonzero(scores[1:] != scores[:-1])[0]
        if stop == anomalous.size:
            last_of_ties = xp.concat([last_of_ties, xp.asarray([stop - start - 1], device=where)])
        if last_of_ties.shape[0] == 0:
            continue
        thresholds = scores[last_of_ties]
        found = xp.astype(last_of_ties + (start + 1), xp.float64)
        overlap = xp.astype(weights_found[last_of_ties], xp.float64) / whole
        above, at = count_normal(normal, thresholds, threads)
        found_before = xp.concat([last_found, found[:-1]])
        overlap_before = xp.concat([last_overlap, overlap[:-1]])
        yield OperatingPoints(
            thresholds=thresholds,
            anomalous_before=found_before,
            anomalous_above=found_before,
            anomalous=found,
            normal_before=xp.concat([last_normal, at[:-1]]),
            normal_above=above,
            normal=at,
            overlap_before=overlap_before,
            overlap_above=overlap_before,
            overlap=overlap,
        )
        last_found, last_normal, last_overlap = found[-1:], at[-1:], overlap[-1:]
