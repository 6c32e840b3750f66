"""Several results folders side by side: what each suite in them found, and how methods moved between versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from adbench.reports.entries import sort_runs, trials
from adbench.reports.leaderboard import DEFAULT_RANK_BY, Aggregate, Estimate, Leaderboard, build_leaderboard
from adbench.reports.page import read_leaderboard
from adbench.reports.pairing import Change, Side, as_row, change
from adbench.reports.store import ResultStore


@dataclass(frozen=True)
class SuiteRow:
    """One suite in one folder. ``best`` has the best average rank by ``metric`` in the budget with most runs."""

    out: str
    suite: str
    newest: datetime | None
    n_ok: int
    n_failed: int
    budget: str | None
    metric: str
    n_compared: int
    best: str | None
    estimate: Estimate | None


@dataclass(frozen=True)
class Point:
    """A version of a method in one folder. ``change`` is that from the point before, on the same cells."""

    out: str
    version: str
    adbench: str
    finished: datetime
    estimate: Estimate
    change: Change | None


@dataclass(frozen=True)
class History:
    """A method in one budget, oldest version first, all on the same cells; none where no two share any.

    ``left_out`` names the versions that are not among them.
    """

    label: str
    budget: str
    metric: str
    over: str
    points: tuple[Point, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Version:
    out: str
    version: str
    adbench: str
    finished: datetime
    side: Side

    @property
    def shown(self) -> str:
        return f"version {self.version} (adbench {self.adbench}) in {self.out}"


def suite_rows(stores: Sequence[ResultStore]) -> list[SuiteRow]:
    """Every suite of every folder, the newest first."""
    rows = []
    for store in stores:
        suites = sorted({*store.runs()["suite"], *store.plans()})
        rows += [_suite_row(store.out, suite, read_leaderboard(store, suite)) for suite in suites]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(rows, key=lambda row: row.newest or oldest, reverse=True)


def _suite_row(out: str, suite: str, board: Leaderboard) -> SuiteRow:
    runs = board.sorted.runs
    counts = runs["status"].value_counts()
    aggregate = board.slices[0].metrics.get(board.rank_by) if board.slices else None
    best = aggregate.compared[0] if aggregate else None
    if aggregate and best is not None:
        best = min(aggregate.compared, key=lambda entry: _by_rank(aggregate, entry))
    return SuiteRow(
        out=out,
        suite=suite,
        newest=runs["finished_at"].max() if len(runs) else None,
        n_ok=int(counts.get("ok", 0)),
        n_failed=int(counts.get("failed", 0)),
        budget=board.budgets[0] if board.budgets else None,
        metric=board.rank_by,
        n_compared=len(aggregate.compared) if aggregate else 0,
        best=None if best is None else board.entries[best].label,
        estimate=None if aggregate is None or best is None else aggregate.estimates[best],
    )


def _by_rank(aggregate: Aggregate, entry: int) -> tuple[float, int]:
    found = aggregate.estimates[entry]
    return (float("inf") if found is None else found.rank, entry)


def histories(stores: Sequence[ResultStore], metric: str = DEFAULT_RANK_BY) -> list[History]:
    """Of every row of a leaderboard and budget that has several versions or folders."""
    versions: dict[tuple[str, str], list[_Version]] = {}
    for store in stores:
        for label, budget, one in _versions(store):
            versions.setdefault((label, budget), []).append(one)
    return [_history(label, budget, metric, own) for (label, budget), own in sorted(versions.items()) if len(own) > 1]


def _versions(store: ResultStore) -> list[tuple[str, str, _Version]]:
    """Each version of each row in each budget of a folder."""
    runs = store.runs()
    found = []
    searches = store.searches()
    for (_, version, adbench), own in runs[~trials(runs)].groupby(["method", "method_version", "adbench_version"]):
        placed = sort_runs(own, searches)
        current = placed.current
        for (entry, budget), rows in current[current["status"] == "ok"].groupby(["entry", "budget"]):
            plain = rows.drop(columns=["standing", "entry", "place"])
            side = Side(plain, store.images(plain["run_id"].tolist()))
            finished = plain["finished_at"].max().to_pydatetime()
            one = _Version(store.out, str(version), str(adbench), finished, side)
            found.append((placed.entries[int(str(entry))].label, str(budget), one))
    return found


def _history(label: str, budget: str, metric: str, versions: list[_Version]) -> History:
    versions = sorted(versions, key=lambda one: (one.finished, one.out, one.version))
    # as rows of one leaderboard, in this order, they share the cells on which they are compared
    sides = [as_row(f"{number:04d}", one.side) for number, one in enumerate(versions)]
    board = build_leaderboard(
        pd.concat([side.runs for side in sides], ignore_index=True),
        pd.concat([side.images for side in sides], ignore_index=True),
        created=datetime.now(UTC),
    )
    whole = next((part for part in board.slices if part.modality is None and part.dataset is None), None)
    aggregate = whole.metrics.get(metric) if whole else None
    if aggregate is None:
        return History(label, budget, metric, "", (), tuple(one.shown for one in versions))
    numbers = [int(entry.method) for entry in board.entries]
    points: list[Point] = []
    before: int | None = None
    for entry, number in enumerate(numbers):
        estimate = aggregate.estimates[entry]
        if estimate is None:
            continue
        own = versions[number]
        moved = None if before is None else change(aggregate, metric, label, before, entry)
        points.append(Point(own.out, own.version, own.adbench, own.finished, estimate, moved))
        before = entry
    if len(points) < 2:
        return History(label, budget, metric, "", (), tuple(one.shown for one in versions))
    shown = {number for entry, number in enumerate(numbers) if aggregate.estimates[entry] is not None}
    left_out = tuple(one.shown for number, one in enumerate(versions) if number not in shown)
    return History(label, budget, metric, aggregate.counted, tuple(points), left_out)
