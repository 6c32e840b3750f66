"""Fixtures of the tests of reports."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.schema import RunResult, SearchRecord
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


@pytest.fixture
def make_search() -> Callable[..., SearchRecord]:
    """The factory of searches; what is not given is of some search of kist."""

    def search(**changes: Any) -> SearchRecord:
        record = SearchRecord(
            sweep_id="s",
            suite="elpv",
            method="kist",
            data=("elpv/a",),
            budget="quick",
            objective=("val_image_auroc",),
            sampler="tpe",
            scheduler="asha",
            trials=40,
            complete=20,
            stopped=9,
            failed=1,
            lane_seconds=5400.0,
            best=(0.9,),
            setting={"lr": 1.0},
        )
        return replace(record, **changes)

    return search
