"""Pixel ROC, PRO and sPRO curves for the page: of each category, and means over what all compared methods share.

Runs keep them at the same false positive rates, so the mean over seeds and categories is that of heights, and the
area under it is the mean of the areas in the tables.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.benchmark_suites.sampled_curve import AREA_BOUND, FALSE_POSITIVE_RATES, CurveName, Floats
from adbench.reports import conclusions, statistics
from adbench.reports.figures import Figure, colour_of, dash_of, plain
from adbench.reports.leaderboard import Leaderboard, Slice
from adbench.reports.roc import CHANCE, HEIGHT
from adbench.reports.side_files import SideFiles

MOST_LINES = 300  # of categories within the page, 2 bytes a point when they are compressed
MARKED = 0.05

ReadCurves = Callable[[Iterable[str], list[str]], pd.DataFrame]
"""The rows of the curves table of these runs, and of these columns."""


@dataclass(frozen=True)
class Kind:
    """A curve that runs keep, drawn up to a false positive rate of ``limit``, that runs with ``metric`` can have."""

    title: str
    height: str
    found: str
    metric: str
    limit: float


KINDS: Final[Mapping[CurveName, Kind]] = {
    "pixel_roc": Kind("Pixel ROC", "Pixels found", "pixel recall", "pixel_auroc", 1.0),
    "pro": Kind("PRO", "Per-region overlap", "PRO", "aupro_030", 0.3),
    "spro": Kind("sPRO", "Saturated per-region overlap", "sPRO", "spro_030", 0.3),
}


class _Cells:
    """The curves of one kind and budget: heights [N, K] of N runs, each of an entry, a place and a seed."""

    def __init__(self, runs: pd.DataFrame, heights: NDArray[np.float32]) -> None:
        self.entry, self.place, self.seed = (
            runs[name].to_numpy(dtype=np.int64) for name in ("entry", "place", "seed")
        )
        self.heights = heights

    def of_places(self) -> dict[int, dict[int, Floats]]:
        """By place and entry, the mean over the entry's own seeds."""
        order = np.lexsort((self.entry, self.place))
        pair = self.place * (self.entry.max(initial=0) + 1) + self.entry
        means, starts = _means(self.heights[order], pair[order])
        found: dict[int, dict[int, Floats]] = {}
        for index, mean in zip(order[starts], means, strict=True):
            found.setdefault(int(self.place[index]), {})[int(self.entry[index])] = mean
        return found

    def shared(self, entries: tuple[int, ...], places: set[int]) -> tuple[dict[int, Floats], int]:
        """By entry, the mean over categories of the mean over seeds, and the number of categories.

        Only of cells that all those of ``entries`` share that have such curves, as for the means of metrics.
        """
        inside = np.flatnonzero(np.isin(self.entry, entries) & np.isin(self.place, list(places)))
        seeds, seed = np.unique(self.seed[inside], return_inverse=True)
        cells, column = np.unique(self.place[inside] * max(1, len(seeds)) + seed, return_inverse=True)
        at = np.full((len(entries), len(cells)), -1, dtype=np.int64)
        at[np.searchsorted(np.array(entries), self.entry[inside]), column] = inside
        place = cells // max(1, len(seeds))
        methods, shared = statistics.shared_cells(at >= 0, place)
        found: dict[int, Floats] = {}
        starts = np.zeros(0, dtype=np.int64)
        for row in np.flatnonzero(methods) if shared.any() else ():
            means, starts = _means(self.heights[at[row, shared]], place[shared])
            found[entries[row]] = means.mean(axis=0)
        return found, len(starts)


def _means(heights: NDArray[np.float32], group: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """The mean height of each run of equal groups, and where these begin."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if not len(starts):
        return np.zeros((0, heights.shape[1])), starts
    sizes = np.diff(starts, append=len(group))
    return np.add.reduceat(heights, starts, axis=0, dtype=np.float64) / sizes[:, None], starts


def build_pixel_curves(board: Leaderboard, read: ReadCurves, beside: SideFiles) -> dict[str, Any]:
    """What the page's script draws, by kind: the axes, by slice a mean, and by budget and dataset the categories.

    The curves of a dataset's categories are a file beside the page where those of all are too large for it.
    """
    runs = board.sorted.current
    runs = runs[runs["status"] == "ok"]
    has_any = runs[runs[[kind.metric for kind in KINDS.values()]].notna().any(axis=1)]
    # Without x, which is longest to read: points as many as ours are at our rates, others are left out.
    table = read(has_any["run_id"].tolist(), ["run_id", "split", "name", "y"])
    table = table[(table["split"] == "test") & (table["y"].map(len) == len(FALSE_POSITIVE_RATES))]
    kinds = {name: _kind(board, name, runs, table[table["name"] == name]) for name in KINDS}
    if sum(map(_count_lines, kinds.values())) > MOST_LINES:
        for kind in kinds.values():
            _put_beside(board, kind, beside)
    return {
        "n_points": len(FALSE_POSITIVE_RATES),
        "area_bound": AREA_BOUND,
        "styles": [_style(board, entry) for entry in range(len(board.entries))],
        "kinds": {name: kind for name, kind in kinds.items() if kind["any"]},
    }


def _put_beside(board: Leaderboard, kind: dict[str, Any], beside: SideFiles) -> None:
    """A file for each budget and dataset: its categories by place, and its slices by "mean INDEX"."""
    means: dict[tuple[str, str], dict[str, Any]] = {}
    for index, (part, mean) in enumerate(zip(board.slices, kind["slices"], strict=True)):
        if part.dataset is not None:
            own = {name: mean.pop(name) for name in ("lines", "conclusion")}
            means.setdefault((part.budget, part.dataset), {})[f"mean {index}"] = own
    for budget, datasets in kind["datasets"].items():
        for name, own in list(datasets.items()):
            datasets[name] = {**beside.add({**own, **means[budget, name]}), "places": list(own)}


def _count_lines(kind: dict[str, Any]) -> int:
    places = [place for datasets in kind["datasets"].values() for own in datasets.values() for place in own.values()]
    return sum(len(place["lines"]) for place in places)


def _kind(board: Leaderboard, name: CurveName, runs: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    kind = KINDS[name]
    shown = kind.limit >= FALSE_POSITIVE_RATES
    able = runs[runs[kind.metric].notna()]
    kept = able.merge(table[["run_id", "y"]], on="run_id")
    heights = np.array(kept["y"].tolist(), dtype=np.float32).reshape(-1, len(FALSE_POSITIVE_RATES))
    datasets: dict[str, dict[str, dict[int, Any]]] = {}
    cells: dict[str, _Cells] = {}
    for budget in board.budgets:
        own = (kept["budget"] == budget).to_numpy(dtype=bool)
        cells[budget] = _Cells(kept[own], heights[own])
        for place, curves in cells[budget].of_places().items():
            dataset = board.categories[place].dataset
            of_dataset = datasets.setdefault(budget, {}).setdefault(dataset, {})
            of_dataset[place] = _view(board, kind, curves, 1, shown)
    return {
        "title": kind.title,
        "x": FALSE_POSITIVE_RATES[shown].tolist(),
        "layout": _layout(kind),
        "chance": CHANCE if name == "pixel_roc" else None,
        "slices": [_mean(board, part, kind, cells[part.budget], able, kept, shown) for part in board.slices],
        "datasets": datasets,
        "any": len(able) > 0,
    }


def _mean(
    board: Leaderboard,
    part: Slice,
    kind: Kind,
    cells: _Cells,
    able: pd.DataFrame,
    kept: pd.DataFrame,
    shown: NDArray[np.bool_],
) -> dict[str, Any]:
    """The means of a slice, and how many of its runs that could have kept such a curve did."""
    places = {
        place
        for place, category in enumerate(board.categories)
        if part.modality in (None, category.modality) and part.dataset in (None, category.dataset)
    }
    curves, n_categories = cells.shared(part.compared, places)

    def count(runs: pd.DataFrame) -> int:
        return int(((runs["budget"] == part.budget) & runs["place"].isin(places)).sum())

    view = _view(board, kind, curves, n_categories, shown)
    return {**view, "n_lines": len(curves), "n_categories": n_categories, "able": count(able), "kept": count(kept)}


def _view(
    board: Leaderboard,
    kind: Kind,
    curves: Mapping[int, Floats],
    n_categories: int,
    shown: NDArray[np.bool_],
) -> dict[str, Any]:
    own = {entry: curve[shown] for entry, curve in sorted(curves.items())}
    labels = [board.entries[entry].label for entry in own]
    stacked = np.stack(list(own.values())) if own else np.ones((0, int(shown.sum())))
    return {
        "lines": [{"entry": entry, "y": curve.round(3).tolist()} for entry, curve in own.items()],
        "conclusion": conclusions.of_curves(
            stacked, FALSE_POSITIVE_RATES[shown], labels, marked=MARKED, what=kind.found, n_categories=n_categories
        ),
    }


def _style(board: Leaderboard, entry: int) -> Figure:
    """How an entry's curve looks, in every figure alike."""
    label = board.entries[entry].label
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(label, 40),
        "meta": {"entry": entry, "label": plain(label)},
        "hovertemplate": "%{meta.label}<br>%{y:.1%} at a false positive rate of %{x:.4~f}<extra></extra>",
        "line": {"color": colour_of(entry), "dash": dash_of(entry)},
    }


def _layout(kind: Kind) -> Figure:
    edge = kind.limit / 100
    axis = {"automargin": True, "zeroline": False}
    layout: Figure = {
        "height": HEIGHT,
        "margin": {"l": 10, "r": 20, "t": 30, "b": 10},
        "xaxis": {"title": {"text": "False positive rate of pixels"}, "range": [-edge, kind.limit + edge], **axis},
        "yaxis": {"title": {"text": kind.height}, "range": [-0.01, 1.01], **axis},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": True,
    }
    if kind.limit < 1:
        mark = {"x0": MARKED, "x1": MARKED, "y0": 0, "y1": 1, "yref": "paper"}
        layout["shapes"] = [{"type": "line", **mark, "line": {"color": "#8a94a0", "dash": "dot", "width": 1}}]
        layout["annotations"] = [
            {
                "x": MARKED,
                "y": 0.02,
                "yref": "paper",
                "text": f"{MARKED:g}",
                "showarrow": False,
                "xanchor": "left",
                "xshift": 4,
            }
        ]
    return layout
