"""The coverage of large stores: everything is counted and named, and the page stays small."""

from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import pytest

from adbench.reports.coverage import LONGEST_LINE, MOST_LISTED, build_coverage
from adbench.reports.gallery import GalleryView
from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.page import render
from adbench.reports.schema import IMAGES_SCHEMA, RunResult
from adbench.reports.side_files import SideFiles

COUNT = 10_000


@pytest.fixture
def board(make_result: Callable[..., RunResult], build: Callable[..., Leaderboard]) -> Leaderboard:
    """Of 10,000 failed runs half have long errors of their own, the others one in common; all have own warnings."""
    failed = build(make_result(status="failed")).sorted.runs.drop(columns=["standing", "entry", "place"])
    runs = pd.concat([failed] * COUNT, ignore_index=True)
    own = [f"{index:05d}" for index in range(COUNT)]
    trace = "Traceback (most recent call last):\n" + "  File x, line {0}\n" * 200 + "MemoryError: {0}" + " long" * 200
    errors = [trace.format(text) if index % 2 else "RuntimeError: common" for index, text in enumerate(own)]
    places = [f"c{index // 100}" for index in range(COUNT)]
    runs = runs.assign(run_id=own, category=places, seed=[index % 100 for index in range(COUNT)], error=errors)
    runs["notes"] = [f"warning {text}" for text in own]
    return build_leaderboard(runs, IMAGES_SCHEMA.empty_table().to_pandas(), created=datetime(2026, 2, 1, tzinfo=UTC))


def seeds(cells: tuple[str, ...]) -> int:
    return sum(cell.count(",") + 1 for cell in cells)


def test_rare_errors_and_warnings_are_counted_and_their_cells_named(board: Leaderboard) -> None:
    found = build_coverage(board)
    assert len(found.failures) == len(found.notes) == MOST_LISTED + 1
    assert sum(seeds(one.cells) for one in found.failures) == found.n_failed == COUNT
    assert sum(seeds(one.cells) for one in found.notes) == COUNT
    by_summary = {one.summary: one for one in found.failures}
    assert seeds(by_summary["RuntimeError: common"].cells) == COUNT // 2
    (rare,) = (one for one in found.failures if not one.command)
    left = COUNT // 2 - (MOST_LISTED - 1)
    assert rare.summary.startswith(f"{left:,} other texts") and seeds(rare.cells) == left
    assert max(len(one.summary) for one in found.failures) <= LONGEST_LINE + 2


def test_the_page_stays_small(board: Leaderboard) -> None:
    html = render(board, GalleryView(datasets={}, tiles=(), shown=0, left_out=0, left_out_runs=0), SideFiles())
    assert len(html.encode()) < 8_000_000
