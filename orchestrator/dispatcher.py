"""Which lane runs which cell: plain state without Ray, so that its rules can be tested alone."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellProgress, CellStarted, Event
from adbench.orchestrator.record import lost_cell
from adbench.reports.schema import COSTS, RunRecord, RunResult

_Place = tuple[str, ...]
"""What cells have in common that are best run one after the other: a model, or the images."""


class Load(NamedTuple):
    """How many cells wait for a lane, how many run, and whether more may come."""

    waiting: int
    running: int
    more: bool


class Update(NamedTuple):
    """What a trial's cell has come to: after ``share`` of its training, ``figures`` by the names of the columns."""

    status: Literal["running", "ok", "failed", "abandoned"]
    share: float
    figures: Mapping[str, float | None]
    error: str | None = None


class Dispatcher:
    """Hands each cell to exactly one lane, and collects what lanes report until the driver fetches it.

    A lane stays with the images it has at hand. One that needs others takes a category that no lane is at, so that
    each is decoded, and its features computed, by one lane while the others are at work elsewhere; only when all are
    taken does it help where the most is left to do. It does not help where cells are judged on one model, which the
    lane that is at it has, and others would train again.
    """

    def __init__(self, cells: Iterable[Cell] = (), *, more: bool = False) -> None:
        """``more``: cells may still be submitted, until ``close``."""
        self._waiting: dict[_Place, deque[Cell]] = {}
        self._at: dict[int, _Place] = {}
        self._running: dict[int, Cell] = {}
        self._wanted: Counter[str] = Counter()
        self._unwanted: set[str] = set()
        self._workers: dict[int, object] = {}
        self._controllers: dict[int, object] = {}
        self._events: list[Event] = []
        self._more = more
        self._trials: dict[str, list[Update]] = {}
        self.stopping = False
        self._add(cells)

    def submit(self, cells: Iterable[Cell]) -> None:
        """Let these cells wait for lanes too."""
        if not self._more:
            raise RuntimeError("the dispatcher is closed")
        self._add(cell for cell in cells if self._is_new(cell))

    def close(self) -> None:
        """No more cells will come: lanes end when none is left."""
        self._more = False

    def announce(self, lane: int, controller: object) -> None:
        """A lane's run of Ray Train has begun, under this actor."""
        self._controllers[lane] = controller

    def controller(self, lane: int) -> object | None:
        """The actor that the lane announced last."""
        return self._controllers.get(lane)

    def join(self, lane: int, worker: object) -> None:
        """A lane's worker is there and will ask for cells. A cell that an earlier one still had is lost."""
        self.leave(lane, "The worker was started anew while it ran this cell.")
        self._workers[lane] = worker

    def worker(self, lane: int) -> object | None:
        """The worker that joined for the lane; None before, and once it has left."""
        return self._workers.get(lane)

    def lanes(self) -> int:
        """How many lanes have joined and not left."""
        return len(self._workers)

    def leave(self, lane: int, error: str) -> Cell | None:
        """A lane's worker is gone, and with it the images it had at hand. Its cell, if any, fails with this text."""
        self._workers.pop(lane, None)
        self._at.pop(lane, None)
        cell = self._running.get(lane)
        if cell is not None:
            self.finish(lane, lost_cell(cell, error))
        return cell

    def expel(self, lane: int, run_id: str, error: str) -> object | None:
        """`leave` for a worker that still runs this cell: the worker, to be killed; None if it does not."""
        if lane not in self._running or self._running[lane].run_id != run_id:
            return None
        worker = self._workers.get(lane)
        self.leave(lane, error)
        return worker

    def next_cell(self, lane: int) -> Cell | Literal["wait"] | None:
        """The next cell for a lane; "wait" if more may come or be left over, None if not."""
        if self.stopping or not self._waiting:
            return "wait" if self._more else None
        place = self._choose(lane)
        if place is None:
            return "wait"
        cell = self._waiting[place].popleft()
        if not self._waiting[place]:
            del self._waiting[place]
        self._at[lane] = place
        self._running[lane] = cell
        self._events.append(CellStarted(lane, cell))
        return cell

    def report(self, lane: int, step: int, values: Mapping[str, float]) -> bool:
        """Note a lane's progress; True if it must stop its cell now."""
        cell = self._running.get(lane)
        if cell is None:
            return True
        self._events.append(CellProgress(lane, cell.run_id, step, dict(values)))
        if cell.watch is not None and cell.watch.metric in values:
            self._tell(cell, Update("running", values["share"], {cell.watch.metric: values[cell.watch.metric]}))
        return self.stopping or cell.run_id in self._unwanted

    def finish(self, lane: int, result: RunResult) -> None:
        """A lane's cell has ended with a result. That of a cell it no longer has (a late worker's) is dropped."""
        cell = self._running.get(lane)
        if cell is not None and cell.run_id == result.record.run_id:
            del self._running[lane]
            self._unwanted.discard(cell.run_id)
            self._events.append(CellFinished(lane, cell, result))
            record = result.record
            self._tell(cell, Update(record.status, 1.0, figures(record), record.error))

    def abandon(self, lane: int) -> None:
        """A lane was stopped amid its cell, which leaves no result."""
        cell = self._running.pop(lane, None)
        if cell is not None:
            self._events.append(CellAbandoned(lane, cell))
            self._tell(cell, Update("abandoned", 0.0, {}))
            if cell.run_id in self._unwanted:  # Should another trial propose it, it runs anew.
                self._unwanted.discard(cell.run_id)
                self._trials.pop(cell.run_id, None)

    def cancel(self, run_id: str) -> None:
        """A trial wants its cell no more: if no other does, it is not handed out, or stopped at its next report."""
        self._wanted[run_id] -= 1
        if self._wanted[run_id] > 0:
            return
        for place, cells in self._waiting.items():
            kept = deque(cell for cell in cells if cell.run_id != run_id)
            if len(kept) < len(cells):
                self._waiting[place] = kept
                if not kept:
                    del self._waiting[place]
                self._trials.pop(run_id, None)
                return
        if any(cell.run_id == run_id for cell in self._running.values()):
            self._unwanted.add(run_id)

    def stop(self) -> None:
        """Hand out nothing more, and stop running cells at their next report."""
        self.stopping = True
        self._more = False
        for cell in (cell for cells in self._waiting.values() for cell in cells):
            self._tell(cell, Update("abandoned", 0.0, {}))
        self._waiting.clear()

    def updates(self, run_id: str, seen: int) -> list[Update]:
        """What became of a trial's cell, after the first ``seen`` updates."""
        return self._trials.get(run_id, [])[seen:]

    def fetch(self) -> list[Event]:
        """All events since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def running(self) -> dict[int, Cell]:
        """The cell of each busy lane."""
        return dict(self._running)

    def load(self) -> Load:
        """What is left to do."""
        return Load(sum(map(len, self._waiting.values())), len(self._running), self._more)

    def _tell(self, cell: Cell, update: Update) -> None:
        if cell.watch is not None:
            self._trials.setdefault(cell.run_id, []).append(update)

    def _is_new(self, cell: Cell) -> bool:
        """False for a trial's cell that waits, runs or ran for another trial with the same parameters."""
        if cell.watch is None:
            return True
        self._wanted[cell.run_id] += 1
        self._unwanted.discard(cell.run_id)
        known = cell.run_id in self._trials
        self._trials.setdefault(cell.run_id, [])
        return not known

    def _add(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            images = (cell.fingerprint, cell.category, str(cell.image_size))
            self._waiting.setdefault((cell.fit_id,) if cell.fit_id else images, deque()).append(cell)

    def _choose(self, lane: int) -> _Place | None:
        if self._at.get(lane) in self._waiting:
            return self._at[lane]
        taken = {place for other, place in self._at.items() if other != lane}
        free = (place for place in self._waiting if place not in taken)
        helped = [place for place, cells in self._waiting.items() if cells[0].fit_id is None]
        return next(free, None) or max(helped, key=lambda place: len(self._waiting[place]), default=None)


def figures(record: RunRecord) -> dict[str, float | None]:
    """What a search may optimise of a run: its metrics, and what it cost."""
    return {**record.metrics, **{name: getattr(record, name) for name in COSTS}}
