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


def serve(config: dict[str, Any]) -> None:
    """Ask the dispatcher for cells until there are none; ``config`` names it, the lane and the surroundings."""
    # Here, because Train's controller imports this module too and needs no torch: lanes start seconds sooner.
    from adbench.orchestrator.run_cell import CellStoppedError, Surroundings, run_cell

    dispatcher = ray.get_actor(config["dispatcher"], namespace=NAMESPACE)
    lane: int = config["lane"]
    surroundings = Surroundings(**config["surroundings"])
    if config["logs"] is not None:
        _log_to(Path(config["logs"]), lane)
    ray.get(dispatcher.call.remote("join", lane, ray.get_runtime_context().current_actor))

    def report(step: int, values: Mapping[str, float]) -> None:
        if ray.get(dispatcher.call.remote("report", lane, step, values)):
            raise CellStoppedError

    while (cell := ray.get(dispatcher.next_cell.remote(lane))) is not None:
        _log.info("start %s %s", cell.run_id, cell.label)
        try:
            result = run_cell(cell, surroundings, report)
        except CellStoppedError:
            _log.info("stopped %s", cell.run_id)
            ray.get(dispatcher.call.remote("abandon", lane))
        else:
            _log.info("%s %s %s", result.record.status, cell.run_id, result.record.error or "")
            ray.get(dispatcher.call.remote("finish", lane, result))
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


def _log_to(folder: Path, lane: int) -> None:
    """Append what this process logs, warns of or prints (of which Train makes log records) to lane-N.log."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"lane-{lane}.log", encoding="utf-8")
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
