"""The history of methods over versions and folders, and the table of suites."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adbench.reports.history import histories, suite_rows
from adbench.reports.index_page import draw
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]


@pytest.fixture
def folder(make_result: Make, tmp_path: Path) -> Callable[..., ResultStore]:
    """A results folder with one run for each score by category, all of a version and a day."""

    def filled(name: str, version: str, day: int, scores: dict[str, float], **changes: Any) -> ResultStore:
        store = ResultStore(tmp_path / name)
        store.prepare()
        when = datetime(2026, 3, day, tzinfo=UTC)
        for category, score in scores.items():
            result = make_result(
                category=category,
                method_version=version,
                started_at=when,
                finished_at=when,
                **{
                    "run_id": f"{category}-{version}",
                    "metrics": {"image_auroc": score},
                    "images": (),
                    **changes,
                },
            )
            store.append(result)
        return store

    return filled


def test_versions_are_compared_on_the_cells_that_all_have(folder: Callable[..., ResultStore]) -> None:
    stores = [
        folder("new", "2", 9, {"a": 0.9, "b": 0.8}),
        folder("old", "1", 2, {"a": 0.6, "b": 0.5, "c": 0.1}),
    ]
    (found,) = histories(stores)
    assert (found.label, found.over, found.left_out) == ("ckaad", "2 categories with 1 seed each", ())
    assert [(point.version, point.finished.day) for point in found.points] == [("1", 2), ("2", 9)]
    assert [point.estimate.mean for point in found.points] == pytest.approx([0.55, 0.85])
    assert found.points[0].change is None
    assert found.points[1].change is not None
    assert found.points[1].change.difference == pytest.approx(0.3)
    marks = draw(found).marks
    assert marks[0].x < marks[1].x
    assert marks[0].y > marks[1].y


def test_two_versions_in_one_folder_are_two_points(folder: Callable[..., ResultStore]) -> None:
    folder("one", "1", 2, {"a": 0.6})
    (found,) = histories([folder("one", "2", 3, {"a": 0.7})])
    assert [point.version for point in found.points] == ["1", "2"]


def test_versions_without_a_common_cell_are_named_and_not_compared(folder: Callable[..., ResultStore]) -> None:
    (found,) = histories([folder("x", "1", 2, {"a": 0.6}), folder("y", "2", 3, {"b": 0.7})])
    assert found.points == ()
    assert len(found.left_out) == 2
    assert found.left_out[0].startswith("version 1 (adbench 0.1.0) in ")


def test_one_version_has_no_history_and_every_suite_has_its_row(folder: Callable[..., ResultStore]) -> None:
    store = folder("one", "1", 2, {"a": 0.6, "b": 0.8})
    folder("one", "1", 5, {"z": 0.9}, suite="other", run_id="other", method="padim")
    folder("one", "1", 4, {"w": 0.9}, suite="other", run_id="failed", method="kist", status="failed", metrics={})
    assert histories([store]) == []
    other, quickstart = suite_rows([store])
    assert (other.suite, other.n_ok, other.n_failed, other.best) == ("other", 1, 1, "padim")
    assert (quickstart.suite, quickstart.n_ok, quickstart.n_compared) == ("quickstart", 2, 1)
    assert quickstart.estimate is not None
    assert quickstart.estimate.mean == pytest.approx(0.7)
