"""What a lane takes, and how many the cluster holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil
from ray._private.state import available_resources_per_node, total_resources_per_node

from adbench.datasets.errors import RequestError
from adbench.orchestrator.lane_roster import Room
from adbench.orchestrator.run_cell import Surroundings

_LANE_MEMORY = 2 * 2**30
"""Memory in bytes that a lane's worker is expected to need when lanes are counted automatically."""


@dataclass(frozen=True)
class RayResources:
    """Where lanes run and what each of their workers takes; ``lanes`` None: as many as fit."""

    address: str | None = None
    lanes: int | None = None
    workers_per_lane: int = 1
    cpus_per_lane: int = 1
    gpus_per_lane: float = 1.0
    storage: str | None = None
    """A path or URL that all nodes share, needed on a cluster."""
    logs: str | None = None
    """A folder, which all nodes share, for a file lane-N.log of each lane; None: only Ray's own files."""
    prefer_gpu: bool = False
    """Use CUDA if the cluster has GPUs, whatever this machine has."""

    def of_worker(self, device: Literal["cpu", "cuda"]) -> dict[str, float]:
        """What one worker takes, by Ray's names of resources."""
        gpus = {"GPU": self.gpus_per_lane} if device == "cuda" else {}
        return {"CPU": float(self.cpus_per_lane), **gpus}


def lane_count(surroundings: Surroundings, resources: RayResources) -> int:
    """As many lanes as asked for, or as the cluster's processors, GPUs and (on one machine) memory hold."""
    room = lane_room(surroundings, resources)
    fit = room.fit
    if fit < 1 or (resources.lanes or 0) > fit:
        total = _sums(total_resources_per_node())
        raise RequestError(
            f"{resources.lanes or 1} lane(s) of {room.needs} each do not fit: the cluster has "
            f"{total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU",
            allowed=f"lanes=auto, or at most {fit}",
            remedy="lower lanes=, workers_per_lane=, cpus_per_lane= or gpus_per_lane=, or join a larger cluster "
            "(address=)",
        )
    if resources.lanes is not None:
        return resources.lanes
    if resources.address is None:
        fit = max(1, min(fit, psutil.virtual_memory().available // (resources.workers_per_lane * _LANE_MEMORY)))
    return fit


def lane_room(surroundings: Surroundings, resources: RayResources) -> Room:
    """What the cluster's live nodes hold now."""
    workers = resources.workers_per_lane
    each = resources.of_worker(surroundings.device)
    total, free = total_resources_per_node(), available_resources_per_node()
    of_all, left = _sums(total), _sums(free)
    return Room(
        fit=_hold(total, each) // workers,
        free=_hold(free, each) // workers,
        needs=" and ".join(f"{workers * amount:g} {name}" for name, amount in each.items()),
        state=" and ".join(f"{left.get(name, 0):g} of {of_all.get(name, 0):g} {name} free" for name in each),
    )


_Nodes = Mapping[str, Mapping[str, float]]


def _hold(nodes: _Nodes, each: Mapping[str, float]) -> int:
    """How many workers fit, each within one node."""
    return sum(min(int(node.get(name, 0) / amount) for name, amount in each.items()) for node in nodes.values())


def _sums(nodes: _Nodes) -> dict[str, float]:
    names = {name for node in nodes.values() for name in node}
    return {name: sum(node.get(name, 0) for node in nodes.values()) for name in names}
