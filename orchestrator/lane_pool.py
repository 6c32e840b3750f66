"""Lanes on Ray: a dispatcher actor hands out cells, each lane is a Ray Train run of its own."""

import contextlib
import logging
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher_actor import MAX_WAITING, DispatcherActor
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.events import Event, LaneMessage
from adbench.orchestrator.lane import NAMESPACE, serve
from adbench.orchestrator.lane_resources import RayResources, lane_count
from adbench.orchestrator.ray_session import ray_session
from adbench.orchestrator.record import lost_cell
from adbench.orchestrator.run_cell import Surroundings

_POLL_SECONDS = 0.2
_STARTS_WITHOUT_A_CELL = 3
_CLOSING_SECONDS = 30.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def lane_pool(
    surroundings: Surroundings,
    resources: RayResources,
    cells: Sequence[Cell] = (),
    *,
    more: int = 0,
) -> "Iterator[LanePool]":
    """Lanes that serve these cells, and those submitted later; ``more`` is how many of these may run at a time."""
    scratch = tempfile.TemporaryDirectory(prefix="adbench-", ignore_cleanup_errors=True)
    with scratch, ray_session(resources.address):
        if resources.prefer_gpu and ray.cluster_resources().get("GPU", 0) >= resources.gpus_per_lane:
            surroundings = replace(surroundings, device="cuda")
        count = min(max(len(cells), more), lane_count(surroundings, resources))
        pool = LanePool(count, surroundings, resources, resources.storage or scratch.name, cells, more=bool(more))
        try:
            yield pool
        finally:
            pool.end()


class LanePool:
    """A dispatcher, and lanes that ask it for cells."""

    def __init__(
        self,
        count: int,
        surroundings: Surroundings,
        resources: RayResources,
        storage: str,
        cells: Sequence[Cell],
        *,
        more: bool,
    ) -> None:
        self.name = f"dispatcher-{uuid.uuid4().hex[:8]}"
        """Of the dispatcher's actor, in the namespace of adbench."""
        options = {"name": self.name, "namespace": NAMESPACE, "num_cpus": 0, "max_concurrency": MAX_WAITING}
        self._actor = ray.remote(DispatcherActor).options(**options).remote(list(cells), more)
        self._messages: list[Event] = []
        self._lanes = [
            _Lane(index, self.name, surroundings, resources, storage, self._messages) for index in range(count)
        ]
        self.size = count
        """How many lanes there are."""
        self.device = surroundings.device
        for lane in self._lanes:
            lane.start()

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
        """Stop the lanes and wait for them."""
        with contextlib.suppress(Exception):
            self._call("stop", timeout=5)
        # Ray aborts the process if it is shut down while a lane's thread is still inside Ray Train.
        deadline = time.monotonic() + _CLOSING_SECONDS
        for lane in self._lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(Exception):
            ray.kill(self._actor)

    def _pump(self, handle: Callable[[Event], bool], interrupted: threading.Event) -> None:
        stopping = False
        while True:
            if interrupted.is_set():
                raise KeyboardInterrupt
            alive = any(lane.is_alive() for lane in self._lanes)
            events, load = ray.get(self._actor.fetch.remote(_POLL_SECONDS))
            while self._messages:
                events.append(self._messages.pop(0))
            # Every event is handled, also those after a request to stop.
            wishes = [handle(event) for event in events]
            if not all(wishes) and not stopping:
                stopping = True
                self._call("stop")
            if not any(load):
                return
            if not alive:
                raise RunAbortedError(
                    f"no lane could be kept alive; {load.waiting + load.running} cell(s) were not run"
                )

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
    """Keeps one Ray Train run alive until no cell is left for it."""

    def __init__(
        self,
        index: int,
        dispatcher: str,
        surroundings: Surroundings,
        resources: RayResources,
        storage: str,
        messages: list[Event],
    ) -> None:
        super().__init__(name=f"lane-{index}", daemon=True)
        self._index = index
        self._dispatcher = dispatcher
        self._surroundings = surroundings
        self._resources = resources
        self._storage = storage
        self._messages = messages

    def run(self) -> None:
        """Start the Train run; after a death, record the lost cell and start another."""
        fruitless = 0
        for attempt in range(10**6):
            try:
                self._trainer(attempt).fit()
                return
            except Exception as error:  # Ray raises many kinds; each means that the worker group is gone.
                try:
                    lost = self._record_loss(error)
                except Exception:  # The cluster itself is gone, or is being shut down.
                    return
                fruitless = 0 if lost else fruitless + 1
                if fruitless >= _STARTS_WITHOUT_A_CELL:
                    self._say(f"lane {self._index} could not start {fruitless} times and was given up: {error}")
                    return

    def _trainer(self, attempt: int) -> TorchTrainer:
        on_gpu = self._surroundings.device == "cuda"
        each = {"CPU": float(self._resources.cpus_per_lane)}
        if on_gpu:
            each["GPU"] = self._resources.gpus_per_lane
        return _LaneTrainer(
            serve,
            train_loop_config={
                "dispatcher": self._dispatcher,
                "lane": self._index,
                "surroundings": asdict(self._surroundings),
            },
            scaling_config=ScalingConfig(num_workers=1, use_gpu=on_gpu, resources_per_worker=each),
            run_config=RunConfig(
                name=f"{self._dispatcher}-lane-{self._index}-{attempt}",
                storage_path=self._storage,
                # One death costs one cell: retries are ours, not Train's (whose defaults are infinite).
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )

    def _record_loss(self, error: Exception) -> bool:
        actor = ray.get_actor(self._dispatcher, namespace=NAMESPACE)
        running: dict[int, Cell] = ray.get(actor.call.remote("running"))
        cell = running.get(self._index)
        if cell is None:
            return False
        self._say(f"lane {self._index} lost its worker during {cell.label}; starting it again")
        text = f"{error}\nThe worker process died while it ran this cell: killed, out of memory, or crashed."
        ray.get(actor.call.remote("finish", self._index, lost_cell(cell, text)))
        return True

    def _say(self, text: str) -> None:
        _log.warning(text)
        self._messages.append(LaneMessage(self._index, text))
