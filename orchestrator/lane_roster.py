"""How each lane fares and what is to be done about it: plain state without Ray, so that it can be tested alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Load
from adbench.orchestrator.display import format_seconds
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellStarted, Event, LaneMessage

STARTS_WITHOUT_A_CELL = 3
"""After so many in a row a lane is given up."""

_STARTING_SECONDS = 60.0
_STUCK_SECONDS = 900.0
"""Far more than any start takes. Ray can wait for ever for a process on a node that died as it was to start there."""
_SILENT_SECONDS = 600.0
_NO_ROOM_SECONDS = 300.0
"""How long a cluster that has lost its last node for lanes may take to get another."""


@dataclass(frozen=True)
class Room:
    """What a cluster holds: ``fit`` lanes if they were alone on it, ``free`` more beside all that runs now.

    ``needs`` says what a lane takes ("1 CPU"), ``state`` what there is ("0 of 2 CPU free").
    """

    fit: int
    free: int
    needs: str
    state: str


@dataclass
class _Lane:
    """Times are seconds on the clock of the roster."""

    attempt: int = 0
    alive: bool = True
    served: bool = False
    """Whether it has had a cell since it began."""
    fruitless: int = 0
    cell: Cell | None = None
    cell_began: float = 0.0
    heard: float = 0.0


class LaneRoster:
    """The lanes of a run. Lanes are numbered from 0; one that has ended may begin again under its number."""

    def __init__(self, limit: int | None, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """At most ``limit`` lanes (None: as many as fit); a cell may take ``timeout`` seconds, and some grace."""
        self._limit = limit
        self._timeout = timeout
        self._clock = clock
        self._lanes: list[_Lane] = []
        self._known_most: int | None = None
        self._since: dict[str, float] = {}
        self._told: dict[str, float] = {}

    @property
    def alive(self) -> int:
        """How many lanes there are now."""
        return sum(lane.alive for lane in self._lanes)

    def begin(self) -> tuple[int, int]:
        """A lane begins: its number, and how many times it has before."""
        index = self._next()
        if index == len(self._lanes):
            self._lanes.append(_Lane())
        else:
            before = self._lanes[index]
            self._lanes[index] = _Lane(before.attempt + 1, fruitless=before.fruitless)
        return index, self._lanes[index].attempt

    def end(self, index: int, *, failed: bool) -> bool:
        """A lane has ended; True if it is given up, because it has failed too often before it had a cell."""
        lane = self._lanes[index]
        lane.alive = False
        lane.cell = None
        lane.fruitless = lane.fruitless + 1 if failed and not lane.served else 0
        return lane.fruitless >= STARTS_WITHOUT_A_CELL

    def note(self, event: Event) -> None:
        """Take an event of a lane into account."""
        if isinstance(event, LaneMessage):
            return
        lane = self._lanes[event.lane]
        lane.heard = self._clock()
        if isinstance(event, CellStarted):
            lane.cell, lane.cell_began, lane.served = event.cell, lane.heard, True
        elif isinstance(event, CellFinished | CellAbandoned):
            lane.cell = None

    def to_start(self, load: Load, room: Room) -> int:
        """How many lanes are to begin now: never more than there are cells that no lane is free to take."""
        wanted = min(self._wanted(load), self._most(room) - self.alive - self._given_up())
        # What a lane that has only begun will take still counts as free.
        return max(0, min(wanted, room.free - self._starting()))

    def overdue(self) -> list[tuple[int, Cell, str]]:
        """Lane, cell, and what is wrong, for each cell that has neither ended nor failed by itself in its time."""
        if self._timeout is None:
            return []
        now = self._clock()
        limit = self._timeout + max(30.0, self._timeout / 10)
        return [
            (
                index,
                lane.cell,
                f"longer than cell_timeout={self._timeout:g} s, no report for {format_seconds(now - lane.heard)}: "
                "its worker was killed",
            )
            for index, lane in enumerate(self._lanes)
            if lane.cell is not None and now - lane.cell_began > limit
        ]

    def stuck(self) -> list[int]:
        """Lanes that, when `messages` was last called, had been starting for so long that they are to begin anew."""
        now = self._clock()
        return [
            index
            for index in range(len(self._lanes))
            if now - self._since.get(f"start {index}", now) > _STUCK_SECONDS
        ]

    def hopeless(self, load: Load, room: Room) -> str | None:
        """Why cells wait for lanes that will never be; None if there is hope."""
        lacking = self._lasted("no room", load.waiting > 0 and self.alive == 0 and room.fit == 0)
        if lacking > _NO_ROOM_SECONDS:
            return f"for {format_seconds(lacking)} no node of the cluster has had {room.needs} for a lane"
        if load.waiting and not self.alive and 0 < self._most(room) <= self._given_up():
            return "no lane could be kept alive"
        return None

    def messages(self, load: Load, room: Room) -> list[LaneMessage]:
        """What the user should know: how the cluster changes, and what has waited for long, at growing intervals."""
        return [*self._changed(room), *self._blocked(load, room), *self._slow(load, room), *self._silent()]

    def _changed(self, room: Room) -> list[LaneMessage]:
        most, before = self._most(room), self._known_most
        self._known_most = most
        if before is None or most == before:
            return []
        return [LaneMessage(min(most, before), f"the cluster has room for {most} lane(s) now, {before} before")]

    def _blocked(self, load: Load, room: Room) -> Iterator[LaneMessage]:
        may_begin = room.fit == 0 or self._most(room) > self.alive + self._given_up()
        waits = self._lasted("blocked", self._wanted(load) > 0 and room.free <= 0 and may_begin)
        if self._due("blocked", waits, _STARTING_SECONDS):
            index = self._next()
            yield LaneMessage(index, f"lane {index} waits for {room.needs}: the cluster has {room.state}")

    def _slow(self, load: Load, room: Room) -> Iterator[LaneMessage]:
        for index, lane in enumerate(self._lanes):
            starting = self._lasted(f"start {index}", lane.alive and not lane.served and load.waiting > 0)
            if self._due(f"start {index}", starting, _STARTING_SECONDS):
                text = f"lane {index} has been starting for {format_seconds(starting)}"
                yield LaneMessage(index, f"{text}: it needs {room.needs}, the cluster has {room.state}")

    def _silent(self) -> Iterator[LaneMessage]:
        for index, lane in enumerate(self._lanes):
            silent = 0.0 if lane.cell is None else self._clock() - lane.heard
            if self._due(f"silent {index}", silent, _SILENT_SECONDS) and lane.cell is not None:
                text = f"lane {index}: {lane.cell.label}: no report for {format_seconds(silent)}"
                yield LaneMessage(index, text)

    def _most(self, room: Room) -> int:
        return room.fit if self._limit is None else min(self._limit, room.fit)

    def _wanted(self, load: Load) -> int:
        return load.waiting - sum(lane.alive and lane.cell is None for lane in self._lanes)

    def _starting(self) -> int:
        return sum(lane.alive and not lane.served for lane in self._lanes)

    def _given_up(self) -> int:
        return sum(lane.fruitless >= STARTS_WITHOUT_A_CELL for lane in self._lanes)

    def _next(self) -> int:
        ended = (
            index
            for index, lane in enumerate(self._lanes)
            if not lane.alive and lane.fruitless < STARTS_WITHOUT_A_CELL
        )
        return next(ended, len(self._lanes))

    def _lasted(self, what: str, holds: bool) -> float:
        """Seconds for which this has held without a break."""
        if not holds:
            self._since.pop(what, None)
            return 0.0
        return self._clock() - self._since.setdefault(what, self._clock())

    def _due(self, what: str, lasted: float, first: float) -> bool:
        """Whether to tell of it: after ``first`` seconds, and each time that it has lasted twice as long."""
        if lasted < first:
            self._told.pop(what, None)
        if lasted < self._told.get(what, first):
            return False
        self._told[what] = 2 * lasted
        return True
