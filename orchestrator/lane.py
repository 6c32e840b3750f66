"""A lane: the training function of a Ray Train run that serves cells one after another and stays warm."""

from collections.abc import Mapping
from typing import Any

import ray
import ray.train

NAMESPACE = "adbench"


def serve(config: dict[str, Any]) -> None:
    """Ask the dispatcher for cells until there are none; ``config`` names it, the lane and the surroundings."""
    # Here, because Train's controller imports this module too and needs no torch: lanes start seconds sooner.
    from adbench.orchestrator.run_cell import CellStoppedError, Surroundings, run_cell

    dispatcher = ray.get_actor(config["dispatcher"], namespace=NAMESPACE)
    lane: int = config["lane"]
    surroundings = Surroundings(**config["surroundings"])

    def report(step: int, values: Mapping[str, float]) -> None:
        if ray.get(dispatcher.call.remote("report", lane, step, values)):
            raise CellStoppedError

    while (cell := ray.get(dispatcher.next_cell.remote(lane))) is not None:
        try:
            result = run_cell(cell, surroundings, report)
        except CellStoppedError:
            ray.get(dispatcher.call.remote("abandon", lane))
        else:
            ray.get(dispatcher.call.remote("finish", lane, result))
    ray.train.report({})
