"""One cell after the other in this process: for a debugger, a test, or a machine without Ray."""

from collections.abc import Callable, Mapping, Sequence

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Dispatcher
from adbench.orchestrator.errors import CellStoppedError
from adbench.orchestrator.events import Event
from adbench.orchestrator.run_cell import Surroundings, run_cell

_LANE = 0


def launch_inprocess(cells: Sequence[Cell], surroundings: Surroundings, handle: Callable[[Event], bool]) -> None:
    """Run the cells in order. ``handle`` gets each event at once; False from it stops the run."""
    dispatcher = Dispatcher(cells)

    def pass_on() -> None:
        wishes = [handle(event) for event in dispatcher.fetch()]
        if not all(wishes):
            dispatcher.stop()

    def report(step: int, values: Mapping[str, float]) -> None:
        dispatcher.report(_LANE, step, values)
        pass_on()
        if dispatcher.stopping:
            raise CellStoppedError

    while isinstance(cell := dispatcher.next_cell(_LANE), Cell):
        pass_on()
        try:
            dispatcher.finish(_LANE, run_cell(cell, surroundings, report))
        except CellStoppedError:
            dispatcher.abandon(_LANE)
        pass_on()
