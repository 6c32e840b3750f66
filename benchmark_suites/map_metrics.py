"""All metrics of a category's anomaly maps, from one ordering of its pixels.

Normal pixels are sorted in parts, once for all curves, and only counted; anomalous ones are sorted with their
regions. What does not fit into the memory budget is left to ``bounded_memory``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from adbench.benchmark_suites.bounded_memory import Curves, bounded_curves, pixels_at_once
from adbench.benchmark_suites.in_order import available_threads, in_order
from adbench.benchmark_suites.judged_map import (
    KINDS_OF,
    Curve,
    JudgedMap,
    Kind,
    Pixels,
    chunks,
    gather,
)
from adbench.benchmark_suites.operating_points import (
    AreaUnderOverlap,
    Array,
    Auroc,
    AveragePrecision,
    BestF1,
    Bounds,
    CurveMetric,
    OperatingPoints,
    measure,
)
from adbench.benchmark_suites.sampled_curve import CurveName, Floats, SampledCurve
from adbench.benchmark_suites.sorted_scores import Anomalous, complete_curve

AUPRO_LIMITS: Final[Mapping[str, float]] = {"aupro_030": 0.30, "aupro_005": 0.05}
SPRO_LIMITS: Final[Mapping[str, float]] = {
    "spro_001": 0.01,
    "spro_005": 0.05,
    "spro_010": 0.10,
    "spro_030": 0.30,
    "spro_100": 1.00,
}
MEMORY_BUDGET = 2 << 30
"""Bytes beyond the maps themselves. A constant: what a run records must not depend on the machine's memory."""

_FIRST_CHUNK, _LARGEST_CHUNK = 1 << 20, 1 << 23  # pixels that one thread sorts at a time


@dataclass(frozen=True)
class MapMetrics:
    """Metrics in [0, 1] by name, None where undefined: bounds of each, which are equal where it is exact.

    ``curves``: those that are defined, at FALSE_POSITIVE_RATES; sPRO, as its metric, is the mean of both kinds.
    """

    bounds: dict[str, Bounds | None]
    curves: dict[CurveName, tuple[float, ...]]

    @property
    def values(self) -> dict[str, float | None]:
        """The middle of each metric's bounds."""
        return {name: None if bounds is None else bounds.value for name, bounds in self.bounds.items()}

    @property
    def error_bound(self) -> float | None:
        """No exact value is farther than this from the one given; 0: all are exact; None: none is defined."""
        return max((bounds.error for bounds in self.bounds.values() if bounds is not None), default=None)


def map_metrics(
    images: Iterable[JudgedMap],
    *,
    spro: bool,
    aupro_limits: Mapping[str, float] = AUPRO_LIMITS,
    threads: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> MapMetrics:
    """Pixel AUROC, AP, best F1 and AUPRO of one category, and sPRO if ``spro``, and curves; see ``pixel_metrics``.

    ``images`` are all images of the category, in any order and of any sizes; they may be made on the fly, and
    are gone through once, or, where their pixels need more than ``memory_budget`` bytes, three times.
    ``threads``: all cores if None; it does not change the result. Maps on a GPU are judged there.

    The result is exact within the budget, and beyond it as long as the anomalous pixels have fewer distinct
    scores than ``bounded_memory`` takes thresholds (four million in 2 GiB). With more, some are left out, and
    every value comes with a bound.

    Raises ValueError for limits outside (0, 1], an iterator that cannot be gone through again, maps of
    several types or devices, and what JudgedMap does not allow, with the image's index.
    """
    if iter(images) is images:
        raise ValueError("images must be iterable more than once: give a sequence, or an object with __iter__")
    for limit in aupro_limits.values():
        AreaUnderOverlap(1, limit)
    workers = threads or available_threads()
    curves = _complete_curves(images, spro, workers, memory_budget)
    if curves is None:
        curves = bounded_curves(images, spro, workers, memory_budget)
    bounds: dict[str, Bounds | None] = dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1max_oracle", *aupro_limits))
    kept: dict[CurveName, tuple[float, ...]] = {}
    if "pixels" in curves:
        points, n_anomalous, n_normal = curves["pixels"]
        sampled = SampledCurve(n_anomalous, n_normal)
        bounds |= _bounds(
            points,
            sampled,
            {
                "pixel_auroc": Auroc(n_anomalous, n_normal),
                "pixel_ap": AveragePrecision(n_anomalous),
                "pixel_f1max_oracle": BestF1(n_anomalous),
                **{name: AreaUnderOverlap(n_normal, limit) for name, limit in aupro_limits.items()},
            },
        )
        kept = {"pixel_roc": tuple(sampled.recall.tolist()), "pro": tuple(sampled.overlap.tolist())}
    if spro:
        areas, overlap = _spro(curves)
        bounds |= areas
        if overlap is not None:
            kept["spro"] = tuple(overlap.tolist())
    return MapMetrics(bounds, kept)


def _spro(curves: Curves) -> tuple[dict[str, Bounds | None], Floats | None]:
    """The mean of structural and logical anomalies, or the one of the two that is defined: of areas and curves."""
    areas: list[dict[str, Bounds]] = []
    overlaps: list[Floats] = []
    for curve in KINDS_OF:
        if curve != "pixels" and curve in curves:
            points, n_anomalous, n_normal = curves[curve]
            sampled = SampledCurve(n_anomalous, n_normal)
            limits = {name: AreaUnderOverlap(n_normal, limit) for name, limit in SPRO_LIMITS.items()}
            areas.append(_bounds(points, sampled, limits))
            overlaps.append(sampled.overlap)
    found = {name: _mean([area[name] for area in areas]) for name in SPRO_LIMITS}
    return found, np.mean(overlaps, axis=0) if overlaps else None


def _mean(bounds: Sequence[Bounds]) -> Bounds | None:
    if not bounds:
        return None
    return Bounds(sum(one.lower for one in bounds) / len(bounds), sum(one.upper for one in bounds) / len(bounds))


def _bounds(
    points: Iterator[OperatingPoints], sampled: SampledCurve, metrics: Mapping[str, CurveMetric]
) -> dict[str, Bounds]:
    measure(points, (*metrics.values(), sampled))
    return {name: metric.bounds() for name, metric in metrics.items()}


@dataclass
class _Collected:
    """All pixels so far. ``normal`` holds ascending parts."""

    normal: dict[Kind, list[Array]] = field(default_factory=dict)
    anomalous: dict[Curve, list[tuple[Array, Array]]] = field(default_factory=dict)
    areas: dict[Curve, list[int]] = field(default_factory=dict)
    bytes: int = 0

    def add(self, pixels: Pixels) -> None:
        for kind, part in pixels.normal.items():
            self.normal.setdefault(kind, []).append(part)
            self.bytes += part.shape[0] * part.itemsize
        for curve, found in pixels.anomalies.items():
            areas = self.areas.setdefault(curve, [])
            for anomalies in found:
                regions = anomalies.regions + len(areas)
                areas.extend(anomalies.areas.tolist())
                self.anomalous.setdefault(curve, []).append((anomalies.scores, regions))
                self.bytes += anomalies.scores.shape[0] * (anomalies.scores.itemsize + 12)  # and keys, regions


def _complete_curves(images: Iterable[JudgedMap], spro: bool, threads: int, memory_budget: int) -> Curves | None:
    """The curves with every threshold, or None if they need more memory than allowed."""
    collected = _Collected()

    def work(chunk: list[tuple[int, JudgedMap]]) -> Pixels:
        return gather(chunk, spro=spro)

    # Half of the budget is for what is collected, half for the chunks in work.
    at_once = pixels_at_once(memory_budget, threads)
    for pixels in in_order(work, chunks(images, min(_FIRST_CHUNK, at_once), min(_LARGEST_CHUNK, at_once)), threads):
        collected.add(pixels)
        if collected.bytes > memory_budget // 2:
            return None
    return {curve: found for curve in KINDS_OF if (found := _complete_curve(collected, curve, threads)) is not None}


def _complete_curve(
    collected: _Collected, curve: Curve, threads: int
) -> tuple[Iterator[OperatingPoints], int, int] | None:
    normal = [part for kind in KINDS_OF[curve] for part in collected.normal.get(kind, [])]
    n_normal = sum(int(part.shape[0]) for part in normal)
    found = collected.anomalous.pop(curve, None)
    if found is None or n_normal == 0:
        return None
    anomalous = Anomalous(found)
    areas = np.array(collected.areas[curve], dtype=np.int64)
    return complete_curve(anomalous, areas, normal, threads), anomalous.size, n_normal
