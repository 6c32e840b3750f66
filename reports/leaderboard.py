"""The leaderboard's numbers: which cells are compared, means with intervals, ranks, wins, costs.

A slice is one combination of the page's filters. Budgets are never mixed. Everything a slice shows is
computed here; the page only displays it.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import statistics
from adbench.reports.categories import Category
from adbench.reports.entries import Entry, Sorted, sort_runs
from adbench.reports.schema import METRIC_COLUMNS, SuitePlan

COSTS: dict[str, str] = {
    "fit_seconds": "Fit time (s)",
    "predict_ms_per_image": "Latency (ms/image)",
    "peak_rss_mb": "Peak memory (MB)",
    "peak_vram_mb": "Peak GPU memory (MB)",
}
DRAWN = ("image_auroc", "image_ap")
"""Metrics that the images table determines, so that test images can be resampled."""

DEFAULT_RANK_BY = "image_auroc"
MOST_NAMED = 100
OLDER = "older data or metric"


@dataclass(frozen=True)
class Estimate:
    """A method's mean of one metric, over categories, of the mean over seeds; its interval, rank and wins.

    ``low`` and ``high`` are None where no interval can be given. ``rank`` is the average over categories.
    """

    mean: float
    low: float | None
    high: float | None
    rank: float
    wins: int


@dataclass(frozen=True)
class Aggregate:
    """One metric in one slice. ``estimates`` has one item per entry, None where it is not compared."""

    interval: statistics.Interval
    n_categories: int
    n_cells: int
    seeds: tuple[int, int]
    """Fewest and most shared seeds in a category."""
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Cost:
    """Means over a slice's shared cells; None where not recorded."""

    fit_seconds: float | None
    predict_ms_per_image: float | None
    peak_rss_mb: float | None
    peak_vram_mb: float | None
    hardware: tuple[str, ...]


@dataclass(frozen=True)
class Slice:
    """What the page shows under one combination of filters; None means all modalities or datasets."""

    budget: str
    modality: str | None
    dataset: str | None
    compared: tuple[int, ...]
    not_compared: tuple[tuple[int, str], ...]
    n_categories: int
    n_cells: int
    n_shared_cells: int
    n_shared_categories: int
    left_out: tuple[str, ...]
    """A sentence for each cell that is not shared, and one that counts those beyond MOST_NAMED."""
    metrics: dict[str, Aggregate]
    costs: tuple[Cost | None, ...]


@dataclass(frozen=True)
class Leaderboard:
    """All that the page shows, images of the gallery apart."""

    suite: str | None
    plans: tuple[SuitePlan, ...]
    """Of the suites shown."""
    created: datetime
    sorted: Sorted
    budgets: tuple[str, ...]
    """The one with most successful runs first."""
    metrics: tuple[str, ...]
    """Those with a value in some run, in the order of METRICS."""
    slices: tuple[Slice, ...]

    @property
    def rank_by(self) -> str:
        """The metric by which the page ranks at first: the one that all suites shown rank by, if they agree."""
        wanted = {plan.rank_by for plan in self.plans}
        return wanted.pop() if len(wanted) == 1 and wanted <= set(self.metrics) else DEFAULT_RANK_BY

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.sorted.entries

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.sorted.categories


class _Grid:
    """The current runs of one budget as arrays over entries [M] and cells [C]."""

    def __init__(self, found: Sorted, budget: str, images: pd.DataFrame, resamples: int) -> None:
        own = found.runs[found.runs["budget"] == budget]
        runs = own[own["standing"] == "current"]
        self.entries = found.entries
        self.categories = found.categories
        cells = runs[["place", "seed"]].drop_duplicates().sort_values(["place", "seed"])
        self.place: NDArray[np.int64] = cells["place"].to_numpy(dtype=np.int64)
        self.seed: NDArray[np.int64] = cells["seed"].to_numpy(dtype=np.int64)
        position = {cell: index for index, cell in enumerate(zip(self.place, self.seed, strict=True))}
        rows = runs["entry"].to_numpy(dtype=np.int64)
        columns = np.array([position[cell] for cell in zip(runs["place"], runs["seed"], strict=True)], dtype=int)
        shape = (len(self.entries), len(cells))
        self.status = np.full(shape, "missing", dtype=object)
        older = own[own["standing"] == "older"]
        for entry, place, seed in zip(older["entry"], older["place"], older["seed"], strict=True):
            if (place, seed) in position:
                self.status[entry, position[place, seed]] = OLDER
        self.status[rows, columns] = runs["status"].to_numpy(dtype=object)
        self.present = np.asarray((self.status != "missing").any(axis=1), dtype=np.bool_)
        self.values = {name: self._spread(runs, name, rows, columns, shape) for name in (*METRIC_COLUMNS, *COSTS)}
        self.hardware = np.full(shape, None, dtype=object)
        self.hardware[rows, columns] = runs["hardware"].to_numpy(dtype=object)
        self.draws = self._draw(runs, rows, columns, images, resamples)
        self.drawn: dict[str, statistics.Bools] = {
            name: np.asarray(~np.isnan(draws).any(axis=2), dtype=np.bool_) for name, draws in self.draws.items()
        }

    def _spread(
        self,
        runs: pd.DataFrame,
        name: str,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
    ) -> statistics.Floats:
        grid = np.full(shape, np.nan)
        ok = (runs["status"] == "ok").to_numpy(dtype=bool)
        numbers = pd.to_numeric(runs[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        grid[rows[ok], columns[ok]] = numbers[ok]
        return grid

    def _draw(
        self,
        runs: pd.DataFrame,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        images: pd.DataFrame,
        resamples: int,
    ) -> dict[str, NDArray[np.float32]]:
        """Metrics resampled over test images, [M, C, B]; NaN for runs without image rows.

        Runs of a category with equal test images, be it of other methods or seeds, share their resamples.
        """
        shape = (len(self.entries), len(self.place), resamples)
        draws = {name: np.full(shape, np.nan, dtype=np.float32) for name in DRAWN}
        where = dict(zip(runs["run_id"], zip(rows, columns, strict=True), strict=True))
        groups: dict[tuple[int, bytes, bytes], list[tuple[str, pd.DataFrame]]] = {}
        own = images[(images["split"] == "test") & images["run_id"].isin(where)]
        for run_id, table in own.groupby("run_id", sort=True):
            table = table.sort_values("image_id")
            place = int(self.place[where[run_id][1]])
            key = (place, "\0".join(table["image_id"]).encode(), table["label"].to_numpy(np.int8).tobytes())
            groups.setdefault(key, []).append((str(run_id), table))
        for (place, ids, _), members in groups.items():
            seed = zlib.crc32(ids, zlib.crc32(self.categories[place].label.encode()))
            scores = np.stack([table["score"].to_numpy(np.float64) for _, table in members])
            labels = members[0][1]["label"].to_numpy(np.int8)
            drawn = statistics.bootstrap_images(scores, labels, seed=seed, n=resamples)
            for (run_id, _), *values in zip(members, *drawn, strict=True):
                for name, value in zip(DRAWN, values, strict=True):
                    draws[name][where[run_id]] = value
        return draws

    def aggregate(self, name: str, methods: statistics.Bools, cells: statistics.Bools) -> Aggregate | None:
        """One metric over those of the cells in which it is defined for all methods that have it."""
        values = self.values[name]
        defined = ~np.isnan(values) & methods[:, None] & cells
        compared, shared = statistics.shared_cells(defined, self.place)
        if not shared.any():
            return None
        chosen = np.flatnonzero(compared)
        columns = [np.flatnonzero(shared & (self.place == place)) for place in np.unique(self.place[shared])]
        by_category = [values[np.ix_(chosen, column)] for column in columns]
        draws = None
        if name in DRAWN and self.drawn[name][np.ix_(chosen, np.concatenate(columns))].all():
            # one category at a time: all of them are as large as the grid
            draws = (self.draws[name][np.ix_(chosen, column)] for column in columns)
        labels = [self.categories[self.place[column[0]]].label for column in columns]
        seeds = [zlib.crc32(label.encode()) for label in labels]
        low, high, interval = statistics.interval_of_mean(by_category, draws, seeds)
        means = np.stack([value.mean(axis=1) for value in by_category], axis=1)  # [M, K]
        better = METRICS[name].higher_is_better
        ranks = statistics.rank_methods(means, better).mean(axis=1)
        wins = statistics.count_wins(means, better)
        estimates: list[Estimate | None] = [None] * len(self.entries)
        for row, entry in enumerate(chosen):
            estimates[entry] = Estimate(
                mean=float(means[row].mean()),
                low=None if np.isnan(low[row]) else float(low[row]),
                high=None if np.isnan(high[row]) else float(high[row]),
                rank=float(ranks[row]),
                wins=int(wins[row]),
            )
        sizes = [len(column) for column in columns]
        seeds_range = (min(sizes), max(sizes))
        return Aggregate(interval, len(columns), int(shared.sum()), seeds_range, tuple(estimates))

    def cost(self, entry: int, cells: statistics.Bools) -> Cost:
        means: dict[str, float | None] = {}
        for name in COSTS:
            own = self.values[name][entry, cells]
            known = own[~np.isnan(own)]
            means[name] = float(known.mean()) if len(known) else None
        hardware = sorted({str(one) for one in self.hardware[entry, cells] if one is not None})
        return Cost(**means, hardware=tuple(hardware))

    def left_out(self, methods: statistics.Bools, cells: statistics.Bools) -> Iterator[str]:
        """One sentence for each cell that is not shared: which methods lack it, or why it does not count."""
        columns = np.flatnonzero(cells)
        for column in columns[:MOST_NAMED]:
            cell = f"{self.categories[self.place[column]].label}, seed {self.seed[column]}"
            lacking = [
                f"{self.entries[entry].label} {self.status[entry, column]}"
                for entry in np.flatnonzero(methods)
                if self.status[entry, column] != "ok"
            ]
            yield f"{cell}: {', '.join(lacking)}"
        if len(columns) > MOST_NAMED:
            yield f"and {len(columns) - MOST_NAMED} more, see Coverage"

    def slices(self, budget: str, metrics: tuple[str, ...]) -> list[Slice]:
        """One slice for all, one for each modality, and one for each dataset."""
        used = [self.categories[place] for place in np.unique(self.place)]
        filters: dict[tuple[str | None, str | None], None] = {(None, None): None}
        filters |= {(category.modality, None): None for category in used}
        filters |= {(category.modality, category.dataset): None for category in used}
        return [self.slice(budget, modality, dataset, metrics) for modality, dataset in filters]

    def slice(self, budget: str, modality: str | None, dataset: str | None, metrics: tuple[str, ...]) -> Slice:
        """Everything shown for the categories of a modality and dataset (None: all)."""
        inside = np.array(
            [
                modality in (None, category.modality) and dataset in (None, category.dataset)
                for category in self.categories
            ]
        )[self.place]
        done = np.asarray(self.status == "ok", dtype=np.bool_)
        methods, shared = statistics.shared_cells(done & inside, self.place)
        total = len(set(self.place[inside]))
        not_compared = tuple(
            (int(entry), self._why_not(int(entry), done, inside, total))
            for entry in np.flatnonzero(~methods & self.present)
        )
        aggregates = {name: self.aggregate(name, methods, shared) for name in metrics}
        return Slice(
            budget=budget,
            modality=modality,
            dataset=dataset,
            compared=tuple(int(entry) for entry in np.flatnonzero(methods)),
            not_compared=not_compared,
            n_categories=total,
            n_cells=int(inside.sum()),
            n_shared_cells=int(shared.sum()),
            n_shared_categories=len(set(self.place[shared])),
            left_out=tuple(self.left_out(methods, inside & ~shared)),
            metrics={name: aggregate for name, aggregate in aggregates.items() if aggregate is not None},
            costs=tuple(self.cost(entry, shared) if methods[entry] else None for entry in range(len(self.entries))),
        )

    def _why_not(self, entry: int, done: statistics.Bools, inside: statistics.Bools, total: int) -> str:
        held = len(set(self.place[done[entry] & inside]))
        if held == 0:
            return "no successful run here"
        return f"successful runs in {held} of {total} categories only, or none in a cell that the others have"


def rows_of_suite(runs: pd.DataFrame, suite: str, plans: Sequence[SuitePlan]) -> pd.DataFrame:
    """The runs that a suite recorded, and those that it plans and another suite recorded."""
    planned = [cell.run_id for plan in plans if plan.name == suite for cell in plan.cells]
    return runs[(runs["suite"] == suite) | runs["run_id"].isin(planned)]


def build_leaderboard(
    runs: pd.DataFrame,
    images: pd.DataFrame,
    *,
    suite: str | None = None,
    plans: Sequence[SuitePlan] = (),
    created: datetime,
    resamples: int = statistics.RESAMPLES,
) -> Leaderboard:
    """The leaderboard of ``runs`` (columns of RUNS_SCHEMA), with their ``images`` (of IMAGES_SCHEMA).

    ``plans`` are those of the suites shown, ``suite`` keeps the rows of one suite and of its plan. Runs
    without rows in ``images`` get intervals over seeds.
    """
    if suite is not None:
        runs = rows_of_suite(runs, suite, plans)
    found = sort_runs(runs)
    current = found.current
    done = current[current["status"] == "ok"]
    metrics = tuple(name for name in METRICS if name in METRIC_COLUMNS and done[name].notna().any())
    size = current.assign(ok=current["status"] == "ok").groupby("budget")["ok"].sum()
    budgets = tuple(str(budget) for budget in size.sort_index().sort_values(ascending=False, kind="stable").index)
    slices: list[Slice] = []
    for budget in budgets:
        slices += _Grid(found, budget, images, resamples).slices(budget, metrics)
    return Leaderboard(suite, tuple(plans), created, found, budgets, metrics, tuple(slices))
