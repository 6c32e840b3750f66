"""Plotly figures as plain specifications: data and layout without colours of text and background, and a conclusion.

The page adds the colours, to suit its theme. Plotly reads tags and entities in every text, so names from data are
escaped here; the conclusion is plain text.
"""

import math
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from plotly import colors

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import conclusions, statistics
from adbench.reports.entries import Sorted
from adbench.reports.leaderboard import Slice
from adbench.reports.schema import COSTS

Figure = dict[str, Any]

MOST_ROWS = 60  # of a heat map: with more categories, each row is a dataset
MOST_LABELLED = 2000  # cells of a heat map with their values in them
_ROW = 30  # pixels of a heat map's row
_LONGEST = 30  # characters of a label on an axis
FRONT, OTHER = "#d97706", "#4a90d9"  # distinct in hue and lightness for all common kinds of colour vision
# of methods: told apart by all common kinds of colour vision, and 3:1 from the light and the dark ground (a test)
COLOURS = ("#1155ff", "#bb8866", "#007766", "#ee0088", "#0099bb", "#776611")
DASHES = ("solid", "dash", "dot", "dashdot")
LINE = "#8a94a3"  # of what belongs to no method; stands out from light and dark
_MARKS = {"failed": "✕", "missing": "·", "undefined": "–"}


def colour_of(entry: int) -> str:
    """The colour of an entry, the same in all figures that tell methods by colour."""
    return COLOURS[entry % len(COLOURS)]


def dash_of(entry: int) -> str:
    """The dashes of an entry's line: another kind where the colours begin again."""
    return DASHES[entry // len(COLOURS) % len(DASHES)]


def plain(text: str, longest: int | None = None) -> str:
    """``text`` as Plotly shows it literally, shortened to ``longest`` characters."""
    text = " ".join(text.split())
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return escape(text, quote=False)


def category_values(found: Sorted, budget: str, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean over each method's own seeds and the state where there is none, both indexed [place, entry].

    The states are "failed" and "undefined"; a pair that was not run is in neither table.
    """
    runs = found.current
    runs = runs[runs["budget"] == budget]
    values = runs.pivot_table(index="place", columns="entry", values=metric, aggfunc="mean", dropna=False)
    states = runs.assign(state=(runs["status"] == "ok").map({True: "undefined", False: "failed"}))
    state = states.pivot_table(index="place", columns="entry", values="state", aggfunc="max")
    return values, state.astype(object)  # which every slice takes its part of: far slower as text


def order(part: Slice, metric: str) -> list[int]:
    """Entries of a slice, best average rank first, those that are not compared last."""
    aggregate = part.metrics.get(metric)
    ranks = {
        entry: estimate.rank
        for entry, estimate in enumerate(aggregate.estimates if aggregate else ())
        if estimate is not None
    }
    shown = [*part.compared, *(entry for entry, _ in part.not_compared)]
    return sorted(shown, key=lambda entry: (entry not in ranks, ranks.get(entry, 0.0), entry))


def heat_map(found: Sorted, part: Slice, metric: str, tables: tuple[pd.DataFrame, pd.DataFrame]) -> Figure | None:
    """Categories x methods, in per cent; cells without a value carry a mark for it. None if all do.

    Beyond MOST_ROWS categories the rows are datasets, with the mean over those categories that the method has.
    """
    values, states = tables
    entries = order(part, metric)
    places = [
        int(place)
        for place in values.index
        if part.modality in (None, found.categories[place].modality)
        and part.dataset in (None, found.categories[place].dataset)
    ]
    values, states = values.reindex(index=places, columns=entries), states.reindex(index=places, columns=entries)
    rows = [found.categories[place].label for place in places]
    datasets = [found.categories[place].dataset for place in places]
    if len(places) > MOST_ROWS and len(set(datasets)) > 1:
        values, states = values.groupby(datasets).mean(), states.groupby(datasets).first()
        rows = [f"{name} ({datasets.count(name)} categories)" for name in values.index]
        places = [-1] * len(rows)  # no category's intervals
    z = 100 * values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(z).all():
        return None
    state = states.to_numpy(dtype=object)
    gaps = [(x, y, state[y, x] if isinstance(state[y, x], str) else "missing") for y, x in np.argwhere(np.isnan(z))]
    info = METRICS[metric]
    known = np.argwhere(~np.isnan(z) & (z.size <= MOST_LABELLED))
    low, high = _scale(z)
    inks = _inks(z[tuple(known.T)], low, high, reverse=not info.higher_is_better)
    names = [plain(found.entries[entry].label) for entry in entries]
    labels = [plain(label) for label in rows]
    return {
        "conclusion": conclusions.of_categories(
            z, [found.entries[entry].label for entry in entries], rows, higher=info.higher_is_better
        ),
        "data": [
            {
                "type": "heatmap",
                "z": [[None if math.isnan(value) else round(value, 4) for value in row] for row in z.tolist()],
                "zmin": low,
                "zmax": high,
                "colorscale": "Cividis",
                "reversescale": not info.higher_is_better,
                "xgap": 2,
                "ygap": 2,
                "colorbar": {"thickness": 10, "outlinewidth": 0, "ticksuffix": " %", "len": 1, "x": 1.01},
            },
            {
                "type": "scatter",
                "mode": "text",
                "x": known[:, 1].tolist(),
                "y": known[:, 0].tolist(),
                "text": [f"{value:.1f}" for value in z[tuple(known.T)].tolist()],
                "textfont": {"color": inks},
                "hoverinfo": "skip",
                "showlegend": False,
            },
            {
                "type": "scatter",
                "mode": "text",
                "x": [int(x) for x, _, _ in gaps],
                "y": [int(y) for _, y, _ in gaps],
                "text": [_MARKS[kind] for _, _, kind in gaps],
                "hovertext": [f"{labels[y]}<br>{names[x]}<br>{kind}" for x, y, kind in gaps],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "showlegend": False,
            },
        ],
        "layout": {
            "height": 110 + _ROW * len(places),
            "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
            "meta": {"places": places, "entries": entries, "rows": labels, "columns": names},
            "xaxis": _axis([plain(found.entries[entry].label, _LONGEST) for entry in entries], "top"),
            "yaxis": {
                **_axis([plain(name, _LONGEST) for name in rows], "left"),
                "autorange": False,
                "range": [len(places) - 0.5, -0.5],
            },
        },
    }


def _scale(values: statistics.Floats) -> tuple[float, float]:
    """The ends of the colour scale: of the values, at least a point apart, and in 0 to 100 even if all are equal."""
    low = min(float(np.nanmin(values)), max(0.0, float(np.nanmax(values)) - 1.0))
    return low, max(float(np.nanmax(values)), low + 1.0)


def _inks(values: statistics.Floats, low: float, high: float, reverse: bool) -> list[str]:
    """Black or white for the text on each cell, whichever stands out from its colour."""
    position = (values - low) / (high - low)
    anchors = np.array([colors.hex_to_rgb(color) for color in colors.sequential.Cividis], dtype=np.float64)
    light = (anchors / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722]  # relative luminance, WCAG 2.2
    own = np.interp(1 - position if reverse else position, np.linspace(0, 1, len(light)), light)
    return ["#000000" if one > 0.179 else "#ffffff" for one in own]


def _axis(labels: list[str], side: str) -> dict[str, Any]:
    return {
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": labels,
        "side": side,
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "range": [-0.5, len(labels) - 0.5],
    }


def log_axis(values: statistics.Floats) -> dict[str, Any]:
    """A logarithmic axis with whole numbers at 1, 2 and 5, where Plotly's own shorten 20 to 2."""
    powers = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _span(low: float | None, high: float | None) -> float:
    """The length of a bar in per cent; none without an interval."""
    return 0.0 if low is None or high is None else round(100 * (high - low), 4)


def cost_scatter(found: Sorted, part: Slice, metric: str, cost: str) -> Figure | None:
    """Quality (per cent, with its interval) against one cost; the Pareto front as a line through its points.

    None where no compared method has both.
    """
    aggregate = part.metrics.get(metric)
    points = [
        (entry, spent, estimate)
        for entry, estimate in enumerate(aggregate.estimates if aggregate else ())
        if estimate is not None
        and (costs := part.costs[entry]) is not None
        and (spent := getattr(costs, cost)) is not None
    ]
    if not points:
        return None
    x = np.array([spent for _, spent, _ in points])
    y = 100 * np.array([estimate.mean for _, _, estimate in points])
    quality = y if METRICS[metric].higher_is_better else -y
    front = statistics.pareto_front(x, quality)
    names = [found.entries[entry].label for entry, _, _ in points]

    def marks(mask: statistics.Bools, symbol: str) -> Figure:
        chosen = [points[index] for index in np.flatnonzero(mask)]
        means = [estimate.mean for _, _, estimate in chosen]
        ends = [(estimate.low, estimate.high) for _, _, estimate in chosen]
        tints = [colour_of(entry) for entry, _, _ in chosen]
        labels = [found.entries[entry].label for entry, _, _ in chosen]
        return {
            "type": "scatter",
            "mode": "markers+text",
            "x": [float(f"{spent:.6g}") for _, spent, _ in chosen],
            "y": [round(100 * mean, 4) for mean in means],
            "text": [plain(label, 24) for label in labels],
            "hovertext": [plain(label) for label in labels],
            "hovertemplate": "%{hovertext}<br>%{y:.2f} %<br>%{x:.4~g}<extra></extra>",
            "textposition": "top right",
            "cliponaxis": False,
            "showlegend": False,
            "meta": {
                "entries": [entry for entry, _, _ in chosen],
                "names": [plain(label, 24) for label in labels],
            },
            "marker": {"symbol": symbol, "size": 11, "color": tints, "line": {"width": 2, "color": tints}},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [_span(mean, high) for mean, (_, high) in zip(means, ends, strict=True)],
                "arrayminus": [_span(low, mean) for mean, (low, _) in zip(means, ends, strict=True)],
                "thickness": 1,
                "width": 3,
                "color": LINE,
            },
        }

    best = sorted(np.flatnonzero(front), key=lambda index: (x[index], y[index]))
    # a cost of 0 (no GPU used) has no logarithm
    wide = x.min() > 0 and x.max() > 20 * x.min()
    return {
        "conclusion": conclusions.of_cost(names, x, quality, front),
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Pareto front (diamonds)",
                "x": [float(x[index]) for index in best],
                "y": [round(float(y[index]), 4) for index in best],
                "line": {"shape": "hv", "dash": "dot", "width": 1.5, "color": LINE},
                "hoverinfo": "skip",
                "showlegend": True,
            },
            marks(front, "diamond"),
            marks(~front, "circle-open"),
        ],
        "layout": {
            "height": 430,
            "margin": {"l": 10, "r": 30, "t": 30, "b": 10},
            "xaxis": {"title": {"text": COSTS[cost]}, "automargin": True, **(log_axis(x) if wide else {})},
            "yaxis": {
                "title": {"text": f"{plain(METRICS[metric].title)} (%)"},
                "automargin": True,
                "zeroline": False,
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        },
    }
