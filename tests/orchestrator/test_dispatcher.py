"""Every cell goes to exactly one lane; events come out in order; a stop is final."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Dispatcher
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellProgress, CellStarted
from adbench.orchestrator.record import lost_cell


def _cells(count: int, categories: Sequence[str] = ("weave",)) -> list[Cell]:
    return [
        Cell(
            suite="s",
            method="recon",
            method_version="1",
            params={},
            dataset="phantom",
            dataset_params={},
            category=category,
            modality="industrial",
            fingerprint="f",
            split_seed=0,
            split_hash="h",
            seed=seed,
            budget="smoke",
            image_size=64,
            metric_version=1,
            command="adbench run",
        )
        for category in categories
        for seed in range(count)
    ]


@given(st.integers(0, 12), st.lists(st.sampled_from(["take", "end", "stop"]), max_size=60), st.integers(1, 4))
def test_each_cell_once_whatever_the_lanes_do(count: int, steps: list[str], lanes: int) -> None:
    dispatcher = Dispatcher(_cells(count))
    taken: list[str] = []
    busy: dict[int, Cell] = {}
    for index, step in enumerate(steps):
        lane = index % lanes
        if step == "stop" and index % 7 == 0:
            dispatcher.stop()
        elif lane in busy and step == "end":
            dispatcher.finish(lane, lost_cell(busy.pop(lane), "why"))
        elif lane not in busy and isinstance(cell := dispatcher.next_cell(lane), Cell):
            busy[lane] = cell
            taken.append(cell.run_id)
        assert dispatcher.running() == busy
    assert len(set(taken)) == len(taken)
    events = dispatcher.fetch()
    assert [event.cell.run_id for event in events if isinstance(event, CellStarted)] == taken
    assert sum(isinstance(event, CellFinished) for event in events) == len(taken) - len(busy)
    assert dispatcher.fetch() == []


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=120))
def test_lanes_keep_to_their_images(count: int, categories: int, lanes: int, turns: list[int]) -> None:
    dispatcher = Dispatcher(_cells(count, [f"c{index}" for index in range(categories)]))
    left = {f"c{index}": count for index in range(categories)}
    at: dict[int, str] = {}
    for lane in (turn % lanes for turn in turns):
        cell = dispatcher.next_cell(lane)
        if not isinstance(cell, Cell):
            assert cell is None and not any(left.values())
            break
        waiting = {name for name, number in left.items() if number}
        free = waiting - {name for other, name in at.items() if other != lane}
        if at.get(lane) in waiting:
            assert cell.category == at[lane]
        elif free:
            assert cell.category in free
        else:
            assert left[cell.category] == max(left.values())
        left[cell.category] -= 1
        at[lane] = cell.category
        dispatcher.finish(lane, lost_cell(cell, "done"))


def test_progress_and_stop() -> None:
    dispatcher = Dispatcher(_cells(3))
    cell = dispatcher.next_cell(0)
    assert isinstance(cell, Cell)
    assert dispatcher.report(0, 1, {"loss": 2.0}) is False
    assert dispatcher.load() == (2, 1, False)
    dispatcher.stop()
    assert dispatcher.report(0, 2, {"loss": 1.0}) is True
    assert dispatcher.next_cell(1) is None
    assert dispatcher.load() == (0, 1, False)
    dispatcher.abandon(0)
    assert dispatcher.running() == {}
    progress = [event for event in dispatcher.fetch() if isinstance(event, CellProgress)]
    assert [(event.step, event.values["loss"], event.run_id) for event in progress] == [
        (1, 2.0, cell.run_id),
        (2, 1.0, cell.run_id),
    ]


def test_cells_may_come_until_it_is_closed() -> None:
    first, second, third = _cells(3)
    dispatcher = Dispatcher(more=True)
    assert dispatcher.next_cell(0) == "wait"
    dispatcher.submit([first, second])
    assert dispatcher.next_cell(0) == first
    dispatcher.submit([third])
    dispatcher.close()
    assert [dispatcher.next_cell(lane) for lane in (1, 2, 3)] == [second, third, None]
    with pytest.raises(RuntimeError, match="closed"):
        dispatcher.submit([first])


def test_a_cell_that_nobody_wants_is_not_begun_or_stops_at_its_next_report() -> None:
    first, second, third = _cells(3)
    dispatcher = Dispatcher([first, second, third])
    assert dispatcher.next_cell(0) == first
    dispatcher.cancel(second.run_id)
    dispatcher.cancel("unknown")
    assert dispatcher.next_cell(1) == third and dispatcher.next_cell(2) is None
    assert not dispatcher.report(0, 1, {})
    dispatcher.cancel(first.run_id)
    assert dispatcher.report(0, 2, {}) and not dispatcher.report(1, 1, {})
    dispatcher.abandon(0)
    assert [event.cell for event in dispatcher.fetch() if isinstance(event, CellAbandoned)] == [first]
    assert dispatcher.load() == (0, 1, False)


def test_a_worker_whose_cell_was_given_up_is_told_to_stop() -> None:
    (cell,) = _cells(1)
    dispatcher = Dispatcher([cell])
    dispatcher.next_cell(0)
    dispatcher.finish(0, lost_cell(cell, "its worker died"))
    assert dispatcher.report(0, 7, {"loss": 1.0})


def test_a_lost_cell_is_a_failed_row_that_stands_alone() -> None:
    (cell,) = _cells(1)
    before = datetime.now(UTC)
    record = lost_cell(cell, "killed").record
    assert (record.status, record.error, record.run_id) == ("failed", "killed", cell.run_id)
    assert record.metrics == {}
    assert record.started_at >= before
