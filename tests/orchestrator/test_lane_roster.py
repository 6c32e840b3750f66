"""When lanes start, which are given up, which cells take too long, and what the user is told of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Load
from adbench.orchestrator.events import CellFinished, CellProgress, CellStarted
from adbench.orchestrator.lane_roster import LaneRoster, Room
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.record import lost_cell

TWO_FREE = Room(fit=2, free=2, needs="1 CPU", state="2 of 2 CPU free")
NONE_FREE = replace(TWO_FREE, free=0, state="0 of 2 CPU free")
NO_NODE = replace(TWO_FREE, fit=0, free=0, state="0 of 0 CPU free")


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def cell(plan_of: Callable[..., Plan]) -> Cell:
    return plan_of("suite=smoke", "method=recon", "category=weave").cells[0]


def _load(waiting: int, running: int = 0) -> Load:
    return Load(waiting, running, more=False)


def _fail(roster: LaneRoster, times: int) -> bool:
    """The next lane to begin fails so often before it has a cell; whether it is given up."""
    given_up = False
    for _ in range(times):
        given_up = roster.end(roster.begin()[0], failed=True)
    return given_up


def test_lanes_start_for_cells_that_wait_where_there_is_room(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    assert roster.to_start(_load(0), TWO_FREE) == 0
    assert roster.to_start(_load(1), TWO_FREE) == 1
    assert roster.to_start(_load(9), TWO_FREE) == 2
    assert roster.to_start(_load(9), NONE_FREE) == 0
    assert roster.begin() == (0, 0)
    assert roster.to_start(_load(1), TWO_FREE) == 0, "the lane that begins will take the cell"
    assert roster.to_start(_load(9), TWO_FREE) == 1, "and what it will take of the cluster is not free"
    roster.note(CellStarted(0, cell))
    assert roster.to_start(_load(1), TWO_FREE) == 1
    assert roster.begin() == (1, 0)
    assert roster.to_start(_load(9), TWO_FREE) == 0, "both lanes that fit are there"
    assert roster.to_start(_load(9), replace(TWO_FREE, fit=3, free=1)) == 0, "lane 1 has still to take what is free"
    assert roster.to_start(_load(9), replace(TWO_FREE, fit=4, free=2)) == 1, "a node has joined"


def test_there_are_never_more_lanes_than_asked_for(clock: _Clock) -> None:
    roster = LaneRoster(1, None, clock)
    assert roster.to_start(_load(9), TWO_FREE) == 1
    roster.begin()
    assert roster.to_start(_load(9), TWO_FREE) == 0


def test_a_lane_begins_again_under_its_number(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    roster.begin(), roster.begin()
    roster.note(CellStarted(0, cell))
    assert not roster.end(0, failed=True)
    assert roster.alive == 1
    assert roster.begin() == (0, 1)


def test_a_lane_that_fails_before_any_cell_is_given_up_in_the_end(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    assert not _fail(roster, 2)
    roster.note(CellStarted(roster.begin()[0], cell))
    assert not roster.end(0, failed=True), "it had a cell: the count starts anew"
    assert not _fail(roster, 2)
    assert roster.hopeless(_load(5), TWO_FREE) is None
    assert _fail(roster, 1)
    assert roster.hopeless(_load(5), TWO_FREE) is None, "there is room for another"
    assert roster.to_start(_load(5), TWO_FREE) == 1
    assert roster.begin()[0] == 1
    assert not roster.end(1, failed=True)
    assert _fail(roster, 2)
    assert roster.to_start(_load(5), TWO_FREE) == 0
    assert roster.hopeless(_load(5), TWO_FREE) == "no lane could be kept alive"
    assert roster.hopeless(_load(0), TWO_FREE) is None


def test_a_cluster_without_room_has_five_minutes(clock: _Clock) -> None:
    roster = LaneRoster(None, None, clock)
    assert roster.hopeless(_load(5), NO_NODE) is None
    clock.now += 299
    assert roster.hopeless(_load(5), NO_NODE) is None
    clock.now += 2
    assert roster.hopeless(_load(5), NO_NODE) == "for 5 min 1 s no node of the cluster has had 1 CPU for a lane"
    assert roster.hopeless(_load(5), TWO_FREE) is None
    assert roster.hopeless(_load(5), NO_NODE) is None, "counted anew"


@pytest.mark.parametrize(("timeout", "grace"), [(10.0, 30), (1000.0, 100)])
def test_a_cell_may_exceed_its_time_a_little(timeout: float, grace: int, clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, timeout, clock)
    roster.begin()
    clock.now += 10 * timeout
    assert roster.overdue() == [], "to start takes time that no cell is charged for"
    roster.note(CellStarted(0, cell))
    clock.now += timeout
    roster.note(CellProgress(0, cell.run_id, 1, {"loss": 1.0}))
    clock.now += grace
    assert roster.overdue() == []
    clock.now += 1
    ((lane, late, text),) = roster.overdue()
    assert (lane, late) == (0, cell)
    assert f"longer than cell_timeout={timeout:g} s" in text and "no report for" in text
    roster.note(CellFinished(0, cell, lost_cell(cell, text)))
    assert roster.overdue() == []


def test_without_a_limit_no_cell_takes_too_long(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    roster.begin()
    roster.note(CellStarted(0, cell))
    clock.now += 1e9
    assert roster.overdue() == []


def test_what_a_lane_waits_for_is_told_at_growing_intervals(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    roster.begin()
    roster.note(CellStarted(0, cell))
    told = []
    for _ in range(500):
        told += [(clock.now - 1000, message) for message in roster.messages(_load(3, 1), NONE_FREE)]
        clock.now += 1
    assert [seconds for seconds, _ in told] == [60, 120, 240, 480]
    assert {message.text for _, message in told} == {"lane 1 waits for 1 CPU: the cluster has 0 of 2 CPU free"}
    assert roster.messages(_load(3, 1), TWO_FREE) == []
    assert roster.messages(_load(3, 1), NONE_FREE) == [], "it waits anew"


def test_nothing_waits_where_every_lane_that_fits_is_there(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(None, None, clock)
    for lane in range(2):
        roster.begin()
        roster.note(CellStarted(lane, cell))
    for _ in range(5):
        assert roster.messages(_load(3, 2), NONE_FREE) == []
        clock.now += 100


def test_a_lane_that_does_not_come_up_is_told(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(2, None, clock)
    roster.begin(), roster.begin()
    for _ in range(5):
        assert roster.messages(_load(0), NONE_FREE) == [], "nothing waits for it"
        clock.now += 100
    roster.note(CellStarted(0, cell))
    assert roster.messages(_load(1, 1), NONE_FREE) == []
    clock.now += 60
    (message,) = roster.messages(_load(1, 1), NONE_FREE)
    assert message.lane == 1
    assert message.text == "lane 1 has been starting for 1 min 0 s: it needs 1 CPU, the cluster has 0 of 2 CPU free"
    assert roster.messages(_load(1, 1), NONE_FREE) == []


def test_a_lane_that_never_comes_up_is_to_begin_anew(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(2, None, clock)
    roster.begin(), roster.begin()
    roster.note(CellStarted(0, cell))
    roster.messages(_load(1, 1), NONE_FREE)
    clock.now += 900
    roster.messages(_load(1, 1), NONE_FREE)
    assert roster.stuck() == []
    clock.now += 1
    assert roster.stuck() == [1]
    assert not roster.end(1, failed=True)
    roster.messages(_load(1, 1), TWO_FREE)
    assert roster.stuck() == []
    assert roster.begin() == (1, 1)


def test_a_silent_cell_is_told(clock: _Clock, cell: Cell) -> None:
    roster = LaneRoster(1, None, clock)
    roster.begin()
    roster.note(CellStarted(0, cell))
    clock.now += 599
    roster.note(CellProgress(0, cell.run_id, 1, {"loss": 1.0}))
    clock.now += 599
    assert roster.messages(_load(0, 1), NONE_FREE) == []
    clock.now += 1
    (message,) = roster.messages(_load(0, 1), NONE_FREE)
    assert message.text == f"lane 0: {cell.label}: no report for 10 min 0 s"
    clock.now += 599
    assert roster.messages(_load(0, 1), NONE_FREE) == []
    clock.now += 1
    assert len(roster.messages(_load(0, 1), NONE_FREE)) == 1


def test_a_change_of_the_cluster_is_told_once(clock: _Clock) -> None:
    roster = LaneRoster(3, None, clock)
    assert roster.messages(_load(0), TWO_FREE) == []
    (grown,) = roster.messages(_load(0), replace(TWO_FREE, fit=9))
    assert grown.text == "the cluster has room for 3 lane(s) now, 2 before"
    assert roster.messages(_load(0), replace(TWO_FREE, fit=7)) == [], "more than three are not wanted"
    (shrunk,) = roster.messages(_load(0), replace(TWO_FREE, fit=1))
    assert shrunk.text == "the cluster has room for 1 lane(s) now, 3 before"
