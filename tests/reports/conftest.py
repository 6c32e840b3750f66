"""Fixtures of the tests of reports."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Leaderboard]:
    """Store the results, read them back, and build their leaderboard with few resamples."""

    def from_results(*results: RunResult, **options: Any) -> Leaderboard:
        store = ResultStore(tmp_path / "out")
        store.prepare()
        for result in results:
            store.append(result)
        return build_leaderboard(
            store.runs(), store.images(), created=NOW, **{"resamples": 200, "suite": None, **options}
        )

    return from_results
