"""`adbench export`: the leaderboard's tables for papers."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from adbench.benchmark_suites.metrics import METRICS
from adbench.datasets.errors import RequestError, unknown_name
from adbench.orchestrator.keys import plain_keys
from adbench.orchestrator.report import opened
from adbench.reports import export as texts
from adbench.reports import tables
from adbench.reports.leaderboard import Leaderboard, Slice
from adbench.reports.page import read_leaderboard, shown_metrics
from adbench.reports.store import ResultStore

Format = Literal["csv", "latex", "markdown", "parquet"]
Which = Literal["all", "methods", "categories"]


def export(arguments: Sequence[str], kind: Format, which: Which = "all") -> bytes:
    """The tables that the key=value ``arguments`` choose, as the content of a file."""
    keys = plain_keys(arguments, "suite", "out", "budget", "modality", "dataset", "metric")
    board = read_nonempty(opened(keys), keys.get("suite"))
    part = _slice(board, keys)
    metrics = chosen_metrics(board.metrics, keys)
    shown = metrics or shown_metrics(board)
    by_category = metrics or [board.rank_by]
    if which == "methods":
        by_category = []
    if kind in ("csv", "parquet"):
        frame = tables.long_table(board, part, [] if which == "categories" else shown, by_category)
        if kind == "csv":
            return frame.to_csv(index=False, lineterminator="\r\n").encode()  # quotes both in names
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
    found = [] if which == "categories" else [tables.methods_by_metrics(board, part, shown)]
    found += [tables.categories_by_methods(board, part, name) for name in by_category]
    return (texts.latex(found) if kind == "latex" else texts.markdown(found)).encode()


def read_nonempty(store: ResultStore, suite: str | None) -> Leaderboard:
    """The leaderboard as `adbench report` makes it. RequestError without a successful run."""
    board = read_leaderboard(store, suite)
    if not board.metrics:
        where = store.out if suite is None else f"suite {suite} of {store.out}"
        raise RequestError(
            f"no successful run in {where}", remedy="`adbench report` makes a page that says what failed"
        )
    return board


def chosen_metrics(known: Sequence[str], keys: dict[str, str]) -> list[str]:
    """The metrics of metric=A,B; none if it is not given. RequestError for those without a value."""
    wanted = list(dict.fromkeys(filter(None, keys.get("metric", "").split(","))))
    for name in wanted:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
        if name not in known:
            raise RequestError(f"no run has a value of metric '{name}'", allowed=", ".join(known))
    return wanted


def write(content: bytes, path: Path) -> None:
    """Write a file, and its folder if need be; RequestError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise RequestError(
            f"cannot write {path}: {error.strerror or error}", remedy="choose another file with --to"
        ) from None


def _slice(board: Leaderboard, keys: dict[str, str]) -> Slice:
    known = {
        "budget": set(board.budgets),
        "modality": {part.modality for part in board.slices if part.modality is not None},
        "dataset": {part.dataset for part in board.slices if part.dataset is not None},
    }
    for key, names in known.items():
        if key in keys and keys[key] not in names:
            raise unknown_name(key, keys[key], names)
    budget, modality, dataset = keys.get("budget", board.budgets[0]), keys.get("modality"), keys.get("dataset")
    part = tables.find_slice(board, budget, modality, dataset)
    if part is None:
        there = sorted(
            f"modality={one.modality} dataset={one.dataset}"
            for one in board.slices
            if one.budget == budget and one.dataset is not None
        )
        asked = " ".join(f"{key}={keys[key]}" for key in known if key in keys)
        raise RequestError(f"no runs with {asked}", allowed=f"with budget={budget}: {'; '.join(there)}")
    return part
