"""Cells on lanes of Ray Train."""

from collections.abc import Callable, Sequence

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.events import Event
from adbench.orchestrator.lane_pool import lane_pool
from adbench.orchestrator.lane_resources import RayResources
from adbench.orchestrator.run_cell import Surroundings


def launch_ray(
    cells: Sequence[Cell],
    surroundings: Surroundings,
    resources: RayResources,
    handle: Callable[[Event], bool],
) -> None:
    """Run the cells on lanes. ``handle`` gets each event in this thread; False from it stops the run.

    A worker that dies costs the one cell it had, which is recorded as failed; its lane starts anew. Raises
    RunAbortedError if no lane can be kept alive.
    """
    with lane_pool(surroundings, resources, cells) as pool:
        pool.serve(handle)
