"""Search: what each recorded sweep tried, what it cost, and whether the setting it found beats the default."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from adbench.reports import intervals, statistics
from adbench.reports.files import Folder
from adbench.reports.leaderboard import Leaderboard
from adbench.reports.resampling import RESAMPLED, resample_runs
from adbench.reports.schema import SearchRecord

MOST_BYTES = 250_000  # of all compressed figures
_ROOM = "The page has no room for the figures of this sweep: `adbench show sweep` has its trials."


@dataclass(frozen=True)
class Gain:
    """One metric of the tuned rows and of the default ones, means over the same cells.

    ``difference`` is tuned minus default, with its paired 95 % interval and p-value where there are any.
    """

    metric: str
    default: float
    tuned: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    interval: intervals.Interval
    n_categories: int
    n_cells: int


def build_sweeps(board: Leaderboard, folder: Folder, images: pd.DataFrame) -> list[dict[str, Any]]:
    """What the page shows of every sweep of the board, by name.

    ``figures`` is empty where ``problem`` says why: the journal is missing or damaged, or too little was tried.
    """
    if not board.searches:
        return []
    from adbench.reports.figures_search import FEWEST_TRIALS, MOST_TRIALS, search_figures
    from adbench.reports.studies import read_studies  # late: Optuna is slow to import

    studies, problems = read_studies(folder, [record.sweep_id for record in board.searches])
    found, room = [], MOST_BYTES
    for record in sorted(board.searches, key=lambda one: one.sweep_id):
        study, problem = studies.get(record.sweep_id), problems.get(record.sweep_id, "")
        figures = [] if study is None or room <= 0 else search_figures(study, record.objective)
        room -= len(gzip.compress(json.dumps(figures).encode())) if figures else 0
        if room <= 0 and not problem:
            figures, problem = [], _ROOM
        elif not figures and not problem:
            problem = f"Fewer than {FEWEST_TRIALS} trials are complete: there is nothing to draw yet."
        cut = f"Of {record.complete} complete trials, {MOST_TRIALS} are drawn, evenly spaced, the best among them."
        found.append(
            {
                **asdict(record),
                "datasets": sorted({data.split("/")[0] for data in record.data}),
                "problem": problem,
                "note": cut if figures and record.complete > MOST_TRIALS else "",
                "figures": figures,
                "against": default_against_tuned(board, record, images),
            }
        )
    return found


def default_against_tuned(board: Leaderboard, record: SearchRecord, images: pd.DataFrame) -> list[dict[str, Any]]:
    """For each untuned row of the sweep's method that shares a cell with the tuned one, its label and the gains."""
    runs = board.sorted.current
    runs = runs[(runs["budget"] == record.budget) & (runs["status"] == "ok") & (runs["method"] == record.method)]
    tuned = runs[(runs["sweep_id"] == record.sweep_id) & (runs["selection"] != "none")]
    untuned = runs[(runs["selection"] == "none") & runs["sweep_id"].isna()]
    found = []
    for entry, own in untuned.groupby("entry"):
        gains = list(_gains(board, own, tuned, images))
        if gains:
            found.append({"default": board.entries[int(str(entry))].label, "gains": [asdict(gain) for gain in gains]})
    return found


def _gains(board: Leaderboard, default: pd.DataFrame, tuned: pd.DataFrame, images: pd.DataFrame) -> Iterable[Gain]:
    both = default.merge(tuned, on=["place", "seed"], suffixes=("_default", "_tuned"))
    both = both.sort_values(["place", "seed"]).reset_index(drop=True)
    if both.empty:
        return
    sides = [both["run_id_default"], both["run_id_tuned"]]
    where = {str(run_id): (row, column) for row, ids in enumerate(sides) for column, run_id in enumerate(ids)}
    labels = [board.categories[place].label for place in both["place"]]
    resampled = resample_runs(images, where, labels, (2, len(both)), statistics.RESAMPLES)
    for name in board.metrics:
        values = np.stack([pd.to_numeric(both[f"{name}_{side}"]).to_numpy(float) for side in ("default", "tuned")])
        known = ~np.isnan(values).any(axis=0)
        places = both["place"].to_numpy()
        columns = [np.flatnonzero(known & (places == place)) for place in np.unique(places[known])]
        if not columns:
            continue
        noise = [resampled.noise(name, np.arange(2), own) for own in columns] if name in RESAMPLED else []
        told = [one for one in noise if one is not None]
        means = intervals.estimate_means(
            [values[:, own] for own in columns], told if len(told) == len(columns) else None
        )
        low, high, p = (
            (None, None, None)
            if means.pairs is None
            else tuple(_known(one[1, 0]) for one in (means.pairs.low, means.pairs.high, means.pairs.p))
        )
        yield Gain(
            metric=name,
            default=float(means.mean[0]),
            tuned=float(means.mean[1]),
            difference=float(means.mean[1] - means.mean[0]),
            low=low,
            high=high,
            p=p,
            interval=means.interval,
            n_categories=len(columns),
            n_cells=int(known.sum()),
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
