"""`adbench sweep`: Ray Tune asks Optuna for parameters, lanes run what it proposes, the best runs on fresh seeds."""

import contextlib
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from adbench.datasets.errors import RequestError
from adbench.orchestrator.display import format_seconds
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellStarted, Event
from adbench.orchestrator.lane_pool import LanePool, lane_pool
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.reproduce import hydra_value
from adbench.orchestrator.request import Request
from adbench.orchestrator.run import (
    Recorder,
    RunOptions,
    guarded,
    left_out_line,
    missing_datasets,
    ray_resources,
    suite_plan,
    surroundings_of,
    write_splits,
)
from adbench.orchestrator.search import Search, first_settings, recorded_figures, searches, tuned_cells
from adbench.orchestrator.search_space import decoded
from adbench.orchestrator.study import (
    alone,
    best,
    drop_torn_line,
    ended,
    journal_path,
    lost,
    open_storage,
    open_study,
    stored_study,
    try_first,
)
from adbench.orchestrator.tuner import Flag, tune_search
from adbench.reports.page import render_page
from adbench.reports.schema import MissingDataset, SearchRecord
from adbench.reports.store import ResultStore

_LOOK_SECONDS = 2.0
"""Time between two looks at a study amid the search."""


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended."""

    searches: tuple[SearchRecord, ...]
    failures: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    """Datasets of the suite that are not here."""
    page: Path
    seconds: float


def execute_sweep(plan: Plan, fixed: Mapping[str, Sequence[Any]], options: RunOptions) -> SweepOutcome:
    """Search, then run what was found on fresh seeds, and render the page.

    Raises what `execute` raises, and RequestError for a search that cannot be. What has ended is recorded; the same
    command goes on from there.
    """
    began = time.monotonic()
    request = plan.request
    if request.launcher != "ray" or "://" in request.out:
        raise RequestError("a sweep needs launcher=ray, and a folder as out=", remedy="on a cluster a shared folder")
    todo = searches(plan, fixed)
    surroundings, resources = surroundings_of(request, options), ray_resources(request)
    if request.search.gpu_hours is not None and surroundings.device != "cuda" and not resources.prefer_gpu:
        raise RequestError("search.gpu_hours counts GPUs, and there is none", remedy="give search.hours=")
    store = ResultStore(request.out)
    store.prepare()
    _keep_cards(plan, store)
    write_splits(plan, list(plan.cells), store)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with guarded(request.out), alone(journal_path(request.out), "give this one a folder of its own with out="):
        drop_torn_line(journal_path(request.out))
        storage = open_storage(journal_path(request.out))
        ledger = _Ledger(store, storage, todo, missing_datasets(plan))
        recorder = Recorder(store, options, sum(_most_cells(search, storage) for search in todo))
        most = max(search.trials for search in todo)
        with recorder.display as display, tempfile.TemporaryDirectory() as scratch:
            for search in todo:
                display.say(f"{search.sweep_id}: up to {search.trials} trials of {', '.join(search.space)}")
            with lane_pool(surroundings, resources, more=most) as pool:
                flag = Flag(Budget(request, pool).spent)
                conductor = _Conductor(todo, pool, store, storage, resources.storage or scratch, flag)
                conductor.start()
                try:
                    pool.serve(ledger.around(recorder.handle, display.say))
                finally:
                    flag.wave()
                    conductor.join()
                    ledger.close()
                conductor.check()
        store.compact()
        page = render_page(store)
    return SweepOutcome(ledger.records(), tuple(recorder.failures), plan.missing, page, time.monotonic() - began)


def _keep_cards(plan: Plan, store: ResultStore) -> None:
    """Give the page what it tells of the suite, and cards of its methods and datasets.

    A plan that is there stays, with its cells and what it says of datasets; a new one has no cells, for the trials of
    a search are no promise of runs.
    """
    new = suite_plan(plan)
    kept = store.plans().get(new.name, replace(new, cells=(), missing=(), cards=()))
    cards = {(card.kind, card.name): card for card in (*kept.cards, *new.cards)}
    cards |= {(card.kind, card.name): card for card in kept.cards if card.kind == "dataset"}
    store.write_plan(replace(kept, cards=tuple(cards.values())))


def _most_cells(search: Search, storage: BaseStorage) -> int:
    """How many cells are still to run, if no trial is stopped early."""
    study = stored_study(storage, search.sweep_id)
    spent = 0 if study is None else ended(study)
    return max(0, search.trials - spent) * len(search.cells) + len(search.places) * search.spec.fresh_seeds


class Budget:
    """Wall-clock time from now on, and the hours of the GPUs of all lanes that there are meanwhile."""

    def __init__(self, request: Request, pool: LanePool, clock: Callable[[], float] = time.monotonic) -> None:
        spec = request.search
        if spec.gpu_hours is not None and pool.device != "cuda":
            raise RequestError("search.gpu_hours counts GPUs, and the cluster has none", remedy="give search.hours=")
        self._hours = spec.hours or math.inf
        self._gpu_hours = spec.gpu_hours or math.inf
        self._gpus_of_lane = request.workers_per_lane * request.gpus_per_lane
        self._pool, self._clock = pool, clock
        self._asked = clock()

    def spent(self) -> bool:
        """Whether no trial may start any more."""
        now = self._clock()
        hours = (now - self._asked) / 3600
        self._asked = now
        self._hours -= hours
        self._gpu_hours -= hours * self._gpus_of_lane * self._pool.size
        return self._hours < 0 or self._gpu_hours < 0


class _Conductor(threading.Thread):
    """Runs the searches one after the other, beside the thread that records what the lanes report."""

    def __init__(
        self,
        todo: Sequence[Search],
        pool: LanePool,
        store: ResultStore,
        storage: BaseStorage,
        scratch: str,
        flag: Flag,
    ) -> None:
        super().__init__(name="searches", daemon=True)
        self._todo, self._pool, self._store, self._storage = todo, pool, store, storage
        self._scratch, self._flag = scratch, flag
        self._error: BaseException | None = None

    def run(self) -> None:
        """Search after search; then no more cells will come."""
        try:
            runs = self._store.runs()
            known = recorded_figures(runs)
            for search in self._todo:
                study = open_study(self._storage, search.sweep_id, search.modes)
                if search.spec.sampler != "grid":
                    try_first(study, first_settings(search, runs))
                tune_search(search, study, self._storage, self._pool, self._scratch, known, self._flag)
                found = best(study)
                if found is not None and not self._flag.raised:
                    done = self._store.done()
                    cells = tuned_cells(search, decoded(found[0]))
                    self._pool.submit([cell for cell in cells if cell.run_id not in done])
        except BaseException as error:  # Told to the main thread, which waits for cells.
            self._error = error
        with contextlib.suppress(Exception):
            self._pool.close()

    def check(self) -> None:
        """Raise what ended the searches early."""
        if self._error is not None:
            raise self._error


class _Ledger:
    """Keeps for each search what it has come to and what it cost, and says when something better is found."""

    def __init__(
        self,
        store: ResultStore,
        storage: BaseStorage,
        todo: Sequence[Search],
        missing: tuple[MissingDataset, ...],
    ) -> None:
        self._store, self._storage, self._missing = store, storage, missing
        self._todo = {search.sweep_id: search for search in todo}
        before = store.searches()
        self._spent = {name: before[name].lane_seconds if name in before else 0.0 for name in self._todo}
        self._since: dict[int, tuple[str, float]] = {}
        self._kept: dict[str, SearchRecord] = {}
        self._looked = time.monotonic()

    def around(self, handle: Callable[[Event], bool], say: Callable[[str], None]) -> Callable[[Event], bool]:
        """``handle`` for events, with a note of each."""

        def noted(event: Event) -> bool:
            going_on = handle(event)
            self._note(event)
            if isinstance(event, CellFinished | CellAbandoned) and time.monotonic() - self._looked > _LOOK_SECONDS:
                for line in self._look():
                    say(line)
            return going_on

        return noted

    def records(self) -> tuple[SearchRecord, ...]:
        """What the searches have come to, as far as they have begun."""
        return tuple(record for record in map(self._record, self._todo.values()) if record is not None)

    def close(self) -> None:
        """Keep the last state."""
        self._look()

    def _note(self, event: Event) -> None:
        if isinstance(event, CellStarted) and event.cell.watch is not None and event.cell.sweep_id:
            self._since[event.lane] = (event.cell.sweep_id, time.monotonic())
        elif isinstance(event, CellFinished | CellAbandoned) and event.lane in self._since:
            sweep_id, since = self._since.pop(event.lane)
            self._spent[sweep_id] += time.monotonic() - since

    def _look(self) -> list[str]:
        self._looked = time.monotonic()
        news = []
        for record in self.records():
            before = self._kept.get(record.sweep_id)
            if record == before:
                continue
            self._store.write_search(record)
            self._kept[record.sweep_id] = record
            if record.best and (before is None or record.best != before.best):
                news.append(f"best so far of {record.method}: {spelled(record)}")
        return news

    def _record(self, search: Search) -> SearchRecord | None:
        study = stored_study(self._storage, search.sweep_id)
        if study is None:  # Its turn has not come.
            return None
        states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
        found = best(study)
        return SearchRecord(
            sweep_id=search.sweep_id,
            suite=search.cells[0].suite,
            method=search.method,
            data=tuple(f"{cell.dataset}/{cell.category}" for cell in search.places),
            budget=search.cells[0].budget,
            objective=search.spec.objective,
            sampler=search.spec.sampler,
            scheduler=search.spec.scheduler,
            trials=search.trials,
            complete=states[TrialState.COMPLETE],
            stopped=states[TrialState.PRUNED],
            failed=states[TrialState.FAIL] - lost(study),
            lane_seconds=self._spent[search.sweep_id],
            best=found[1] if found else (),
            setting=decoded(found[0]) if found else {},
            missing=self._missing,
        )


def spelled(record: SearchRecord) -> str:
    """The best setting, and what it reached on validation."""
    setting = " ".join(f"method.{name}={hydra_value(value)}" for name, value in record.setting.items())
    return f"{record.reached}  {setting}"


def summary(outcome: SweepOutcome) -> list[str]:
    """The last lines that the user sees."""
    lines = []
    for record in outcome.searches:
        counts = f"{record.complete} trials complete, {record.stopped} stopped early, {record.failed} failed"
        lines.append(f"{record.sweep_id}: {counts}, {format_seconds(record.lane_seconds)} of lanes")
        lines += [f"  best: {spelled(record)}"] if record.best else []
    lines += [f"  FAILED {label}: {reason}" for label, reason in outcome.failures]
    lines += left_out_line(outcome.left_out)
    return [*lines, f"in {format_seconds(outcome.seconds)}", f"leaderboard: {outcome.page}"]
