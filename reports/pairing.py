"""Two sides compared cell by cell: the same method before and after a change, or two methods.

A cell is paired where both sides succeeded on the same data, split, seed, budget and metric version. All numbers are
those of a leaderboard of two rows on these cells, so that intervals and p-values are what the page would show.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports.categories import differing, parameters
from adbench.reports.entries import Sorted, sort_runs
from adbench.reports.leaderboard import Aggregate, Leaderboard, Slice, build_leaderboard
from adbench.reports.significance import ALPHA, holm
from adbench.reports.statistics import Floats

SIDES = ("A", "B")
Outcome = Literal["better", "worse", "no difference shown", "not tested"]


@dataclass(frozen=True)
class Side:
    """What is compared: the ``runs`` of one row of a leaderboard (columns of RUNS_SCHEMA) with their ``images``."""

    runs: pd.DataFrame
    images: pd.DataFrame


@dataclass(frozen=True)
class Change:
    """One metric over some paired cells: both means, and B minus A with its 95 % interval and p-value.

    ``low``, ``high`` and ``p`` are None where nothing is known of their chance. ``wilcoxon`` is the p-value over
    categories, None for one; ``counts`` are the categories in which B is better, worse, and equal. Both p-values may
    be those that ``adjust`` makes; the interval is always that of this comparison alone.
    """

    label: str
    metric: str
    a: float
    b: float
    low: float | None
    high: float | None
    p: float | None
    wilcoxon: float | None
    counts: tuple[int, int, int]
    over: str

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def outcome(self) -> Outcome:
        """Of B against A; better or worse only if the whole interval and the p-value say so."""
        if self.low is None or self.high is None:
            return "not tested"
        if self.low <= 0 <= self.high or (self.p is not None and self.p >= ALPHA):
            return "no difference shown"
        return "better" if (self.low > 0) == METRICS[self.metric].higher_is_better else "worse"


@dataclass(frozen=True)
class Pairing:
    """Both sides in one budget. ``whole`` and ``by_category`` are by metric; ``unpaired`` names every other cell."""

    title: str
    budget: str
    versions: tuple[str, str]
    changed_params: tuple[str, ...]
    n_paired: int
    whole: dict[str, Change]
    by_category: dict[str, tuple[Change, ...]]
    unpaired: tuple[str, ...]

    @property
    def conclusions(self) -> Iterator[str]:
        """A sentence for each metric that says what may be concluded."""
        for metric, found in self.whole.items():
            yield f"{METRICS[metric].title}: {_sentence(found)}"


def pair(title: str, a: Side, b: Side) -> list[Pairing]:
    """Compare two sides, in each budget that either has."""
    marked = [as_row(name, side) for name, side in zip(SIDES, (a, b), strict=True)]
    runs = pd.concat([one.runs for one in marked], ignore_index=True)
    images = pd.concat([one.images for one in marked], ignore_index=True)
    found = sort_runs(runs)
    return [_in_budget(title, str(budget), found, images) for budget in sorted(runs["budget"].unique())]


def adjust(pairings: Sequence[Pairing]) -> tuple[Pairing, ...]:
    """The pairings with p-values adjusted after Holm, for a reader looks at all of them and takes the smallest.

    One family of tests are the means of all pairings and metrics, another those of Wilcoxon over categories, and for
    each metric another the categories of all pairings.
    """
    metrics = dict.fromkeys(name for one in pairings for name in one.by_category)
    whole = iter(_family([change for one in pairings for change in one.whole.values()]))
    parts = {
        name: iter(_family([change for one in pairings for change in one.by_category.get(name, ())]))
        for name in metrics
    }
    return tuple(
        replace(
            one,
            whole={name: next(whole) for name in one.whole},
            by_category={name: tuple(next(parts[name]) for _ in own) for name, own in one.by_category.items()},
        )
        for one in pairings
    )


def _family(changes: Sequence[Change]) -> list[Change]:
    """The changes, each kind of p-value adjusted for their number."""
    p, wilcoxon = (
        [None if np.isnan(value) else float(value) for value in holm(np.array(column, dtype=np.float64))]
        for column in ([one.p for one in changes], [one.wilcoxon for one in changes])
    )
    return [replace(one, p=p[index], wilcoxon=wilcoxon[index]) for index, one in enumerate(changes)]


def as_row(name: str, side: Side) -> Side:
    """The side as a method without parameters, which makes it one row of a leaderboard with other sides.

    Its run_ids become its own, for two folders may have the same.
    """
    runs = side.runs.assign(
        method=name,
        given_params=side.runs["params"],
        params="{}",
        preset_params=None,
        selection="none",
        sweep_id=None,
        run_id=name + "-" + side.runs["run_id"],
    )
    return Side(runs, side.images.assign(run_id=name + "-" + side.images["run_id"]))


def _in_budget(title: str, budget: str, found: Sorted, images: pd.DataFrame) -> Pairing:
    own = found.runs[found.runs["budget"] == budget]
    cells: dict[tuple[int, int], dict[str, pd.Series]] = {}
    for run in _best_last(own):
        cells.setdefault((int(run["place"]), int(run["seed"])), {})[str(run["method"])] = run
    paired = {cell for cell, sides in cells.items() if not _why_not(sides)}
    kept = own[[cell in paired for cell in zip(own["place"], own["seed"], strict=True)]]
    kept = kept[kept["standing"] == "current"]
    board = _board(kept, images)
    whole = next((part for part in board.slices if part.modality is None and part.dataset is None), None)
    # with each category as a dataset of its own, one leaderboard has the slices of all
    apart = _board(kept.assign(dataset=kept["place"].map("{:06d}".format)), images)
    by_place = {int(part.dataset): part for part in apart.slices if part.dataset is not None}
    by_category = [_changes(by_place[place], found.categories[place].label) for place in sorted(by_place)]
    told = own[own["standing"] != "repeated"]
    return Pairing(
        title=title,
        budget=budget,
        versions=(_versions(told, SIDES[0]), _versions(told, SIDES[1])),
        changed_params=_changed_params(told),
        n_paired=len(paired),
        whole={} if whole is None else _changes(whole, "Mean"),
        by_category={
            metric: tuple(changes[metric] for changes in by_category if metric in changes) for metric in board.metrics
        },
        unpaired=tuple(
            f"{found.categories[place].label}, seed {seed}: {_why_not(sides)}"
            for (place, seed), sides in cells.items()
            if (place, seed) not in paired
        ),
    )


def _best_last(rows: pd.DataFrame) -> list[pd.Series]:
    """The rows by cell, in a cell those that count after the others."""
    ordered = rows.assign(counts=rows["standing"] == "current").sort_values(
        ["place", "seed", "counts"], kind="stable"
    )
    return [row for _, row in ordered.iterrows()]


def _why_not(sides: dict[str, pd.Series]) -> str:
    """Why a cell is not paired; empty if it is."""
    for name in SIDES:
        if name not in sides:
            return f"not run in {name}"
    failed = [name for name in SIDES if sides[name]["status"] != "ok"]
    if failed:
        return f"failed in {' and '.join(failed)}"
    if all(side["standing"] == "current" for side in sides.values()):
        return ""
    a, b = (sides[name] for name in SIDES)
    for column, text in (("dataset_fingerprint", "other data"), ("split_hash", "another split")):
        if a[column] != b[column]:
            return f"{text} in A than in B"
    return f"metric version {a['metric_version']} in A, {b['metric_version']} in B"


def _board(runs: pd.DataFrame, images: pd.DataFrame) -> Leaderboard:
    own = images[images["run_id"].isin(runs["run_id"])]
    return build_leaderboard(runs.drop(columns=["standing", "entry", "place"]), own, created=datetime.now(UTC))


def _changes(part: Slice, label: str) -> dict[str, Change]:
    found = {name: change(one, name, label) for name, one in part.metrics.items()}
    return {name: one for name, one in found.items() if one is not None}


def change(aggregate: Aggregate, metric: str, label: str, before: int = 0, after: int = 1) -> Change | None:
    """From one entry to another; None if not both are compared."""
    comparison, first, second = aggregate.comparison, aggregate.estimates[before], aggregate.estimates[after]
    if comparison is None or first is None or second is None:
        return None
    a, b = (aggregate.compared.index(entry) for entry in (before, after))
    known = comparison.pairs
    low, high, p = (
        (None, None, None) if known is None else (_at(one, b, a) for one in (known.low, known.high, known.p))
    )
    counts = (int(comparison.wins[b, a]), int(comparison.wins[a, b]), int(comparison.ties[a, b]))
    return Change(
        label=label,
        metric=metric,
        a=first.mean,
        b=second.mean,
        low=low,
        high=high,
        p=p,
        wilcoxon=None if comparison.wilcoxon is None else float(comparison.wilcoxon[a, b]),
        counts=counts,
        over=aggregate.counted,
    )


def _at(table: Floats, row: int, column: int) -> float | None:
    value = float(table[row, column])
    return None if value != value else value


def _versions(runs: pd.DataFrame, side: str) -> str:
    own = runs[runs["method"] == side]
    commits = sorted({str(one)[:7] for one in own["git_commit"].dropna()})
    parts = [
        f"version {', '.join(sorted(set(own['method_version'])))}",
        f"adbench {', '.join(sorted(set(own['adbench_version'])))}",
        f"commit {', '.join(commits)}" if commits else "",
    ]
    return "; ".join(filter(None, parts)) if len(own) else "no run"


def _changed_params(runs: pd.DataFrame) -> tuple[str, ...]:
    """Parameters whose values differ between the sides, with both sides' values."""
    sides = [[parameters(one) for one in runs.loc[runs["method"] == side, "given_params"].unique()] for side in SIDES]
    if not all(sides):
        return ()

    def values(side: int, name: str) -> str:
        return ", ".join(sorted({choice.get(name, "unset") for choice in sides[side]}))

    names = sorted(differing([*sides[0], *sides[1]]))
    return tuple(
        f"{name}: {values(0, name)} → {values(1, name)}" for name in names if values(0, name) != values(1, name)
    )


def _sentence(found: Change) -> str:
    moved = f"{100 * found.difference:+.2f} points"
    if found.low is None or found.high is None:
        return f"B − A is {moved} over {found.over}; with so few seeds nothing is known of its chance."
    ends = f"95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}"
    said = {"better": "B is better", "worse": "B is worse"}.get(found.outcome, "no difference is shown")
    return f"{said}: {moved}, {ends}, over {found.over}."
