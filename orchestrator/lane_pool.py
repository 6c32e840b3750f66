"""Lanes on Ray: a dispatcher actor hands out cells, each lane is a Ray Train run of its own."""

import contextlib
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Load
from adbench.orchestrator.dispatcher_actor import MAX_WAITING, DispatcherActor
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.events import Event, LaneMessage
from adbench.orchestrator.lane import NAMESPACE, Announcement, serve
from adbench.orchestrator.lane_resources import RayResources, lane_count, lane_room
from adbench.orchestrator.lane_roster import STARTS_WITHOUT_A_CELL, LaneRoster
from adbench.orchestrator.ray_session import ray_session
from adbench.orchestrator.run_cell import Surroundings

os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")
# Lanes start where there is room. If others have taken it meanwhile, Train must not wait for it when the run ends.

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 3.0
_CLOSING_SECONDS = 30.0


@contextlib.contextmanager
def lane_pool(
    surroundings: Surroundings,
    resources: RayResources,
    cells: Sequence[Cell] = (),
    *,
    more: int = 0,
) -> "Iterator[LanePool]":
    """Lanes that serve these cells, and those submitted later; ``more`` is how many of these may run at a time.

    On a cluster, lanes come and go with its nodes unless their number is given.
    """
    scratch = tempfile.TemporaryDirectory(prefix="adbench-", ignore_cleanup_errors=True)
    with scratch, ray_session(resources.address):
        gpus = resources.workers_per_lane * resources.gpus_per_lane
        if resources.prefer_gpu and ray.cluster_resources().get("GPU", 0) >= gpus:
            surroundings = replace(surroundings, device="cuda")
        fit = lane_count(surroundings, resources)
        pool = LanePool(
            min(max(len(cells), more), fit),
            None if resources.address and resources.lanes is None else fit,
            surroundings,
            resources,
            resources.storage or scratch.name,
            cells,
            more=bool(more),
        )
        try:
            yield pool
        finally:
            pool.end()


class LanePool:
    """A dispatcher, and the lanes that ask it for cells: as many as these need and the cluster holds."""

    def __init__(
        self,
        count: int,
        limit: int | None,
        surroundings: Surroundings,
        resources: RayResources,
        storage: str,
        cells: Sequence[Cell],
        *,
        more: bool,
    ) -> None:
        """Start with ``count`` lanes if there is room for them now; there are never more than ``limit``."""
        self.name = f"dispatcher-{uuid.uuid4().hex[:8]}"
        """Of the dispatcher's actor, in the namespace of adbench."""
        self._actor = (
            ray.remote(DispatcherActor)
            .options(
                name=self.name,
                namespace=NAMESPACE,
                num_cpus=0,
                max_concurrency=MAX_WAITING,
                # Here, because any other node may die.
                scheduling_strategy=NodeAffinitySchedulingStrategy(
                    ray.get_runtime_context().get_node_id(), soft=False
                ),
            )
            .remote(list(cells), more)
        )
        self._surroundings = surroundings
        self._resources = resources
        self._storage = storage
        self._roster = LaneRoster(limit, surroundings.timeout)
        self._lanes: dict[int, _Lane] = {}
        self._next_look = 0.0
        self._stopping = False
        self._hopeless: str | None = None
        for _ in range(min(count, lane_room(surroundings, resources).free)):
            self._begin()

    @property
    def size(self) -> int:
        """How many lanes there are now."""
        return self._roster.alive

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """On which all of them run."""
        return self._surroundings.device

    def submit(self, cells: Sequence[Cell]) -> None:
        """Let these cells be run too."""
        self._call("submit", list(cells))

    def close(self) -> None:
        """No more cells will come."""
        self._call("close")

    def serve(self, handle: Callable[[Event], bool]) -> None:
        """Pass events on until no cell waits or runs and none may come, or until ``handle`` returns False.

        Raises RunAbortedError if no lane can be kept alive, KeyboardInterrupt between events once one is noted.
        """
        try:
            with _interrupts_noted() as interrupted:
                self._pump(handle, interrupted)
        except BaseException as end:
            # The cluster may outlive us: lanes must not go on with nobody to record what they find. What they have
            # finished in the meantime is still recorded.
            with contextlib.suppress(Exception):
                self._call("stop", timeout=5)
                for event in ray.get(self._actor.fetch.remote(0.0), timeout=5)[0]:
                    handle(event)
            if isinstance(end, RayError):  # The dispatcher or the whole cluster died.
                raise RunAbortedError(f"Ray failed: {str(end).splitlines()[0]}") from end
            raise

    def end(self) -> None:
        """Stop the lanes and wait for them; one that hangs is killed."""
        with contextlib.suppress(Exception):
            self._call("stop", timeout=5)
        # Ray aborts the process if it is shut down while a lane's thread is still inside Ray Train.
        _join(self._lanes.values(), _CLOSING_SECONDS)
        for lane in self._lanes.values():
            if lane.is_alive():
                with contextlib.suppress(Exception):
                    self._kill_run(lane.index)
        _join(self._lanes.values(), _CLOSING_SECONDS)
        with contextlib.suppress(Exception):
            ray.kill(self._actor)

    def _pump(self, handle: Callable[[Event], bool], interrupted: threading.Event) -> None:
        while True:
            if interrupted.is_set():
                raise KeyboardInterrupt
            # First: whatever these lanes have still told the dispatcher is then among the events.
            ended = [lane for lane in self._lanes.values() if not lane.is_alive()]
            events, load = ray.get(self._actor.fetch.remote(_POLL_SECONDS))
            for event in events:
                self._roster.note(event)
            self._pass_on(events, handle)
            self._pass_on(self._tend(ended, load), handle)
            if not any(load):
                return
            if self._hopeless is not None:
                raise RunAbortedError(f"{self._hopeless}; {load.waiting} cell(s) were not run")

    def _pass_on(self, events: Sequence[Event], handle: Callable[[Event], bool]) -> None:
        # Every event is handled, also those after a request to stop.
        wishes = [handle(event) for event in events]
        if not all(wishes) and not self._stopping:
            self._stopping = True
            self._call("stop")

    def _tend(self, ended: Sequence["_Lane"], load: Load) -> list[LaneMessage]:
        """Look after the lanes: those that ended, those that hang, those that are still to begin."""
        messages = [message for lane in ended for message in self._ended(lane)]
        for index, cell, text in self._roster.overdue():
            worker = self._call("expel", index, cell.run_id, text)
            if worker is not None:
                ray.kill(worker)
        if (ended or time.monotonic() > self._next_look) and not self._stopping:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            room = lane_room(self._surroundings, self._resources)
            messages += self._roster.messages(load, room)
            self._hopeless = self._roster.hopeless(load, room)
            for index in self._roster.stuck():
                self._kill_run(index)
            for _ in range(self._roster.to_start(load, room)):
                self._begin()
        return messages

    def _kill_run(self, index: int) -> None:
        """End a lane's run of Ray Train by force."""
        controller = self._call("controller", index, timeout=5)
        if controller is not None:
            ray.kill(controller)

    def _begin(self) -> None:
        index, attempt = self._roster.begin()
        lane = _Lane(index, attempt, self.name, self._surroundings, self._resources, self._storage)
        self._lanes[index] = lane
        lane.start()

    def _ended(self, lane: "_Lane") -> list[LaneMessage]:
        """Record what an ended lane has lost."""
        del self._lanes[lane.index]
        given_up = self._roster.end(lane.index, failed=lane.error is not None)
        if lane.error is None:
            return []
        text = f"{lane.error}\nThe worker process died while it ran this cell: killed, out of memory, or crashed."
        lost: Cell | None = self._call("leave", lane.index, text)
        if lost is not None:
            return [LaneMessage(lane.index, f"lane {lane.index} lost its worker during {lost.label}")]
        if given_up:
            text = f"could not start {STARTS_WITHOUT_A_CELL} times and was given up: {lane.error}"
            return [LaneMessage(lane.index, f"lane {lane.index} {text}")]
        return []

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        return ray.get(self._actor.call.remote(method, *arguments), timeout=timeout)


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[threading.Event]:
    """Within the block Ctrl-C and SIGTERM only set the event; a second one raises KeyboardInterrupt at once.

    An exception that a signal raises anywhere can be lost: Python ignores any that arises as it deletes an object.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _LaneTrainer(TorchTrainer):  # type: ignore[misc]
    """Closes at once where Ray runs no dashboard.

    Train's cleaner of placement groups asks the dashboard whether its run is alive. A local Ray of ours has none, and
    every lane would wait 12 s for that answer before it closes.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        for callback in callbacks:
            if hasattr(callback, "_stop_timeout"):
                callback._stop_timeout = 0.2
        return callbacks


class _Lane(threading.Thread):
    """One run of Ray Train, which serves cells until none is left or its worker dies."""

    def __init__(
        self,
        index: int,
        attempt: int,
        dispatcher: str,
        surroundings: Surroundings,
        resources: RayResources,
        storage: str,
    ) -> None:
        super().__init__(name=f"lane-{index}", daemon=True)
        self.index = index
        self.error: Exception | None = None
        """Why it ended early."""
        self._attempt = attempt
        self._dispatcher = dispatcher
        self._surroundings = surroundings
        self._resources = resources
        self._storage = storage

    def run(self) -> None:
        """Wait for the end of the run."""
        try:
            self._trainer().fit()
        except Exception as error:  # Ray raises many kinds; each means that the worker group is gone.
            self.error = error

    def _trainer(self) -> TorchTrainer:
        return _LaneTrainer(
            serve,
            train_loop_config={
                "dispatcher": self._dispatcher,
                "lane": self.index,
                "surroundings": asdict(self._surroundings),
                "logs": self._resources.logs,
            },
            scaling_config=ScalingConfig(
                num_workers=self._resources.workers_per_lane,
                use_gpu=self._surroundings.device == "cuda",
                resources_per_worker=self._resources.of_worker(self._surroundings.device),
            ),
            run_config=RunConfig(
                name=f"{self._dispatcher}-lane-{self.index}-{self._attempt}",
                storage_path=self._storage,
                callbacks=[Announcement(self._dispatcher, self.index)],
                # One death costs one cell: retries are ours, not Train's (whose defaults are infinite).
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )


def _join(lanes: Iterable[_Lane], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for lane in lanes:
        lane.join(max(0.0, deadline - time.monotonic()))
