"""The leaderboard's numbers as tables: methods by metrics, and categories by methods. They are those of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports.figures import category_values, order
from adbench.reports.intervals import Interval
from adbench.reports.leaderboard import Leaderboard, Slice

COLUMNS = (
    *("table", "budget", "modality", "dataset", "category", "method", "settings", "selection", "metric"),
    *("mean", "low", "high", "interval", "state", "best", "rank", "wins", "n_categories", "n_cells"),
)


@dataclass(frozen=True)
class Value:
    """A mean with its 95 % interval; ``interval`` says what that covers. ``best``: of its row or column."""

    mean: float
    low: float | None
    high: float | None
    interval: Interval
    best: bool


@dataclass(frozen=True)
class Table:
    """A table for readers. A cell without a value holds a word that says why. ``note`` says what is compared."""

    kind: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Value | str, ...]], ...]


def find_slice(board: Leaderboard, budget: str, modality: str | None, dataset: str | None) -> Slice | None:
    """The slice under these filters; that of a dataset is found without its modality too."""
    for part in board.slices:
        of_modality = part.modality == modality or (modality is None and dataset is not None)
        if part.budget == budget and part.dataset == dataset and of_modality:
            return part
    return None


def methods_by_metrics(board: Leaderboard, part: Slice, metrics: Sequence[str]) -> Table:
    """A row for each compared method, by average rank in the first of ``metrics``; a column for each metric."""
    entries = [entry for entry in order(part, metrics[0]) if entry in part.compared]
    columns = {name: _of_metric(part, name) for name in metrics}
    rows = [(board.entries[entry].label, tuple(columns[name][entry] for name in metrics)) for entry in entries]
    return Table(
        kind="methods",
        title=f"Methods by metrics, {_scope(part)}",
        note=f"Means over the cells that all methods share: {_counted(part, metrics)}. Bold: best in its column.",
        columns=("Method", *(headed(name) for name in metrics)),
        rows=tuple(rows),
    )


def categories_by_methods(board: Leaderboard, part: Slice, metric: str) -> Table:
    """A row for each category, with the mean over each method's own seeds, and one for the mean over shared cells."""
    entries = order(part, metric)
    rows = [
        (board.categories[place].label, tuple(values[entry] for entry in entries))
        for place, values in _by_place(board, part, metric).items()
    ]
    if metric in part.metrics:
        shared = _of_metric(part, metric)
        rows.append(("Mean over shared cells", tuple(shared[entry] for entry in entries)))
    counted = f" The last row is over what all compared methods share, {_counted(part, [metric])}."
    return Table(
        kind="categories",
        title=f"{headed(metric)} by category, {_scope(part)}",
        note="Means over each method's own seeds. Bold: best in its row."
        + (counted if metric in part.metrics else ""),
        columns=("Category", *(board.entries[entry].label for entry in entries)),
        rows=tuple(rows),
    )


def long_table(board: Leaderboard, part: Slice, metrics: Sequence[str], by_category: Sequence[str]) -> pd.DataFrame:
    """Both kinds of table for machines, in full precision: a row for each value, columns as COLUMNS.

    Values lie in the metric's range, not in per cent; ``state`` says why a mean is null.
    """
    rows: list[dict[str, object]] = []
    for name in metrics:
        aggregate = part.metrics.get(name)
        for entry in order(part, name):
            estimate = aggregate.estimates[entry] if aggregate else None
            rows.append(_long("methods", board, entry, name, None, _of_metric(part, name)[entry]))
            if aggregate and estimate:
                rows[-1] |= {"rank": estimate.rank, "wins": estimate.wins}
                rows[-1] |= {"n_categories": aggregate.n_categories, "n_cells": aggregate.n_cells}
    for name in by_category:
        for place, values in _by_place(board, part, name).items():
            rows += [_long("categories", board, entry, name, place, value) for entry, value in values.items()]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["budget"] = part.budget
    for key in ("modality", "dataset"):
        frame[key] = frame[key].where(frame[key].notna(), getattr(part, key))
    whole = {"rank": "Float64", "wins": "Int64", "n_categories": "Int64", "n_cells": "Int64"}
    return frame.astype({"mean": "Float64", "low": "Float64", "high": "Float64", "best": "boolean", **whole})


def _long(
    kind: str, board: Leaderboard, entry: int, metric: str, place: int | None, value: Value | str
) -> dict[str, object]:
    own = board.entries[entry]
    row: dict[str, object] = {"table": kind, "method": own.method, "settings": own.settings}
    row |= {"selection": own.selection, "metric": metric}
    if place is not None:
        category = board.categories[place]
        row |= {"modality": category.modality, "dataset": category.dataset, "category": category.label}
    if isinstance(value, str):
        return row | {"state": value}
    return row | {
        "state": "ok",
        "mean": value.mean,
        "low": value.low,
        "high": value.high,
        "interval": value.interval,
        "best": value.best,
    }


def _of_metric(part: Slice, metric: str) -> dict[int, Value | str]:
    """The mean of each entry of the slice over the shared cells, or why it has none."""
    aggregate = part.metrics.get(metric)
    found = {} if aggregate is None else {entry: one for entry, one in enumerate(aggregate.estimates) if one}
    best = _best([one.mean for one in found.values()], metric)
    values: dict[int, Value | str] = dict.fromkeys(part.compared, "undefined")
    values |= {entry: "not compared" for entry, _ in part.not_compared}
    if aggregate is not None:
        for entry, one in found.items():
            kind: Interval = "none" if one.low is None else aggregate.interval
            values[entry] = Value(one.mean, one.low, one.high, kind, _same(one.mean, best))
    return values


def _by_place(board: Leaderboard, part: Slice, metric: str) -> dict[int, dict[int, Value | str]]:
    """By category and entry of the slice, the mean over the entry's own seeds, or why there is none."""
    means, states = category_values(board.sorted, part.budget, metric)
    known = board.cell_intervals[part.budget, metric]
    entries = order(part, metric)
    found: dict[int, dict[int, Value | str]] = {}
    for place in map(int, means.index):
        category = board.categories[place]
        if part.modality not in (None, category.modality) or part.dataset not in (None, category.dataset):
            continue
        own = means.loc[place].dropna().to_dict()
        state = states.loc[place].dropna().to_dict()
        best = _best([float(own[entry]) for entry in entries if entry in own], metric)
        found[place] = {}
        for entry in entries:
            if entry not in own:
                found[place][entry] = str(state.get(entry, "missing"))
                continue
            mean, ends = float(own[entry]), known.get((place, entry))
            same = _same(mean, best)
            if ends is None:
                found[place][entry] = Value(mean, None, None, "none", same)
            else:
                found[place][entry] = Value(mean, ends.low, ends.high, ends.interval, same)
    return found


def _best(means: list[float], metric: str) -> float | None:
    if not means:
        return None
    return max(means) if METRICS[metric].higher_is_better else min(means)


def _same(mean: float, best: float | None) -> bool:
    """Equal as shown, in per cent with one decimal: what prints alike is marked alike."""
    return best is not None and f"{100 * mean:.1f}" == f"{100 * best:.1f}"


def headed(metric: str) -> str:
    """A metric's title, with an arrow to where it is better."""
    return f"{METRICS[metric].title} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def _counted(part: Slice, metrics: Sequence[str]) -> str:
    """Over how many categories and seeds the means of ``metrics`` go, each count with the metrics that have it."""
    counts: dict[str, list[str]] = {}
    for name in metrics:
        if name in part.metrics:
            counts.setdefault(part.metrics[name].counted, []).append(METRICS[name].title)
    return "; ".join(text if len(counts) == 1 else f"{', '.join(names)}: {text}" for text, names in counts.items())


def _scope(part: Slice) -> str:
    where = part.dataset or part.modality or "all datasets"
    return f"{where}, budget {part.budget}"
