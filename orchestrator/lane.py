"""A lane: the training function of a Ray Train run that serves cells one after another and stays warm."""

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.v2._internal.execution.callback import ControllerCallback

NAMESPACE = "adbench"
_log = logging.getLogger(__name__)


class LaneOutOfStepError(RuntimeError):
    """A cell failed on a worker that trains with others, which may wait for it for ever: the lane must start anew."""


def serve(config: dict[str, Any]) -> None:
    """Ask the dispatcher for cells until there are none; ``config`` names it, the lane and the surroundings.

    Every worker of the lane runs this. The first asks, and tells the others what to train with it.
    """
    # Here, because Train's controller imports this module too and needs no torch: lanes start seconds sooner.
    from adbench.orchestrator.errors import CellStoppedError
    from adbench.orchestrator.lane_group import LaneGroup
    from adbench.orchestrator.run_cell import Surroundings, run_cell

    dispatcher = ray.get_actor(config["dispatcher"], namespace=NAMESPACE)
    lane: int = config["lane"]
    surroundings = Surroundings(**config["surroundings"])
    # On CUDA, Train has made each worker's own GPU its current device.
    rank = ray.train.get_context().get_world_rank()
    group = LaneGroup(rank, ray.train.get_context().get_world_size())
    if config["logs"] is not None:
        _log_to(Path(config["logs"]), f"lane-{lane}.log" if group.leads else f"lane-{lane}-worker-{rank}.log")
    if group.leads:
        ray.get(dispatcher.call.remote("join", lane, ray.get_runtime_context().current_actor))

    def report(step: int, values: Mapping[str, float]) -> None:
        if group.leads and ray.get(dispatcher.call.remote("report", lane, step, values)):
            raise CellStoppedError

    while (cell := group.decided(lambda: ray.get(dispatcher.next_cell.remote(lane)))) is not None:
        _log.info("start %s %s", cell.run_id, cell.label)
        try:
            result = run_cell(cell, surroundings, report, group)
        except CellStoppedError:
            _log.info("stopped %s", cell.run_id)
            if group.leads:
                ray.get(dispatcher.call.remote("abandon", lane))
            continue
        _log.info("%s %s %s", result.record.status, cell.run_id, result.record.error or "")
        failed = result.record.status == "failed"
        if group.leads or failed:  # Of several failures the dispatcher keeps the first: the others follow from it.
            ray.get(dispatcher.call.remote("finish", lane, result))
        if failed and group.size > 1:
            raise LaneOutOfStepError(f"{cell.label} failed")
    ray.train.report({})


class Announcement(ControllerCallback):  # type: ignore[misc]
    """Tells the dispatcher which actor controls a lane's run of Ray Train, so that one that hangs can be ended."""

    def __init__(self, dispatcher: str, lane: int) -> None:
        self._dispatcher = dispatcher
        self._lane = lane

    def after_controller_start(self, *_: object) -> None:
        """Called by Train in the controller's process."""
        dispatcher = ray.get_actor(self._dispatcher, namespace=NAMESPACE)
        dispatcher.call.remote("announce", self._lane, ray.get_runtime_context().current_actor)


def _log_to(folder: Path, name: str) -> None:
    """Append what this process logs, warns of or prints (of which Train makes log records) to the file."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / name, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    here = ray.get_runtime_context()
    names = f"worker-{here.get_worker_id()}-*-{os.getpid()}.out and .err"
    _log.info(
        "process %d on %s, node %s; what crashes leave is in Ray's files %s there",
        os.getpid(),
        socket.gethostname(),
        here.get_node_id(),
        names,
    )
