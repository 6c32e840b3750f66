"""What a lane takes, and how many the cluster holds."""

from dataclasses import dataclass

import psutil
import ray

from adbench.datasets.errors import RequestError
from adbench.orchestrator.run_cell import Surroundings

_LANE_MEMORY = 2 * 2**30
"""Memory in bytes that a lane is expected to need when lanes are counted automatically."""


@dataclass(frozen=True)
class RayResources:
    """Where lanes run and what each takes; ``lanes`` None: as many as fit."""

    address: str | None = None
    lanes: int | None = None
    cpus_per_lane: int = 1
    gpus_per_lane: float = 1.0
    storage: str | None = None
    """A path or URL that all nodes share, needed on a cluster."""
    prefer_gpu: bool = False
    """Use CUDA if the cluster has GPUs, whatever this machine has."""


def lane_count(surroundings: Surroundings, resources: RayResources) -> int:
    """As many lanes as asked for, or as the cluster's processors, GPUs and (on one machine) memory hold."""
    total = ray.cluster_resources()
    fit = int(total.get("CPU", 0) // resources.cpus_per_lane)
    needs = f"{resources.cpus_per_lane} CPU"
    if surroundings.device == "cuda":
        fit = min(fit, int(total.get("GPU", 0) / resources.gpus_per_lane))
        needs += f" and {resources.gpus_per_lane:g} GPU"
    if fit < 1 or (resources.lanes or 0) > fit:
        raise RequestError(
            f"{resources.lanes or 1} lane(s) of {needs} each do not fit: the cluster has "
            f"{total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU",
            allowed=f"lanes=auto, or at most {fit}",
            remedy="lower lanes=, cpus_per_lane= or gpus_per_lane=, or join a larger cluster (address=)",
        )
    if resources.lanes is not None:
        return resources.lanes
    if resources.address is None:
        fit = max(1, min(fit, psutil.virtual_memory().available // _LANE_MEMORY))
    return fit
