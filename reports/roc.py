"""ROC curves of single categories, from the stored scores of test images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.reports import conclusions
from adbench.reports.figures import Figure, colour_of, dash_of, plain
from adbench.reports.leaderboard import Leaderboard

RESOLUTION = 1 / 1000  # of the axes; finer steps cannot be seen
HEIGHT = 420
TOLD_AT = 0.05  # false positive rate at which the figure's sentence compares
MOST_POINTS = 60_000  # of all curves of the page


@dataclass(frozen=True)
class RocCurves:
    """``figures``: budget -> place -> figure. ``left_out``: categories for which the page has no room."""

    figures: dict[str, dict[int, Figure]]
    left_out: int


def roc_corners(
    labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of false and true positives at the corners of the ROC curve, from (0, 0) to all images.

    Equal scores are one step. Points on the line between their neighbours are left out, and so are those within
    RESOLUTION, on both axes, of the last one that is kept.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of each run of equal scores
    true = np.concatenate([[0], np.cumsum(labels[order])[last]])
    false = np.concatenate([[0], 1 + last]) - true
    dx, dy = np.diff(false), np.diff(true)
    corner = np.concatenate([[True], dx[:-1] * dy[1:] != dx[1:] * dy[:-1], [True]])
    false, true = false[corner], true[corner]
    kept = [0]
    for index in range(1, len(false) - 1):
        x, y = (false[index] - false[kept[-1]]) / false[-1], (true[index] - true[kept[-1]]) / true[-1]
        if max(x, y) > RESOLUTION:
            kept.append(index)
    kept.append(len(false) - 1)
    return false[kept], true[kept]


def build_rocs(board: Leaderboard, images: pd.DataFrame) -> RocCurves:
    """A figure of each budget and category, with a curve of each entry: of its lowest seed that has image scores."""
    runs = board.sorted.current
    runs = runs[(runs["status"] == "ok") & runs["run_id"].isin(images["run_id"].unique())]
    runs = runs.sort_values(["seed"], kind="stable").drop_duplicates(["budget", "place", "entry"])
    own = images[(images["split"] == "test") & images["run_id"].isin(runs["run_id"])]
    labels, scores = own["label"].to_numpy(dtype=np.int64), own["score"].to_numpy(dtype=np.float64)
    rows_of = own.groupby("run_id").indices
    found = RocCurves({}, 0)
    room, left_out = MOST_POINTS, 0
    for (budget, place), rows in runs.sort_values("entry").groupby(["budget", "place"]):
        if room < 0:  # it only shrinks
            left_out += 1
            continue
        traces = [
            trace
            for run_id, entry, seed in rows[["run_id", "entry", "seed"]].itertuples(index=False, name=None)
            if (mine := rows_of.get(run_id)) is not None
            and (trace := _trace(board, int(entry), int(seed), labels[mine], scores[mine])) is not None
        ]
        room -= sum(len(trace["x"]) for trace in traces)
        if room < 0:
            left_out += 1
        elif traces:
            found.figures.setdefault(str(budget), {})[int(str(place))] = {
                "conclusion": conclusions.of_rocs(
                    [trace["meta"]["found"] for trace in traces],
                    [board.entries[trace["meta"]["entry"]].label for trace in traces],
                    rate=TOLD_AT,
                    n_anomalous=traces[0]["meta"]["n_anomalous"],
                ),
                "data": [*traces, CHANCE],
                "layout": _LAYOUT,
            }
    return RocCurves(found.figures, left_out)


def _trace(
    board: Leaderboard, entry: int, seed: int, labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> Figure | None:
    """None where only normal or only anomalous images have scores."""
    if labels.min() == labels.max():
        return None
    false, true = roc_corners(labels, scores)
    name = f"{board.entries[entry].label}, seed {seed}"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name, 40),
        "meta": {
            "entry": entry,
            "label": plain(name),
            "n_anomalous": int(true[-1]),
            "found": found_share(labels, scores, TOLD_AT),
        },
        "x": (false / false[-1]).round(5).tolist(),
        "y": (true / true[-1]).round(5).tolist(),
        "hovertemplate": "%{meta.label}<br>%{y:.1%} found at %{x:.1%} false alarms<extra></extra>",
        "line": {"color": colour_of(entry), "dash": dash_of(entry)},
    }


def found_share(labels: NDArray[np.int64], scores: NDArray[np.float64], rate: float) -> float:
    """The share of anomalous images above the lowest threshold that at most ``rate`` < 1 of normal ones exceed."""
    normal = np.sort(scores[labels == 0])[::-1]
    allowed = int(rate * len(normal) + 1e-9)  # 0.05 of 60 images are 3
    return float((scores[labels == 1] > normal[allowed]).mean())


CHANCE: Figure = {
    "type": "scatter",
    "mode": "lines",
    "name": "chance",
    "x": [0, 1],
    "y": [0, 1],
    "hoverinfo": "skip",
    "line": {"color": "#8a94a0", "dash": "dot", "width": 1},
}
_LAYOUT: Figure = {
    "height": HEIGHT,
    "margin": {"l": 10, "r": 20, "t": 30, "b": 10},
    "xaxis": {
        "title": {"text": "False positive rate"},
        "range": [-0.01, 1.01],
        "automargin": True,
        "zeroline": False,
    },
    "yaxis": {"title": {"text": "True positive rate"}, "range": [-0.01, 1.01], "automargin": True, "zeroline": False},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    "showlegend": True,
}
