"""Every cell goes to exactly one lane; events come out in order; a stop is final."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.orchestrator.cell import Cell, Watch
from adbench.orchestrator.dispatcher import Dispatcher, Update
from adbench.orchestrator.dispatcher_actor import DispatcherActor
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellProgress, CellStarted
from adbench.orchestrator.record import lost_cell
from adbench.reports.schema import RunResult


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


def _of_one_model(count: int) -> list[Cell]:
    categories = [f"c{index}" for index in range(count)]
    trained_on = dict.fromkeys(categories, "f")
    return [Cell(**{**cell.model_dump(), "trained_on": trained_on}) for cell in _cells(1, categories)]


def test_the_lane_that_has_a_model_judges_all_its_cells() -> None:
    cells = [*_of_one_model(3), *_cells(1, ["other"])]
    dispatcher = Dispatcher(cells)
    for lane in (0, 1):
        dispatcher.join(lane, f"worker {lane}")
    first, other = dispatcher.next_cell(0), dispatcher.next_cell(1)
    assert (first, other) == (cells[0], cells[3])
    dispatcher.finish(1, lost_cell(cells[3], "done"))
    assert dispatcher.next_cell(1) == "wait"  # What is left stands on the model of lane 0.
    dispatcher.finish(0, lost_cell(cells[0], "done"))
    assert dispatcher.next_cell(0) == cells[1]
    assert dispatcher.leave(0, "killed") == cells[1]
    assert dispatcher.next_cell(1) == cells[2]  # Its model is gone.
    dispatcher.finish(1, lost_cell(cells[2], "done"))
    assert dispatcher.next_cell(1) is None


def test_a_lane_that_has_no_part_in_a_model_ends_when_nothing_is_left() -> None:
    async def scene() -> None:
        cells = _of_one_model(2)
        actor = DispatcherActor(cells, more=False)
        for lane in (0, 1):
            await actor.call("join", lane, f"worker {lane}")
        assert await actor.next_cell(0) == cells[0]
        idle = asyncio.create_task(actor.next_cell(1))
        await actor.call("finish", 0, lost_cell(cells[0], "done"))
        assert not idle.done()
        assert await actor.next_cell(0) == cells[1]
        assert await asyncio.wait_for(idle, 5) is None

    asyncio.run(scene())


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


def test_a_worker_that_is_gone_costs_its_cell_and_frees_its_images() -> None:
    first, second = _cells(1, ["a", "b"])
    dispatcher = Dispatcher([first, second])
    dispatcher.join(0, "worker")
    assert dispatcher.worker(0) == "worker" and dispatcher.next_cell(0) == first
    assert dispatcher.leave(0, "its node died") == first
    assert dispatcher.worker(0) is None and dispatcher.running() == {}
    (lost,) = [event for event in dispatcher.fetch() if isinstance(event, CellFinished)]
    assert (lost.result.record.status, lost.result.record.error) == ("failed", "its node died")
    assert dispatcher.leave(0, "again") is None and dispatcher.fetch() == []


def test_a_second_worker_of_a_lane_does_not_hide_the_cell_of_the_first() -> None:
    first, second = _cells(2)
    dispatcher = Dispatcher([first, second])
    dispatcher.join(0, "worker")
    assert dispatcher.next_cell(0) == first
    dispatcher.join(0, "another")
    assert dispatcher.next_cell(0) == second
    finished = [event for event in dispatcher.fetch() if isinstance(event, CellFinished)]
    assert [event.cell for event in finished] == [first]


def test_only_a_worker_that_is_still_at_the_cell_is_expelled() -> None:
    first, second = _cells(2)
    dispatcher = Dispatcher([first, second])
    dispatcher.join(0, "worker")
    dispatcher.next_cell(0)
    dispatcher.finish(0, lost_cell(first, "done"))
    dispatcher.next_cell(0)
    assert dispatcher.expel(0, first.run_id, "too long") is None
    assert dispatcher.running() == {0: second}
    assert dispatcher.expel(0, second.run_id, "too long") == "worker"
    assert dispatcher.expel(0, second.run_id, "too long") is None
    assert dispatcher.load() == (0, 0, False)


def test_a_wait_of_a_dead_worker_takes_no_cell() -> None:
    """The actor still holds the call of a worker that died while it waited."""
    (cell,) = _cells(1)

    async def scene() -> None:
        actor = DispatcherActor([], more=True)
        await actor.call("join", 0, "first")
        forgotten = asyncio.create_task(actor.next_cell(0))
        await asyncio.sleep(0)
        await actor.call("leave", 0, "died")
        await actor.call("join", 0, "second")
        await actor.call("submit", [cell])
        assert await forgotten is None
        assert await actor.next_cell(0) == cell
        assert await actor.next_cell(1) is None  # Nobody has joined for that lane.

    asyncio.run(scene())


def test_of_several_failures_of_one_cell_the_first_counts() -> None:
    (cell,) = _cells(1)
    dispatcher = Dispatcher([cell])
    dispatcher.next_cell(0)
    for error in ("out of memory", "the other worker does not answer"):
        dispatcher.finish(0, lost_cell(cell, error))
    finished = [event for event in dispatcher.fetch() if isinstance(event, CellFinished)]
    assert [event.result.record.error for event in finished] == ["out of memory"]


def test_a_lost_cell_is_a_failed_row_that_stands_alone() -> None:
    (cell,) = _cells(1)
    before = datetime.now(UTC)
    record = lost_cell(cell, "killed").record
    assert (record.status, record.error, record.run_id) == ("failed", "killed", cell.run_id)
    assert record.metrics == {}
    assert record.started_at >= before


def _trial(cell: Cell) -> Cell:
    watch = Watch(metric="val_image_auroc", shares=(0.5,))
    return Cell(**{**cell.model_dump(), "watch": watch, "sweep_id": "s"})


def _result(cell: Cell, **metrics: float) -> RunResult:
    lost = lost_cell(cell, "").record
    return RunResult(record=replace(lost, status="ok", error=None, metrics=dict(metrics), fit_seconds=3.0))


def test_a_trial_hears_what_its_cell_reaches() -> None:
    ordinary, cell = _cells(2)
    cell = _trial(cell)
    dispatcher = Dispatcher([ordinary], more=True)
    dispatcher.submit([cell])
    assert [dispatcher.next_cell(lane) for lane in (0, 1)] == [ordinary, cell]
    dispatcher.report(1, 1, {"loss": 1.0})
    assert dispatcher.updates(cell.run_id, 0) == []
    dispatcher.report(1, 2, {"loss": 1.0, "val_image_auroc": 0.6, "share": 0.5})
    assert dispatcher.updates(cell.run_id, 0) == [Update("running", 0.5, {"val_image_auroc": 0.6})]
    dispatcher.finish(1, _result(cell, val_image_auroc=0.7))
    (end,) = dispatcher.updates(cell.run_id, 1)
    assert (end.status, end.share) == ("ok", 1.0)
    assert end.figures["val_image_auroc"] == 0.7 and end.figures["fit_seconds"] == 3.0
    dispatcher.finish(0, _result(ordinary))
    assert dispatcher.updates(ordinary.run_id, 0) == []


def test_trials_with_the_same_parameters_share_a_cell() -> None:
    cell = _trial(_cells(1)[0])
    dispatcher = Dispatcher(more=True)
    dispatcher.submit([cell])
    dispatcher.submit([cell])
    assert dispatcher.next_cell(0) == cell and dispatcher.next_cell(1) == "wait"
    dispatcher.cancel(cell.run_id)
    assert not dispatcher.report(0, 1, {}), "the other trial wants it still"
    dispatcher.finish(0, _result(cell))
    dispatcher.submit([cell])
    assert dispatcher.next_cell(0) == "wait" and dispatcher.updates(cell.run_id, 0)[-1].status == "ok"


def test_a_cell_that_was_stopped_runs_anew_for_a_later_trial() -> None:
    cell = _trial(_cells(1)[0])
    dispatcher = Dispatcher(more=True)
    dispatcher.submit([cell])
    dispatcher.cancel(cell.run_id)
    assert dispatcher.next_cell(0) == "wait"
    dispatcher.submit([cell])
    assert dispatcher.next_cell(0) == cell
    dispatcher.cancel(cell.run_id)
    assert dispatcher.report(0, 1, {})
    dispatcher.abandon(0)
    dispatcher.submit([cell])
    assert dispatcher.next_cell(0) == cell and dispatcher.updates(cell.run_id, 0) == []


def test_trials_hear_of_the_end_of_the_run() -> None:
    waiting, running = map(_trial, _cells(2))
    dispatcher = Dispatcher(more=True)
    dispatcher.submit([running, waiting])
    dispatcher.next_cell(0)
    dispatcher.stop()
    assert [update.status for update in dispatcher.updates(waiting.run_id, 0)] == ["abandoned"]
    assert dispatcher.report(0, 1, {})
    dispatcher.abandon(0)
    assert [update.status for update in dispatcher.updates(running.run_id, 0)] == ["abandoned"]
