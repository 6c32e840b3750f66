"""Sets that do not fit into the memory budget: time, peak memory, and the stated against the true error."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adbench.benchmark_suites.metrics import JudgedMap, MapMetrics, map_metrics
from bench_arrays import Maps, Masks, Shape, draw
from bench_memory import GIB, ProcessMemory
from bench_tables import OthersLoad, megabytes, table, times

SET: Shape = (400, 1024, 1024)
DRAWN = 24
EVERYTHING = 1 << 40
BUDGETS = (256 << 20, 2 * GIB, EVERYTHING)


@dataclass(frozen=True)
class Images:
    """A large set made on the fly: drawn maps, each time stretched and shifted otherwise, so that no scores tie."""

    maps: Maps
    masks: Masks
    count: int

    def __iter__(self) -> Iterator[JudgedMap]:
        rng = np.random.default_rng(0)
        for index in range(self.count):
            stretch, shift = rng.uniform(1, 1.2), rng.normal(0, 0.05)
            anomaly_map = self.maps[index % len(self.maps)] * np.float32(stretch) + np.float32(shift)
            yield JudgedMap(anomaly_map, self.masks[index % len(self.masks)][None])


def streaming_report(shape: Shape = SET, budgets: tuple[int, ...] = BUDGETS) -> str:
    """The same set within each budget; the last has room for all, and gives the exact values."""
    images = Images(*draw((min(DRAWN, shape[0]), *shape[1:])), shape[0])
    size = 4 * shape[0] * shape[1] * shape[2]
    load = OthersLoad()
    runs = [_run(images, budget) for budget in budgets]
    exact = runs[-1][0]
    rows = []
    for budget, (found, seconds, peak) in zip(budgets, runs, strict=True):
        error = max(abs(value - (exact.values[name] or 0)) for name, value in found.values.items() if value)
        rows.append(
            [
                "no limit" if budget == EVERYTHING else megabytes(budget),
                f"{seconds:.3g} s",
                f"{1e9 * seconds / (size / 4):.3g} ns",
                "unknown" if peak is None else megabytes(peak),
                "unknown" if peak is None else times(peak / size),
                f"{found.error_bound or 0:.1e}",
                f"{error:.1e}",
            ]
        )
    header = ["budget", "time", "a pixel", "peak memory", "of the maps", "stated error bound", "true error"]
    title = f"{shape[0]} maps of {shape[1]}x{shape[2]} made on the fly ({megabytes(size)})."
    return f"{title} {load.line()}\n{table(header, rows)}"


def _run(images: Images, budget: int) -> tuple[MapMetrics, float, int | None]:
    memory = ProcessMemory()
    memory.restart()
    began = time.perf_counter()
    found = map_metrics(images, spro=False, memory_budget=budget)
    return found, time.perf_counter() - began, memory.peak()
