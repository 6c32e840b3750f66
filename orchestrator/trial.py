"""A trial of a search, as Ray Tune runs it: a light proxy whose cells are run by lanes."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from adbench.datasets.parameters import validate
from adbench.methods.registry import method_class
from adbench.orchestrator.cell import Cell, Watch, by_model
from adbench.orchestrator.dispatcher import Update
from adbench.orchestrator.lane import NAMESPACE
from adbench.orchestrator.reproduce import hydra_value
from adbench.orchestrator.request import SearchSpec
from adbench.orchestrator.search_space import decoded

PERCENT = "adbench_percent"
"""How much of a trial is done, of all its cells: what the scheduler goes by."""


class TrialFailedError(RuntimeError):
    """A cell of a trial failed, or its objective is undefined: Optuna must be told of a failure."""


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a search share.

    ``cells`` are those of every trial, one after the other, with the parameters that are not searched; ``rungs`` are
    the shares of a trial after which the scheduler may stop it; ``known`` holds figures of recorded cells by run_id.
    """

    dispatcher: str
    sweep_id: str
    cells: tuple[Cell, ...]
    spec: SearchSpec
    rungs: tuple[float, ...]
    known: Mapping[str, Mapping[str, float | None]]


def run_trial(config: Mapping[str, Any], job: TrialJob) -> None:
    """Tune's trainable: have the cells run one after the other, and report the means of the objectives so far.

    One after the other, so that trials are compared after the same cells, and a poor one is stopped before it has
    cost much; what is parallel is the trials. Cells that are judged on one model are submitted together, so that the
    lane that has it judges them all.
    """
    cells = trial_cells(job, decoded(config))
    finals: list[Mapping[str, float | None]] = []
    for group in by_model(cells):
        with _submitted(job, [cell for cell in group if cell.run_id not in job.known]) as outcome:
            for cell in group:
                index = len(finals)
                if cell.run_id in job.known:
                    finals.append(job.known[cell.run_id])
                    _report(job, finals, (index + 1) / len(cells))
                    continue
                for update in outcome(cell):
                    if update.status == "running":
                        _report(job, [*finals, update.figures], (index + update.share) / len(cells))
                    else:
                        finals.append(update.figures)
                        _report(job, finals, (index + 1) / len(cells))


def trial_cells(job: TrialJob, params: Mapping[str, Any]) -> list[Cell]:
    """The cells of a trial with these parameters; RequestError if the method refuses them."""
    return [
        with_params(
            cell,
            params,
            sweep_id=job.sweep_id,
            # A rung within this cell's part of the trial is a share of its training.
            watch=Watch(
                metric=job.spec.objective[0],
                test=bool(job.spec.test_objectives),
                shares=()
                if cell.fit_id  # Its model belongs to other cells too: what it reaches here tells little of them.
                else tuple(share for rung in job.rungs if 0 < (share := round(rung * len(job.cells) - index, 9)) < 1),
            ),
        )
        for index, cell in enumerate(job.cells)
    ]


def with_params(cell: Cell, params: Mapping[str, Any], **changed: Any) -> Cell:
    """The cell with other parameters of its method, and other fields."""
    config = validate(method_class(cell.method).config_class, {**cell.params, **params}, prefix="method.")
    config.check(cell.image_size)
    seed = changed.get("seed", cell.seed)
    words = [shlex.quote(f"method.{name}={hydra_value(value)}") for name, value in params.items()]
    # Built anew: a copy would keep the run_id that was computed for the original.
    return Cell(
        **{
            **cell.model_dump(),
            "params": config.model_dump(mode="json"),
            "preset": tuple(name for name in cell.preset if name not in params),
            "command": " ".join([cell.command.removesuffix(f" seed={cell.seed}"), *words, f"seed={seed}"]),
            "variant": ", ".join(
                f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in params.items()
            ),
            **changed,
        }
    )


@contextlib.contextmanager
def _submitted(job: TrialJob, cells: Sequence[Cell]) -> Iterator[Callable[[Cell], Iterator[Update]]]:
    """Have cells run for the block, which can follow what becomes of each. When it ends, nobody wants the rest."""
    dispatcher = ray.get_actor(job.dispatcher, namespace=NAMESPACE)
    ray.get(dispatcher.call.remote("submit", cells))
    wanted = {cell.run_id for cell in cells}

    def outcome(cell: Cell) -> Iterator[Update]:
        seen = 0
        while cell.run_id in wanted:
            updates: list[Update] = ray.get(dispatcher.updates.remote(cell.run_id, seen))
            seen += len(updates)
            for update in updates:
                if update.status != "running":
                    wanted.discard(cell.run_id)
                if update.status == "failed":
                    raise TrialFailedError((update.error or "failed").strip().splitlines()[-1])
                if update.status == "abandoned":
                    raise TrialFailedError("the search was stopped")
                yield update

    try:
        yield outcome
    finally:
        for run_id in sorted(wanted):
            ray.get(dispatcher.call.remote("cancel", run_id))


def _report(job: TrialJob, figures: Sequence[Mapping[str, float | None]], share: float) -> None:
    means = {}
    for name in job.spec.objective:
        values = [each.get(name) for each in figures]
        # While a cell runs only the first objective is known; Tune wants all of them in every report.
        known = [value for value in values if value is not None]
        if len(known) < len(values) and (share >= 1 or name == job.spec.objective[0]):
            raise TrialFailedError(f"{name} is undefined on {job.cells[values.index(None)].label}")
        means[name] = sum(known) / len(known) if known else 0.0
    tune.report({**means, PERCENT: 100 * share})
