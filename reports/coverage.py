"""What is not in the numbers, and why: failed cells, missing cells, warnings that runs gave."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import pandas as pd

from adbench.reports.leaderboard import OLDER, Leaderboard
from adbench.reports.schema import MissingDataset

LONGEST_ERROR = 6000  # characters kept of one traceback: its beginning and its end
MOST_ERRORS = 40  # tracebacks kept; the others are in the run table
MOST_LISTED = 200  # different errors listed, and different warnings; the others are counted by method and budget
LONGEST_LINE = 300  # characters kept of the line that says what happened


@dataclass(frozen=True)
class Failure:
    """Failed cells of one row of the leaderboard that ended with the same error, or with rare ones.

    ``error`` is the whole of one of them, or None beyond the first MOST_ERRORS; ``command`` is empty for rare ones.
    """

    method: str
    budget: str
    cells: tuple[str, ...]
    summary: str
    error: str | None
    command: str


@dataclass(frozen=True)
class Remark:
    """Something said of cells of one row of the leaderboard."""

    method: str
    budget: str
    cells: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Coverage:
    """``missing``: cells that other methods of the budget have; ``planned``: cells that no run was recorded of.

    ``older``: runs that do not count, for their category has newer data; ``notes``: warnings of the runs.
    ``not_here``: datasets that were left out, for their data was not there, each with what left it out: the suite, or
    a search.
    """

    failures: tuple[Failure, ...]
    missing: tuple[Remark, ...]
    planned: tuple[Remark, ...]
    older: tuple[Remark, ...]
    notes: tuple[Remark, ...]
    not_here: tuple[tuple[MissingDataset, str], ...]
    n_failed: int
    n_missing: int
    n_planned: int
    n_older: int
    n_repeated: int
    n_trials: int


def first_line(error: str | None) -> str:
    """The line of an error that says what happened: the first, or of a traceback the last."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return "no error message"
    line = lines[-1] if lines[0].startswith("Traceback (most recent call last)") else lines[0]
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"


def _shortened(error: str) -> str:
    if len(error) <= LONGEST_ERROR:
        return error
    half = LONGEST_ERROR // 2
    return f"{error[:half]}\n… {len(error) - 2 * half} characters left out …\n{error[-half:]}"


def _label(board: Leaderboard, entry: object) -> str:
    return board.entries[cast(int, entry)].label


def _cells(board: Leaderboard, places: Iterable[int], seeds: Iterable[int]) -> tuple[str, ...]:
    """Cells as readers write them: each category once, with its seeds."""
    cells = sorted(set(zip(places, seeds, strict=True)))
    return _with_seeds((board.categories[place].label, seed) for place, seed in cells)


def _with_seeds(cells: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    seeds: dict[str, list[str]] = {}
    for label, seed in cells:
        seeds.setdefault(label, []).append(str(seed))
    return tuple(f"{label} (seed {', '.join(own)})" for label, own in seeds.items())


def _rare_together(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """``rows`` with a count in place of each text of ``column`` beyond the MOST_LISTED that most of them have.

    The new column ``rare`` tells these; a text counts apart in each budget and entry.
    """
    place = ["budget", "entry"]
    texts = rows.groupby([*place, column], sort=True).size().sort_values(ascending=False, kind="stable")
    rare = pd.MultiIndex.from_frame(rows[[*place, column]]).isin(texts.index[MOST_LISTED:])
    counts = rows[rare].groupby(place)[column].transform("nunique")
    told = counts.map("{:,} other texts, each of few runs: the table of runs below has them".format)
    return rows.assign(rare=rare, **{column: told.reindex(rows.index).where(rare, rows[column])})


def _failures(board: Leaderboard, current: pd.DataFrame) -> tuple[Failure, ...]:
    failed = current[current["status"] == "failed"].assign(
        error=lambda frame: frame["error"].astype(object).where(frame["error"].notna(), ""),
        summary=lambda frame: frame["error"].map(first_line),
    )
    failed = _rare_together(failed, "summary")
    return tuple(
        Failure(
            method=_label(board, entry),
            budget=str(budget),
            cells=_cells(board, own["place"].astype(int), own["seed"].astype(int)),
            summary=str(summary),
            error=None if rare or position >= MOST_ERRORS else _shortened(str(own["error"].iloc[0])),
            command="" if rare else str(own["command"].iloc[0]),
        )
        for position, ((rare, budget, entry, summary), own) in enumerate(
            failed.groupby(["rare", "budget", "entry", "summary"], sort=True)
        )
    )


def _missing(board: Leaderboard, current: pd.DataFrame, older: pd.DataFrame) -> tuple[list[Remark], int]:
    elsewhere = set(zip(older["budget"], older["entry"], older["place"], older["seed"], strict=True))
    remarks: list[Remark] = []
    count = 0
    for budget, rows in current.groupby("budget", sort=True):
        cells = set(zip(rows["place"].astype(int), rows["seed"].astype(int), strict=True))
        for entry, own in rows.groupby("entry", sort=True):
            held = set(zip(own["place"].astype(int), own["seed"].astype(int), strict=True))
            lacking = sorted(cell for cell in cells - held if (budget, entry, *cell) not in elsewhere)
            if lacking:
                count += len(lacking)
                places, seeds = zip(*lacking, strict=True)
                text = f"{len(lacking)} of {len(cells)} cells not run"
                label = _label(board, entry)
                remarks.append(Remark(label, str(budget), _cells(board, places, seeds), text))
    return remarks, count


def _planned(board: Leaderboard) -> tuple[Remark, ...]:
    recorded = set(board.sorted.runs["run_id"])
    cells: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for plan in board.plans:
        for cell in plan.cells:
            if cell.run_id not in recorded:
                key = (plan.name, cell.budget, cell.method)
                cells.setdefault(key, []).append((f"{cell.dataset}/{cell.category}", cell.seed))
    return tuple(
        Remark(method, budget, _with_seeds(sorted(own)), f"planned by {suite}, not run")
        for (suite, budget, method), own in cells.items()
    )


def _older(board: Leaderboard, older: pd.DataFrame) -> tuple[Remark, ...]:
    return tuple(
        Remark(
            method=_label(board, entry),
            budget=str(budget),
            cells=_cells(board, own["place"].astype(int), own["seed"].astype(int)),
            text=f"{OLDER}, not counted",
        )
        for (budget, entry), own in older.groupby(["budget", "entry"], sort=True)
    )


def _notes(board: Leaderboard, current: pd.DataFrame) -> tuple[Remark, ...]:
    noted = current[current["notes"].notna()]
    keys = zip(noted["budget"], noted["entry"], noted["place"], noted["seed"], noted["notes"], strict=True)
    lines = pd.DataFrame(
        [(*cell, line) for *cell, text in keys for line in str(text).splitlines() if line.strip()],
        columns=["budget", "entry", "place", "seed", "notes"],
    )
    lines = _rare_together(lines, "notes")
    return tuple(
        Remark(
            method=_label(board, entry),
            budget=str(budget),
            cells=_cells(board, own["place"].astype(int), own["seed"].astype(int)),
            text=str(text),
        )
        for (_, budget, entry, text), own in lines.groupby(["rare", "budget", "entry", "notes"], sort=True)
    )


def _not_here(board: Leaderboard) -> tuple[tuple[MissingDataset, str], ...]:
    asked = [(plan.name, plan.missing) for plan in board.plans]
    asked += [(f"the search {search.sweep_id}", search.missing) for search in board.searches]
    return tuple((dataset, name) for name, missing in asked for dataset in missing)


def build_coverage(board: Leaderboard) -> Coverage:
    """Everything that a reader would otherwise not see in the leaderboard."""
    runs, current = board.sorted.runs, board.sorted.current
    older = runs[runs["standing"] == "older"]
    missing, n_missing = _missing(board, current, older)
    return Coverage(
        failures=_failures(board, current),
        missing=tuple(missing),
        planned=_planned(board),
        older=_older(board, older),
        notes=_notes(board, current),
        not_here=_not_here(board),
        n_failed=int((current["status"] == "failed").sum()),
        n_missing=n_missing,
        n_planned=len({cell.run_id for plan in board.plans for cell in plan.cells} - set(runs["run_id"])),
        n_older=len(older),
        n_repeated=int((runs["standing"] == "repeated").sum()),
        n_trials=int((runs["standing"] == "trial").sum()),
    )
