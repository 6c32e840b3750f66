"""The leaderboard's numbers: which cells are compared, means with intervals, ranks, wins, costs.

A slice is one combination of the page's filters. Budgets are never mixed. Everything a slice shows is
computed here; the page only displays it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import intervals, significance, statistics
from adbench.reports.categories import Category
from adbench.reports.entries import Entry, Sorted, sort_runs
from adbench.reports.resampling import RESAMPLED, resample_runs
from adbench.reports.schema import COSTS, METRIC_COLUMNS, SearchRecord, SuitePlan

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

    interval: intervals.Interval
    n_categories: int
    n_cells: int
    seeds: tuple[int, int]
    """Fewest and most shared seeds in a category."""
    estimates: tuple[Estimate | None, ...]
    compared: tuple[int, ...]
    """The entries that have an estimate, in the order of ``comparison``."""
    comparison: significance.Comparison | None
    """None with fewer than two methods."""

    @property
    def counted(self) -> str:
        """Over how much the means go, in words."""
        fewest, most = self.seeds
        seeds = f"{fewest} seed{'s' * (fewest != 1)}" if fewest == most else f"{fewest} to {most} seeds"
        return f"{self.n_categories} {'category' if self.n_categories == 1 else 'categories'} with {seeds} each"


@dataclass(frozen=True)
class CellInterval:
    """The 95 % interval of an entry's mean over its own seeds in one category."""

    low: float
    high: float
    interval: intervals.Interval


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
    finished: tuple[int, ...]
    """How many of the cells each entry has finished."""


@dataclass(frozen=True)
class Leaderboard:
    """All that the page shows, images of the gallery apart."""

    suite: str | None
    plans: tuple[SuitePlan, ...]
    """Of the suites shown."""
    searches: tuple[SearchRecord, ...]
    """Of the suites shown."""
    created: datetime
    sorted: Sorted
    budgets: tuple[str, ...]
    """The one with most successful runs first."""
    metrics: tuple[str, ...]
    """Those with a value in some run, in the order of METRICS."""
    slices: tuple[Slice, ...]
    cell_intervals: dict[tuple[str, str], dict[tuple[int, int], CellInterval]]
    """By budget and metric, then by category and entry; those that have an interval."""
    resamples: int
    """Of the test images, by the bootstrap."""
    run_intervals: pd.DataFrame
    """Ends of the 95 % intervals over test images, METRIC_low and METRIC_high, by run_id."""

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
        self.run_ids = dict(
            zip(runs["run_id"].astype(str), zip(rows.tolist(), columns.tolist(), strict=True), strict=True)
        )
        labels = [self.categories[place].label for place in self.place]
        self.resampled = resample_runs(images, self.run_ids, labels, shape, resamples)
        self._aggregates: dict[tuple[str, bytes, bytes], Aggregate | None] = {}

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

    def noise(
        self, name: str, entries: NDArray[np.int64], columns: list[NDArray[np.int64]]
    ) -> list[intervals.ImageNoise] | None:
        """Chance in the test images, per category; None for other metrics, and where a run has no image rows."""
        if name not in RESAMPLED:
            return None
        found = [noise for own in columns if (noise := self.resampled.noise(name, entries, own)) is not None]
        return found if len(found) == len(columns) else None

    def aggregate(self, name: str, methods: statistics.Bools, cells: statistics.Bools) -> Aggregate | None:
        """One metric over those of the cells in which it is defined for all methods that have it."""
        key = (name, methods.tobytes(), cells.tobytes())  # a modality of one dataset has the slice of that dataset
        if key not in self._aggregates:
            self._aggregates[key] = self._aggregate(name, methods, cells)
        return self._aggregates[key]

    def _aggregate(self, name: str, methods: statistics.Bools, cells: statistics.Bools) -> Aggregate | None:
        values = self.values[name]
        defined = ~np.isnan(values) & methods[:, None] & cells
        compared, shared = statistics.shared_cells(defined, self.place)
        if not shared.any():
            return None
        chosen = np.flatnonzero(compared)
        columns = [np.flatnonzero(shared & (self.place == place)) for place in np.unique(self.place[shared])]
        by_category = [values[np.ix_(chosen, column)] for column in columns]
        found = intervals.estimate_means(by_category, self.noise(name, chosen, columns))
        means = np.stack([value.mean(axis=1) for value in by_category], axis=1)  # [M, K]
        better = METRICS[name].higher_is_better
        ranks = statistics.rank_methods(means, better).mean(axis=1)
        wins = statistics.count_wins(means, better)
        estimates: list[Estimate | None] = [None] * len(self.entries)
        for row, entry in enumerate(chosen):
            estimates[entry] = Estimate(
                mean=float(found.mean[row]),
                low=None if np.isnan(found.low[row]) else float(found.low[row]),
                high=None if np.isnan(found.high[row]) else float(found.high[row]),
                rank=float(ranks[row]),
                wins=int(wins[row]),
            )
        comparison = significance.compare(means, found.pairs, better) if len(chosen) > 1 else None
        sizes = [len(column) for column in columns]
        return Aggregate(
            interval=found.interval,
            n_categories=len(columns),
            n_cells=int(shared.sum()),
            seeds=(min(sizes), max(sizes)),
            estimates=tuple(estimates),
            compared=tuple(
                int(chosen[row]) for row in (range(len(chosen)) if comparison is None else comparison.order)
            ),
            comparison=comparison,
        )

    def cell_intervals(self, name: str) -> dict[tuple[int, int], CellInterval]:
        """By category and entry, where the mean over the entry's own seeds has an interval."""
        values = self.values[name]
        found: dict[tuple[int, int], CellInterval] = {}
        for place in np.unique(self.place):
            columns = np.flatnonzero(self.place == place)
            state = (~np.isnan(values[:, columns])).astype(int)
            if name in RESAMPLED:
                state += state * ~np.isnan(self.resampled.variance[name][:, columns])
            for pattern in np.unique(state[state.any(axis=1)], axis=0):
                entries = np.flatnonzero((state == pattern).all(axis=1))
                own = columns[pattern > 0]
                noise = self.noise(name, entries, [own])
                means = intervals.estimate_means([values[np.ix_(entries, own)]], noise, paired=False)
                if means.interval not in ("range", "none"):
                    for entry, low, high in zip(entries, means.low, means.high, strict=True):
                        found[int(place), int(entry)] = CellInterval(float(low), float(high), means.interval)
        return found

    def run_intervals(self) -> pd.DataFrame:
        """Ends of the intervals of single runs over their test images, by run_id."""
        ends: dict[str, statistics.Floats] = {}
        for name in RESAMPLED:
            noise = (self.resampled.variance[name], self.resampled.size[name], self.resampled.freedom)
            ends[f"{name}_low"], ends[f"{name}_high"] = intervals.score_intervals(self.values[name], *noise)
        at = tuple(np.array(list(self.run_ids.values()), dtype=np.int64).reshape(-1, 2).T)
        return pd.DataFrame({name: values[at] for name, values in ends.items()}, index=list(self.run_ids))

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
            finished=tuple((done & inside).sum(axis=1).tolist()),
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
    searches: Mapping[str, SearchRecord] | None = None,
    created: datetime,
    resamples: int | None = None,
) -> Leaderboard:
    """The leaderboard of ``runs`` (columns of RUNS_SCHEMA), with their ``images`` (of IMAGES_SCHEMA).

    ``plans`` are those of the suites shown, ``suite`` keeps the rows of one suite and of its plan; ``searches`` say
    what tuned rows cost, and what was not there. Runs without rows in ``images`` get intervals over seeds.
    ``resamples``: standard is ``statistics.resamples_for`` as many images.
    """
    if suite is not None:
        runs = rows_of_suite(runs, suite, plans)
    found = sort_runs(runs, searches)
    current = found.current
    done = current[current["status"] == "ok"]
    metrics = tuple(name for name in METRICS if name in METRIC_COLUMNS and done[name].notna().any())
    size = current.assign(ok=current["status"] == "ok").groupby("budget")["ok"].sum()
    budgets = tuple(str(budget) for budget in size.sort_index().sort_values(ascending=False, kind="stable").index)
    resamples = resamples or statistics.resamples_for(len(images))
    grids = {budget: _Grid(found, budget, images, resamples) for budget in budgets}
    return Leaderboard(
        suite=suite,
        plans=tuple(plans),
        searches=tuple(one for one in (searches or {}).values() if suite in (None, one.suite)),
        created=created,
        sorted=found,
        budgets=budgets,
        metrics=metrics,
        slices=tuple(part for budget, grid in grids.items() for part in grid.slices(budget, metrics)),
        cell_intervals={
            (budget, name): grid.cell_intervals(name) for budget, grid in grids.items() for name in metrics
        },
        resamples=resamples,
        run_intervals=pd.concat([grid.run_intervals() for grid in grids.values()]) if grids else pd.DataFrame(),
    )
