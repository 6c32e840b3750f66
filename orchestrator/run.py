"""`adbench run`: what is not yet recorded is run, each result recorded at once, then the page rendered."""

import contextlib
import logging
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from adbench.datasets.cache import default_cache_dir
from adbench.datasets.errors import RequestError
from adbench.datasets.registry import dataset_class
from adbench.datasets.splits import SPLIT_COLUMNS
from adbench.orchestrator.cards import cards_of
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.display import Style, Tally, format_seconds, make_display
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.events import CellFinished, Event, LaneMessage
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.request import Request
from adbench.orchestrator.run_cell import Surroundings
from adbench.reports.claims import Verdict, verdicts
from adbench.reports.errors import StoreError
from adbench.reports.page import render_page
from adbench.reports.schema import MissingDataset, PlannedCell, PublishedValue, SuitePlan
from adbench.reports.store import ResultStore

if TYPE_CHECKING:  # Ray takes seconds to import.
    from adbench.orchestrator.lane_resources import RayResources

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """The flags of `adbench run`."""

    limit: int | None = None
    fail_fast: bool = False
    use_cache: bool = True
    style: Style = "live"


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``failures`` are (cell, last line of its error)."""

    already: int
    ok: int
    failures: tuple[tuple[str, str], ...]
    not_run: int
    notes: tuple[tuple[str, int], ...]
    """Warnings that runs gave, each with the number of runs."""
    left_out: tuple[str, ...]
    """Datasets of the suite that are not here."""
    page: Path
    claims: tuple[Verdict, ...]
    seconds: float


def pending(plan: Plan, store: ResultStore, limit: int | None) -> tuple[list[Cell], int]:
    """The cells without an ok row, at most ``limit`` of them, and how many have one."""
    done = store.done()
    todo = [cell for cell in plan.cells if cell.run_id not in done]
    return todo[:limit], len(plan.cells) - len(todo)


def resolve_device(request: Request) -> Literal["cpu", "cuda"]:
    """The device that cells will use; RequestError where CUDA is asked for and missing."""
    if request.device == "cpu":
        return "cpu"
    if ray_address(request):
        # The cluster's machines, not this one, must have the GPUs: `auto` is settled there, and lanes are refused
        # there if CUDA is asked for and missing.
        return "cuda" if request.device == "cuda" else "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if request.device == "cuda":
        raise RequestError(
            "device=cuda: torch sees no CUDA device on this machine",
            allowed="device=auto or device=cpu here",
            remedy="`adbench doctor` shows what torch sees; check the driver and the installed build of torch",
        )
    return "cpu"


def ray_address(request: Request) -> str | None:
    """The cluster to join: address=, else $RAY_ADDRESS."""
    return request.address or os.environ.get("RAY_ADDRESS") or None


def cache_folder(request: Request, use_cache: bool) -> Path | None:
    """Where images, features and file indexes are kept; None with --no-cache."""
    if not use_cache:
        return None
    return Path(request.cache_dir) if request.cache_dir else default_cache_dir()


def surroundings_of(request: Request, options: RunOptions) -> Surroundings:
    """What every cell of the request may use."""
    cache = cache_folder(request, options.use_cache)
    remote = "://" in request.out
    return Surroundings(
        device=resolve_device(request),
        threads=request.cpus_per_lane,
        cache_dir=str(cache) if cache else None,
        scratch=None if remote else str(Path(request.out) / "checkpoints"),
        timeout=request.cell_timeout,
        maps=request.maps,
    )


class Recorder:
    """Records what lanes report, and shows it."""

    def __init__(self, store: ResultStore, options: RunOptions, total: int) -> None:
        self.tally = Tally(total)
        self.failures: list[tuple[str, str]] = []
        self.notes: Counter[str] = Counter()
        self.display = make_display(options.style, self.tally)
        self._store = store
        self._fail_fast = options.fail_fast

    def handle(self, event: Event) -> bool:
        """Take an event into account; False if the run is to stop."""
        self.tally.note(event)
        if isinstance(event, LaneMessage):
            _log.warning(event.text)
        if isinstance(event, CellFinished):
            self._store.append(event.result)
            record = event.result.record
            self.notes.update((record.notes or "").splitlines())
            _log.info("%s %s %s\n%s", record.status, record.run_id, event.cell.label, record.error or "")
            if record.status == "failed":
                self.failures.append((event.cell.label, (record.error or "").strip().splitlines()[-1]))
        self.display.show(event)
        return not (self._fail_fast and self.failures)


def execute(plan: Plan, options: RunOptions) -> Outcome:
    """Run what is missing and render the page.

    Raises StoreError if the results folder cannot be used, RunAbortedError if the run ends early. KeyboardInterrupt
    passes through once what has ended is recorded.
    """
    began = time.monotonic()
    surroundings = surroundings_of(plan.request, options)
    if surroundings.cache_dir and not ray_address(plan.request):
        _prove_writable(Path(surroundings.cache_dir))
    store = ResultStore(plan.request.out)
    store.prepare()
    store.write_plan(suite_plan(plan))
    todo, already = pending(plan, store, options.limit)
    recorder = Recorder(store, options, len(todo))
    with guarded(plan.request.out):
        if todo:
            write_splits(plan, todo, store)
            with recorder.display as display:
                starting = "; starting Ray" if plan.request.launcher == "ray" else ""
                display.say(f"{plan.request.name}: {len(todo)} cell(s) to run, {already} already recorded{starting}")
                _launch(plan.request, todo, surroundings, recorder.handle)
        store.compact()
        page = render_page(store)
        judged = judge_claims(plan, store)
    return Outcome(
        already=already,
        ok=recorder.tally.ok,
        failures=tuple(recorder.failures),
        not_run=len(plan.cells) - already - recorder.tally.done,
        notes=tuple(recorder.notes.most_common()),
        left_out=plan.missing,
        page=page,
        claims=judged,
        seconds=time.monotonic() - began,
    )


def _prove_writable(cache_dir: Path) -> None:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_dir):
            pass
    except OSError as error:
        raise RequestError(
            f"cache_dir={cache_dir} cannot be written: {error.strerror}",
            remedy="give another folder with cache_dir= or ADBENCH_CACHE, or do without: --no-cache",
        ) from error


def summary(outcome: Outcome) -> list[str]:
    """The last lines that the user sees."""
    counts = [f"{outcome.ok} run", f"{outcome.already} already recorded", f"{len(outcome.failures)} failed"]
    counts += [f"{outcome.not_run} not run"] if outcome.not_run else []
    lines = [f"{', '.join(counts)} in {format_seconds(outcome.seconds)}"]
    lines += [f"  FAILED {label}: {reason}" for label, reason in outcome.failures]
    lines += [f"  note ({count} run(s)): {text}" for text, count in outcome.notes]
    lines += left_out_line(outcome.left_out)
    lines += [f"  {verdict.claim.kind}: {verdict.line}" for verdict in outcome.claims]
    return [*lines, f"leaderboard: {outcome.page}"]


def left_out_line(names: Sequence[str]) -> list[str]:
    """The line of a summary that tells which datasets were not here; none if all were."""
    return [f"  not here, left out: {', '.join(names)}"] if names else []


def judge_claims(plan: Plan, store: ResultStore) -> tuple[Verdict, ...]:
    """What the plan's recorded runs say of the claims that its suite makes."""
    if not plan.request.claims:
        return ()
    planned = {cell.run_id for cell in plan.cells}
    runs = store.runs()
    return tuple(verdicts(plan.request.claims, runs[runs["run_id"].isin(planned)], store.images(planned)))


def _launch(request: Request, todo: list[Cell], surroundings: Surroundings, handle: Callable[[Event], bool]) -> None:
    if request.launcher == "inprocess":
        from adbench.orchestrator.launch_inprocess import launch_inprocess

        launch_inprocess(todo, surroundings, handle)
        return
    resources = ray_resources(request)  # First: it prepares the environment that Ray reads when it is imported.
    from adbench.orchestrator.launch_ray import launch_ray

    launch_ray(todo, surroundings, resources, handle)


def ray_resources(request: Request) -> "RayResources":
    """Where the request's lanes run, and what each takes."""
    address = ray_address(request)
    if address and _has_token():
        # Ray looks for its token by itself only with address=auto.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from adbench.orchestrator.lane_resources import RayResources

    return RayResources(
        address=address,
        lanes=None if request.lanes == "auto" else request.lanes,
        workers_per_lane=request.workers_per_lane,
        cpus_per_lane=request.cpus_per_lane,
        gpus_per_lane=request.gpus_per_lane,
        storage=f"{request.out.rstrip('/')}/logs/ray" if address else None,
        logs=None if "://" in request.out else str(Path(request.out) / "logs"),
        prefer_gpu=bool(address) and request.device == "auto",
    )


def _has_token() -> bool:
    named = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").exists()


def suite_plan(plan: Plan) -> SuitePlan:
    """What the page needs of the plan: to find this suite's runs, and to show which were never made."""
    cells = (
        PlannedCell(
            run_id=cell.run_id,
            method=cell.method,
            dataset=cell.dataset,
            category=cell.category,
            seed=cell.seed,
            budget=cell.budget,
        )
        for cell in plan.cells
    )
    request = plan.request
    return SuitePlan(
        name=request.name,
        title=request.title,
        rank_by=request.rank_by,
        cells=tuple(cells),
        published=tuple(
            PublishedValue(**{**reference.model_dump(), "category": reference.category or ""})
            for reference in request.references
        ),
        missing=missing_datasets(plan),
        cards=cards_of(plan),
    )


def missing_datasets(plan: Plan) -> tuple[MissingDataset, ...]:
    """What the page says of the datasets that the plan leaves out."""
    records = [dataset_class(name).record for name in plan.missing]
    return tuple(
        MissingDataset(name=one.name, title=one.title, home=one.home, licence=one.licence) for one in records
    )


def write_splits(plan: Plan, todo: list[Cell], store: ResultStore) -> None:
    needed = {f"{cell.dataset}-{cell.category}-{cell.split_hash}" for cell in todo}
    for name in sorted(needed):
        store.write_split(name, pd.DataFrame(plan.splits[name].rows(), columns=list(SPLIT_COLUMNS)))


@contextlib.contextmanager
def guarded(out: str) -> Iterator[None]:
    """What surrounds all work of lanes: a log file, SIGTERM as Ctrl-C, a full disk as the end of the run."""
    with _log_file(out), _terminate_as_interrupt(), _store_errors_as_abort():
        yield


@contextlib.contextmanager
def _log_file(out: str) -> Iterator[None]:
    """Send adbench's log to out/logs/adbench.log for the block."""
    if "://" in out:
        yield
        return
    handler = logging.FileHandler(Path(out) / "logs" / "adbench.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("adbench")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _store_errors_as_abort() -> Iterator[None]:
    """A disk that fills up during a run is no wrong request."""
    try:
        yield
    except StoreError as error:
        raise RunAbortedError(f"{error.problem}\n  to do:   {error.remedy}") from error


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: nothing new starts, what has ended is recorded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
