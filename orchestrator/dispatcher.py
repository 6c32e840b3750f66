"""Which lane runs which cell: plain state without Ray, so that its rules can be tested alone."""

from collections import deque
from collections.abc import Mapping, Sequence

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.events import CellFinished, CellProgress, CellStarted, Event
from adbench.reports.schema import RunResult


class Dispatcher:
    """Hands each cell to exactly one lane, and collects what lanes report until the driver fetches it."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting = deque(cells)
        self._running: dict[int, Cell] = {}
        self._events: list[Event] = []
        self.stopping = False

    def next_cell(self, lane: int) -> Cell | None:
        """The next cell for a lane, or None when there is none left for it."""
        if self.stopping or not self._waiting:
            return None
        cell = self._waiting.popleft()
        self._running[lane] = cell
        self._events.append(CellStarted(lane, cell))
        return cell

    def report(self, lane: int, step: int, values: Mapping[str, float]) -> bool:
        """Note a lane's progress; True if it must stop its cell now."""
        if lane in self._running:
            self._events.append(CellProgress(lane, self._running[lane].run_id, step, dict(values)))
        return self.stopping

    def finish(self, lane: int, result: RunResult) -> None:
        """A lane's cell has ended with a result. That of a cell it no longer has (a late worker's) is dropped."""
        cell = self._running.get(lane)
        if cell is not None and cell.run_id == result.record.run_id:
            del self._running[lane]
            self._events.append(CellFinished(lane, cell, result))

    def abandon(self, lane: int) -> None:
        """A lane was stopped amid its cell, which leaves no result."""
        self._running.pop(lane, None)

    def stop(self) -> None:
        """Hand out nothing more, and stop running cells at their next report."""
        self.stopping = True
        self._waiting.clear()

    def fetch(self) -> list[Event]:
        """All events since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def running(self) -> dict[int, Cell]:
        """The cell of each busy lane."""
        return dict(self._running)

    def load(self) -> tuple[int, int]:
        """How many cells wait for a lane, and how many run."""
        return len(self._waiting), len(self._running)
