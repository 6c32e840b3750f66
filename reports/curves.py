"""Quality over one parameter: runs of a method that differ in it and in nothing else."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import intervals, statistics
from adbench.reports.categories import differing, parameters, spelled
from adbench.reports.figures import Figure, colour_of, dash_of, log_axis, plain
from adbench.reports.leaderboard import Leaderboard, Slice

FIRST = ("anomaly_ratio", "gamma", "n_normal", "noise")
ALL = "all"
MOST_LINES = 12  # of one figure
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


@dataclass(frozen=True)
class Line:
    """Runs of one ``method`` that differ in ``parameter`` alone; what else was varied in the method is in ``label``.

    ``runs`` are rows of the runs table with a column ``level``, the parameter's value as JSON, or ALL.
    """

    parameter: str
    label: str
    runs: pd.DataFrame


@dataclass(frozen=True)
class Points:
    """A metric along a line, over the cells in which all its levels have a value.

    ``low`` and ``high`` are the ends of the interval over seeds, NaN where there is none.
    """

    levels: tuple[str, ...]
    mean: statistics.Floats
    low: statistics.Floats
    high: statistics.Floats
    interval: intervals.Interval
    n_categories: int
    n_cells: int


def build_curves(board: Leaderboard) -> list[dict[str, dict[str, Figure]]]:
    """For each of the board's slices: parameter -> metric -> figure, with those of FIRST first."""
    tables = {
        budget: [
            (line, {metric: table for metric in board.metrics if len(table := levels_by_cell(line, metric)) > 1})
            for line in find_lines(board, budget)
        ]
        for budget in board.budgets
    }
    return [_of_slice(board, part, tables[part.budget]) for part in board.slices]


def find_lines(board: Leaderboard, budget: str) -> Iterator[Line]:
    """The lines of all parameters that were varied in a budget; trials of searches are in none."""
    current = board.sorted.current
    runs = current[(current["budget"] == budget) & (current["status"] == "ok")]
    columns = [runs[name] for name in ("params", "n_normal", "noise", "multi_class")]
    choices = pd.Series([_choice(*row) for row in zip(*columns, strict=True)], index=runs.index, dtype=object)
    for (method, selection), own in runs.groupby(["method", "selection"]):
        told = choices[own.index]
        cells: dict[int, list[dict[str, str]]] = {}
        for place, choice in zip(own["place"], told, strict=True):
            cells.setdefault(place, []).append(choice)
        varied = set().union(*map(differing, cells.values()))
        for name in varied - {"multi_class"}:
            rest = told.map(lambda choice, others=varied - {name}: spelled(choice, others))
            for text, line in own.groupby(rest):
                levels = told[line.index].map(lambda choice, name=name: choice.get(name, "unset"))
                if levels.nunique() > 1:
                    tuned = "" if selection == "none" else f"tuned on {selection}"
                    label = " · ".join(filter(None, (str(method), str(text), tuned)))
                    yield Line(name, label, line.assign(level=levels))


def _choice(params: str, n_normal: Any, noise: Any, multi_class: Any) -> dict[str, str]:
    """The parameters of a run and what was asked of its training images, by name, as JSON."""
    asked = {
        "n_normal": ALL if pd.isna(n_normal) else str(int(n_normal)),
        "noise": json.dumps(0.0 if pd.isna(noise) else float(noise)),
        "multi_class": json.dumps(multi_class is True),
    }
    own = parameters(params)
    return {**{f"method.{name}" if name in asked else name: value for name, value in own.items()}, **asked}


def _number(level: str) -> float | None:
    try:
        value = json.loads(level)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def levels_by_cell(line: Line, metric: str) -> pd.DataFrame:
    """The metric by level, in their order, and (place, seed)."""
    own = line.runs[line.runs[metric].notna()]
    table = own.pivot_table(index="level", columns=["place", "seed"], values=metric, aggfunc="mean")
    return table.loc[sorted(table.index, key=_order)]


def points(table: pd.DataFrame, places: Collection[int]) -> Points | None:
    """What ``levels_by_cell`` gave, in these categories; None where no two levels have a cell in common."""
    own = table.loc[:, table.columns.get_level_values("place").isin(list(places))]
    values = own.to_numpy(dtype=np.float64)
    place = own.columns.get_level_values("place").to_numpy(dtype=np.int64)
    kept, shared = statistics.shared_cells(~np.isnan(values), place)
    if kept.sum() < 2:
        return None
    columns = [np.flatnonzero(shared & (place == one)) for one in np.unique(place[shared])]
    means = intervals.estimate_means([values[np.ix_(np.flatnonzero(kept), column)] for column in columns], None)
    levels = tuple(str(level) for level, is_kept in zip(own.index, kept, strict=True) if is_kept)
    return Points(levels, means.mean, means.low, means.high, means.interval, len(columns), int(shared.sum()))


def _order(level: str) -> tuple[bool, bool, float, str]:
    """Numbers by size, then other values, last ALL."""
    number = _number(level)
    return (level == ALL, number is None, number or 0.0, level)


def _of_slice(
    board: Leaderboard, part: Slice, tables: list[tuple[Line, dict[str, pd.DataFrame]]]
) -> dict[str, dict[str, Figure]]:
    places = [
        place
        for place, category in enumerate(board.categories)
        if part.modality in (None, category.modality) and part.dataset in (None, category.dataset)
    ]
    lines: dict[str, dict[str, list[tuple[Line, Points]]]] = {}
    for line, by_metric in tables:
        for metric, table in by_metric.items():
            found = points(table, places)
            if found is not None:
                lines.setdefault(line.parameter, {}).setdefault(metric, []).append((line, found))
    names = sorted(lines, key=lambda name: (name not in FIRST, _rank(name), name))
    return {name: {metric: _figure(name, metric, own) for metric, own in lines[name].items()} for name in names}


def _rank(name: str) -> int:
    return FIRST.index(name) if name in FIRST else 0


def _figure(parameter: str, metric: str, lines: list[tuple[Line, Points]]) -> Figure:
    shown = lines[:MOST_LINES]
    levels = sorted({level for _, one in shown for level in one.levels}, key=_order)
    numbers = [_number(level) for level in levels]
    numeric = None not in numbers
    joined = all(number is not None or level == ALL for number, level in zip(numbers, levels, strict=True))
    return {
        "data": [_trace(line, one, numeric, joined) for line, one in shown],
        "layout": {
            "height": 400,
            "margin": {"l": 10, "r": 20, "t": 30, "b": 10},
            "meta": {
                "left_out": len(lines) - len(shown),
                "lines": [
                    {
                        "label": line.label,
                        "best": one.levels[_best(one, metric)],
                        "mean": round(float(one.mean[_best(one, metric)]), 5),
                        "interval": one.interval,
                        "n_categories": one.n_categories,
                        "n_cells": one.n_cells,
                    }
                    for line, one in shown
                ],
            },
            "xaxis": {"title": {"text": plain(parameter)}, "automargin": True, **_x_axis(levels, numbers)},
            "yaxis": {
                "title": {"text": f"{plain(METRICS[metric].title)} (%)"},
                "automargin": True,
                "zeroline": False,
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "showlegend": True,
        },
    }


def _best(one: Points, metric: str) -> int:
    return int(np.argmax(one.mean) if METRICS[metric].higher_is_better else np.argmin(one.mean))


def _x_axis(levels: list[str], numbers: list[float | None]) -> dict[str, Any]:
    known = np.array([number for number in numbers if number is not None])
    if len(known) < len(levels):
        return {"type": "category", "categoryorder": "array", "categoryarray": [plain(level, 30) for level in levels]}
    wide = known.min() > 0 and known.max() > 20 * known.min()
    return log_axis(known) if wide else {"type": "linear"}


def _trace(line: Line, one: Points, numeric: bool, joined: bool) -> Figure:
    index, label = int(line.runs["entry"].min()), line.label
    y = 100 * one.mean
    known = ~np.isnan(one.low)
    color = colour_of(index)
    return {
        "type": "scatter",
        "mode": "lines+markers" if joined else "markers",
        "name": plain(label, 40),
        "x": [_number(level) if numeric else plain(level, 30) for level in one.levels],
        "y": [round(float(value), 4) for value in y],
        "hovertext": [plain(f"{label}, {level}") for level in one.levels],
        "hovertemplate": "%{hovertext}<br>%{y:.2f} %<extra></extra>",
        "line": {"color": color, "dash": dash_of(index)},
        "marker": {"color": color, "size": 9, "symbol": _SYMBOLS[index % len(_SYMBOLS)]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": np.where(known, 100 * one.high - y, 0).round(4).tolist(),
            "arrayminus": np.where(known, y - 100 * one.low, 0).round(4).tolist(),
            "thickness": 1,
            "width": 4,
            "color": color,
        },
    }
