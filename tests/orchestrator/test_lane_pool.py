"""What the driver does as lanes come, die and fail to start: with threads in place of Ray's processes."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from adbench.orchestrator import lane_pool
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Dispatcher
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.events import CellFinished, CellStarted, Event, LaneMessage
from adbench.orchestrator.lane_resources import RayResources
from adbench.orchestrator.lane_roster import Room
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.record import lost_cell
from adbench.orchestrator.run_cell import Surroundings

Call = Callable[..., Any]
"""Calls a method of the dispatcher by its name."""

Serve = Callable[[Call, int], None]


class _Remote:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.remote = function


class _Ray:
    """As much of Ray as the driver needs, in this process; ``killed`` are the actors it killed."""

    def __init__(self) -> None:
        self.killed: list[object] = []

    def remote(self, _: type) -> "_Ray":
        return self

    def options(self, **_: object) -> _Remote:
        return _Remote(self._start)

    def _start(self, cells: Sequence[Cell], more: bool) -> "_Ray":
        dispatcher, lock = Dispatcher(cells, more=more), threading.Lock()

        def call(method: str, *arguments: Any) -> Any:
            with lock:
                return getattr(dispatcher, method)(*arguments)

        def fetch(_: float) -> Any:
            with lock:
                return dispatcher.fetch(), dispatcher.load()

        self.call, self.fetch = _Remote(call), _Remote(fetch)
        return self

    def get(self, value: Any, timeout: float | None = None) -> Any:
        return value

    def kill(self, actor: object) -> None:
        self.killed.append(actor)

    def get_runtime_context(self) -> "_Ray":
        return self

    def get_node_id(self) -> str:
        return 56 * "0"


def _serve(call: Call, lane: int) -> None:
    call("join", lane, f"worker {lane}")
    while isinstance(cell := call("next_cell", lane), Cell):
        call("finish", lane, lost_cell(cell, "as if it had run"))


def _die_amid_a_cell(call: Call, lane: int) -> None:
    call("join", lane, f"worker {lane}")
    call("next_cell", lane)
    raise RuntimeError("killed")


def _fail_to_start(call: Call, lane: int) -> None:
    raise RuntimeError("no start")


class _Scene:
    """A pool whose lanes do, one start after the other, what ``starts`` says, and then serve."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ray = _Ray()
        self.starts: list[Serve] = []
        self.room = Room(fit=1, free=1, needs="1 CPU", state="1 of 1 CPU free")
        self.looks = 0
        self.events: list[Event] = []
        scene = self

        class Lane(threading.Thread):
            def __init__(self, index: int, *_: object) -> None:
                super().__init__(daemon=True)
                self.index = index
                self.error: Exception | None = None
                self._serve = scene.starts.pop(0) if scene.starts else _serve

            def run(self) -> None:
                try:
                    self._serve(scene.ray.call.remote, self.index)
                except RuntimeError as error:
                    self.error = error

        monkeypatch.setattr(lane_pool, "ray", self.ray)
        monkeypatch.setattr(lane_pool, "_Lane", Lane)
        monkeypatch.setattr(lane_pool, "_LOOK_SECONDS", 0.0)
        monkeypatch.setattr(lane_pool, "lane_room", self._look)

    def run(self, cells: Sequence[Cell]) -> None:
        pool = lane_pool.LanePool(1, None, Surroundings(), RayResources(), "", cells, more=False)
        try:
            pool.serve(self._handle)
        finally:
            pool.end()

    def _look(self, *_: object) -> Room:
        self.looks += 1
        return self.room

    def _handle(self, event: Event) -> bool:
        self.events.append(event)
        return True

    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, LaneMessage)]

    def errors(self) -> dict[int, str]:
        """First lines, by seed of the cell."""
        results = [event.result.record for event in self.events if isinstance(event, CellFinished)]
        assert len({record.run_id for record in results}) == len(results)
        return {record.seed: (record.error or "").splitlines()[0] for record in results}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> _Scene:
    return _Scene(monkeypatch)


@pytest.fixture
def cells(plan_of: Callable[..., Plan]) -> Sequence[Cell]:
    return plan_of("suite=smoke", "method=recon", "category=weave", "seed=range(0,4)").cells


def test_a_death_costs_one_cell_and_the_lane_begins_anew(scene: _Scene, cells: Sequence[Cell]) -> None:
    scene.starts = [_die_amid_a_cell]
    scene.run(cells)
    assert scene.errors() == {0: "killed", **dict.fromkeys((1, 2, 3), "as if it had run")}
    assert scene.texts() == [f"lane 0 lost its worker during {cells[0].label}"]


def test_lanes_that_never_start_end_the_run_and_say_why(scene: _Scene, cells: Sequence[Cell]) -> None:
    scene.starts = [_fail_to_start] * 3
    with pytest.raises(RunAbortedError, match=r"no lane could be kept alive; 4 cell\(s\) were not run"):
        scene.run(cells)
    assert scene.texts() == ["lane 0 could not start 3 times and was given up: no start"]
    assert scene.errors() == {}


def test_a_start_that_failed_is_forgotten_after_a_cell(scene: _Scene, cells: Sequence[Cell]) -> None:
    fails = [_fail_to_start, _fail_to_start]
    scene.starts = [*fails, _die_amid_a_cell, *fails, _die_amid_a_cell, *fails]
    scene.run(cells)
    assert scene.errors() == {0: "killed", 1: "killed", 2: "as if it had run", 3: "as if it had run"}


def test_a_lane_begins_when_there_is_more_room(scene: _Scene, cells: Sequence[Cell]) -> None:
    second = threading.Event()

    def wait_for_the_second(call: Call, lane: int) -> None:
        call("join", lane, "first")
        cell = call("next_cell", lane)
        while scene.looks < 3:  # One before the first lane begins, one that is over, one that may be under way.
            time.sleep(0.01)
        scene.room = Room(fit=2, free=1, needs="1 CPU", state="1 of 2 CPU free")
        assert second.wait(60)
        call("finish", lane, lost_cell(cell, "first"))

    def tell_the_first(call: Call, lane: int) -> None:
        second.set()
        _serve(call, lane)

    scene.starts = [wait_for_the_second, tell_the_first]
    scene.run(cells)
    assert {event.lane for event in scene.events if isinstance(event, CellStarted)} == {0, 1}
    assert scene.errors() == {0: "first", **dict.fromkeys((1, 2, 3), "as if it had run")}
    assert "the cluster has room for 2 lane(s) now, 1 before" in scene.texts()
