"""The dispatcher as a Ray actor: who waits for a change sleeps until there is one."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Dispatcher, Load, Update
from adbench.orchestrator.events import Event

MAX_WAITING = 10_000
"""Lanes, and others, that may wait at a time."""


class DispatcherActor:
    """`Dispatcher` between processes."""

    def __init__(self, cells: Iterable[Cell], more: bool) -> None:
        self._dispatcher = Dispatcher(cells, more=more)
        self._changed = asyncio.Condition()

    async def next_cell(self, lane: int) -> Cell | None:
        """The next cell for a lane, once there is one; None if none will come, or if the worker no longer counts."""
        async with self._changed:
            worker = self._dispatcher.worker(lane)
            # A worker may die while it waits here: what is handed to it then would never be run.
            while worker is not None and worker is self._dispatcher.worker(lane):
                cell = self._dispatcher.next_cell(lane)
                if not isinstance(cell, str):
                    self._changed.notify_all()
                    return cell
                await self._changed.wait()
            return None

    async def fetch(self, seconds: float) -> tuple[list[Event], Load]:
        """All events since the last call, for which it waits up to ``seconds``, and what is left to do."""
        async with self._changed:
            if not (events := self._dispatcher.fetch()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), seconds)
                events = self._dispatcher.fetch()
            return events, self._dispatcher.load()

    async def updates(self, run_id: str, seen: int) -> list[Update]:
        """What became of a trial's cell after the first ``seen`` updates, once there is something."""
        async with self._changed:
            while not (updates := self._dispatcher.updates(run_id, seen)):
                await self._changed.wait()
            return updates

    async def call(self, method: str, *arguments: Any) -> Any:
        """Any other method of `Dispatcher`, by its name."""
        async with self._changed:
            self._changed.notify_all()
            return getattr(self._dispatcher, method)(*arguments)
