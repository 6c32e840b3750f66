"""Which lane runs which cell: plain state without Ray, so that its rules can be tested alone."""

from collections import deque
from collections.abc import Mapping, Sequence

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.events import CellFinished, CellProgress, CellStarted, Event
from adbench.reports.schema import RunResult


class Dispatcher:
    """Hands each cell to exactly one lane, and collects what lanes report until the driver fetches it.

    A lane stays with the images it has at hand. One that needs others takes a category that no lane is at, so that
    each is decoded, and its features computed, by one lane while the others are at work elsewhere; only when all are
    taken does it help where the most is left to do.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting: dict[_Images, deque[Cell]] = {}
        for cell in cells:
            self._waiting.setdefault(_images(cell), deque()).append(cell)
        self._at: dict[int, _Images] = {}
        self._running: dict[int, Cell] = {}
        self._events: list[Event] = []
        self.stopping = False

    def next_cell(self, lane: int) -> Cell | None:
        """The next cell for a lane, or None when there is none left for it."""
        if self.stopping or not self._waiting:
            return None
        images = self._choose(lane)
        cell = self._waiting[images].popleft()
        if not self._waiting[images]:
            del self._waiting[images]
        self._at[lane] = images
        self._running[lane] = cell
        self._events.append(CellStarted(lane, cell))
        return cell

    def _choose(self, lane: int) -> "_Images":
        if self._at.get(lane) in self._waiting:
            return self._at[lane]
        taken = {images for other, images in self._at.items() if other != lane}
        free = (images for images in self._waiting if images not in taken)
        return next(free, None) or max(self._waiting, key=lambda images: len(self._waiting[images]))

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
        return sum(map(len, self._waiting.values())), len(self._running)


_Images = tuple[str, str, int]


def _images(cell: Cell) -> _Images:
    """What must be decoded for a cell."""
    return (cell.fingerprint, cell.category, cell.image_size)
