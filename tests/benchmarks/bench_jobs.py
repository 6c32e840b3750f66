"""Cells and trials on warm lanes, with the times at which they began, ended and were recorded."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from adbench.datasets.file_index import kept_in
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.compose import compose
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellStarted, Event
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import Plan, make_plan
from adbench.orchestrator.run import Recorder, RunOptions, ray_resources, surroundings_of
from adbench.reports.store import ResultStore
from plug_in import plugged_in

_EMPTY = '''
"""A method that learns nothing and reports three times, at the shares at which a search looks."""
from typing import Annotated
from pydantic import Field
from adbench.methods.base import Method, MethodConfig, Search


class EmptyConfig(MethodConfig):
    knob: Annotated[float, Search(0.0, 1.0)] = Field(default=0.5, ge=0.0, le=1.0, description="changes nothing")


class Empty(Method):
    version, paper, config_class = "1", "none", EmptyConfig

    def fit(self, train_images, labelled):
        self.context.epochs = 9
        for epoch in (1, 3, 9):
            self.context.report(epoch, {"loss": 0.0})

    def predict_checked(self, images):
        return images.mean(dim=(1, 2, 3)), images.mean(dim=1)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
'''


@contextlib.contextmanager
def empty_method() -> Iterator[None]:
    """The method ``empty`` for the block, registered as anyone's package would, also in processes started in it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        plugged_in(Path(folder), "adbench_empty", _EMPTY, {"empty": "Empty"}),
    ):
        yield


@dataclass(frozen=True)
class Job:
    """A cell that a lane has served; times in seconds since 1970. ``recorded`` is when its row was on disk."""

    lane: int
    began: float
    ended: float
    recorded: float


@dataclass
class Clock:
    """Notes when cells began and ended, beside the recorder that keeps their results.

    Of a finished cell `run_cell` itself tells. One that a search stopped leaves no row: of it counts when the driver
    heard.
    """

    recorder: Recorder
    jobs: list[Job] = field(default_factory=list)
    stopped: int = 0
    failure: str | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    _since: dict[int, float] = field(default_factory=dict)

    def handle(self, event: Event) -> bool:
        """Take an event into account; a failed cell ends it all, for failures would make all look quicker."""
        self.recorder.handle(event)
        now = time.time()
        with self.changed:
            if isinstance(event, CellStarted):
                self._since[event.lane] = now
            elif isinstance(event, CellAbandoned):
                self.jobs.append(Job(event.lane, self._since[event.lane], now, now))
                self.stopped += 1
            elif isinstance(event, CellFinished):
                record = event.result.record
                if record.status == "failed":
                    self.failure = f"{event.cell.label} failed: {record.error}"
                began, ended = record.started_at.timestamp(), record.finished_at.timestamp()
                self.jobs.append(Job(event.lane, began, ended, now))
            self.changed.notify_all()
        return self.failure is None

    def wait_for(self, jobs: int) -> None:
        """Sleep until so many jobs have ended, or one has failed."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.jobs) >= jobs or self.failure is not None)


@dataclass(frozen=True)
class Served:
    """What lanes have served: cells of a plan, then trials of a search.

    ``asked`` is when lanes were asked for; ``search_began`` and ``search_ended`` enclose the search, Tuner start
    included.
    """

    lanes: int
    asked: float
    cells: list[Job]
    trials: list[Job]
    stopped: int
    search_began: float
    search_ended: float


def plan_of(overrides: Sequence[str], folder: Path) -> Plan:
    """The plan, with results and caches in ``folder``."""
    parsed = parse_overrides([*overrides, f"out={folder / 'results'}", f"cache_dir={folder / 'cache'}"])
    with kept_in(folder / "cache"):
        return make_plan(compose(parsed), parsed)


def serve(plan: Plan, first: Sequence[Cell] = ()) -> Served:
    """Have lanes serve the cells ``first``, as `adbench run` does, then a search over ``plan``, as `adbench sweep`.

    Raises RuntimeError if a cell fails.
    """
    request = plan.request
    resources = ray_resources(request)  # Before anything imports Ray, which then reads its environment.
    from adbench.orchestrator.lane_pool import lane_pool
    from adbench.orchestrator.search import searches
    from adbench.orchestrator.study import journal_path, open_storage, open_study
    from adbench.orchestrator.tuner import Flag, tune_search

    trials = request.search.trials
    options = RunOptions(style="quiet")
    store = ResultStore(request.out)
    store.prepare()
    clock = Clock(Recorder(store, options, len(first) + trials))
    asked = time.time()
    with (
        tempfile.TemporaryDirectory() as scratch,
        lane_pool(surroundings_of(request, options), resources, first, more=trials) as pool,
        ThreadPoolExecutor(1) as beside,
    ):

        def propose() -> tuple[float, float]:
            try:
                clock.wait_for(len(first))
                began = time.time()
                for search in searches(plan, {}) if clock.failure is None else ():
                    storage = open_storage(journal_path(request.out))
                    study = open_study(storage, search.sweep_id, search.modes)
                    tune_search(search, study, storage, pool, scratch, {}, Flag())
                return began, time.time()
            finally:
                pool.close()

        proposed = beside.submit(propose)
        pool.serve(clock.handle)
        began, ended = proposed.result()
    if clock.failure is not None:
        raise RuntimeError(clock.failure)
    served, searched = clock.jobs[: len(first)], clock.jobs[len(first) :]
    return Served(pool.size, asked, served, searched, clock.stopped, began, ended)
