"""The runs by column as the page's run table has them: the first in the page, the others in files beside it."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import METRIC_COLUMNS, VAL_METRIC_COLUMNS
from adbench.reports.side_files import SideFiles, zipped

MOST_BYTES = 1_100_000  # of the compressed run table, before base64, if the page holds all of it
FIRST_BYTES = 300_000  # otherwise of its first rows
PART_BYTES = 1_000_000  # and of those in each file
_SAMPLE = 1000  # rows from which the size of all is guessed


def pack_runs(board: Leaderboard, beside: SideFiles) -> dict[str, Any]:
    """The run table: ``count`` rows in ``columns``, of ``total``; the rest in ``files``, each with its ``count``.

    The runs that count come first, then the newest. In the files those that count go by budget and dataset; each
    names the ``datasets`` of which it has any.
    """
    runs = _ordered(board)
    bytes_a_row = max(1, len(zipped(_columns(runs.head(_SAMPLE)))) // max(1, min(_SAMPLE, len(runs))))
    table = {"count": len(runs), "total": len(runs), "columns": {}, "files": []}
    if bytes_a_row * len(runs) < 2 * MOST_BYTES:
        table["columns"] = _columns(runs)
        if len(zipped(table["columns"])) <= MOST_BYTES:
            return table
    count = FIRST_BYTES // bytes_a_row
    rest = runs.iloc[count:]
    rest = rest.assign(late=rest["standing"] != "current").sort_values(["late", "budget", "place"], kind="stable")
    files = [
        {**beside.add({"count": len(own), "columns": _columns(own)}), "count": len(own), "datasets": _datasets(own)}
        for own in _parts(rest.drop(columns="late"), max(1, PART_BYTES // bytes_a_row))
    ]
    return {**table, "count": count, "columns": _columns(runs.head(count)), "files": files}


def run_choices(board: Leaderboard) -> dict[str, list[Any]]:
    """By column of the run table, the values of all runs, which its filters offer."""
    runs = board.sorted.runs
    places = runs[["place", "dataset", "category"]].drop_duplicates().itertuples(index=False)
    labels = {
        f"{dataset}/{category}" if place < 0 else board.categories[place].label for place, dataset, category in places
    }
    values = {name: sorted(set(runs[name].tolist())) for name in ("status", "method", "budget", "seed")}
    return {**values, "category": sorted(labels)}


def json_value(value: Any) -> Any:
    """A table's value as JSON: null where undefined."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _parts(runs: pd.DataFrame, rows: int) -> Iterator[pd.DataFrame]:
    return (runs.iloc[start : start + rows] for start in range(0, len(runs), rows))


def _datasets(runs: pd.DataFrame) -> list[str]:
    return sorted(set(runs.loc[runs["standing"] == "current", "dataset"]))


def _ordered(board: Leaderboard) -> pd.DataFrame:
    runs = board.sorted.runs
    if len(board.run_intervals):
        runs = runs.join(board.run_intervals.round(5), on="run_id")
    runs = runs.sort_values(["finished_at", "run_id"], ascending=False, kind="stable")
    runs = pd.concat([runs[runs["standing"] == "current"], runs[runs["standing"] != "current"]])
    # ranked columns first: a table too wide to read begins with what readers look for
    last = [name for name in (*VAL_METRIC_COLUMNS, "error", "notes", "command") if name in runs.columns]
    first = [name for name in runs.columns if name not in (*last, *METRIC_COLUMNS)]
    return runs[[*first, *METRIC_COLUMNS, *last]]


def _columns(runs: pd.DataFrame) -> Mapping[str, list[Any]]:
    return {str(name): _json_values(runs[name]) for name in runs.columns}


def _json_values(column: pd.Series) -> list[Any]:
    """As json_value of each, but quick: a large store has millions."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return [json_value(value) for value in column.astype(object)]
    values: list[Any] = column.astype(object).tolist()
    undefined = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column.dtype):
        undefined = undefined | ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    for row in np.flatnonzero(undefined):
        values[row] = None
    return values
