"""What bounds a search: its budget, and how many trials are under way at a time."""

import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
import ray

from adbench.datasets.errors import RequestError
from adbench.orchestrator.dispatcher_actor import DispatcherActor
from adbench.orchestrator.lane import NAMESPACE
from adbench.orchestrator.lane_pool import LanePool
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.sweep import Budget
from adbench.orchestrator.tuner import SPARE_PROXIES, Flag, proxy_size


class _Pool:
    """What a budget asks of a pool."""

    def __init__(self, size: int, device: str = "cuda") -> None:
        self.size = size
        self.device = device


def _budget(plan: Plan, pool: _Pool, clock: Callable[[], float]) -> Budget:
    return Budget(plan.request, cast(LanePool, pool), clock)


def test_gpu_hours_count_the_lanes_that_there_are(plan_of: Callable[..., Plan]) -> None:
    now, pool = 0.0, _Pool(2)
    plan = plan_of("suite=smoke", "search.gpu_hours=4", "gpus_per_lane=0.5")
    budget = _budget(plan, pool, lambda: now)
    assert not budget.spent()
    now = 3 * 3600  # 2 lanes of half a GPU: 3 of 4
    assert not budget.spent()
    pool.size = 8
    now += 0.2 * 3600  # 8 lanes: 3.8
    assert not budget.spent()
    now += 0.1 * 3600
    assert budget.spent() and budget.spent()


def test_hours_end_a_search_on_any_device(plan_of: Callable[..., Plan]) -> None:
    now, pool = 100.0, _Pool(9, "cpu")
    budget = _budget(plan_of("suite=smoke", "search.hours=1"), pool, lambda: now)
    now += 3599
    assert not budget.spent()
    now += 2
    assert budget.spent()
    with pytest.raises(RequestError, match="counts GPUs"):
        _budget(plan_of("suite=smoke", "search.gpu_hours=1"), pool, lambda: now)


def test_copies_of_a_flag_are_the_same_flag() -> None:
    spent = False
    flag, other = Flag(lambda: spent), Flag()
    copy = pickle.loads(pickle.dumps(flag))  # as Tune copies its stoppers
    assert not copy.stop_all() and not copy("a trial", {})
    spent = True
    assert copy.stop_all() and not copy.raised and not other.stop_all()
    copy.wave()
    assert flag.raised and not other.raised


@pytest.mark.slow
def test_as_many_trials_are_under_way_as_there_are_lanes_then(one_ray: None) -> None:
    name = "dispatcher-of-a-test"
    dispatcher: Any = ray.remote(DispatcherActor).options(name=name, namespace=NAMESPACE, num_cpus=0).remote([], True)
    size = proxy_size(name, 1)

    def fit() -> int:
        (bundle,) = size({}).bundles
        (share,) = bundle.values()
        return int(1.0 / share)

    assert fit() == 1 + SPARE_PROXIES, "before any lane has joined"
    for lane in range(4):
        ray.get(dispatcher.call.remote("join", lane, f"worker {lane}"))
    assert fit() == 4 + SPARE_PROXIES
    ray.get(dispatcher.call.remote("leave", 0, "gone"))
    assert fit() == 3 + SPARE_PROXIES
    ray.kill(dispatcher)
