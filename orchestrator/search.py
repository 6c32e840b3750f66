"""What a sweep searches: one search for each method of the plan, its first settings, and what is run of its best."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from adbench.benchmark_suites.metrics import METRICS
from adbench.datasets.errors import RequestError
from adbench.methods.base import MethodConfig
from adbench.methods.registry import method_class, method_entry
from adbench.orchestrator.cell import Cell, by_model, canonical_json
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.request import SearchSpec
from adbench.orchestrator.search_space import Space, encoded, grid_size, space_of
from adbench.orchestrator.trial import with_params
from adbench.reports.entries import trials
from adbench.reports.protocols import protocol_label, protocol_labels
from adbench.reports.schema import COSTS, METRIC_COLUMNS, VAL_METRIC_COLUMNS

Mode = Literal["min", "max"]
_WARM_STARTS = 3


@dataclass(frozen=True)
class Search:
    """The search for one method's parameters; ``cells`` are those of every trial, before it changes them."""

    method: str
    sweep_id: str
    cells: tuple[Cell, ...]
    space: Space
    spec: SearchSpec
    base: MethodConfig
    """The parameters that the method has without a search."""

    @property
    def modes(self) -> list[Mode]:
        """Whether each objective is to be small or large."""
        return [_mode(name) for name in self.spec.objective]

    @property
    def trials(self) -> int:
        """How many settings are tried at most; a grid ends with its last point."""
        return min(self.spec.trials, grid_size(self.space)) if self.spec.sampler == "grid" else self.spec.trials

    @property
    def places(self) -> tuple[Cell, ...]:
        """One cell of each category, for the best setting on fresh seeds."""
        return tuple({(cell.dataset, cell.category): cell for cell in self.cells}.values())


def searches(plan: Plan, fixed: Mapping[str, Sequence[Any]]) -> tuple[Search, ...]:
    """One search for each method of the plan; ``fixed`` are parameters that the user set.

    Raises RequestError for an objective that nobody measures or that is one of the test split, several settings of
    one method, and a space that cannot be.
    """
    spec = plan.request.search
    _check_objectives(spec)
    found = []
    for method in dict.fromkeys(cell.method for cell in plan.cells):
        own = by_model(cell for cell in plan.cells if cell.method == method)
        cells = tuple(itertools.chain.from_iterable(own))
        if len({cell.variant for cell in cells}) > 1:
            raise RequestError(
                f"a search starts from one setting, but there are several of '{method}'",
                remedy="give single values of method.NAME=, or a suite with one setting of each method",
            )
        base = method_class(method).config_class(**cells[0].params)
        space = space_of(base, {*fixed, *method_entry(method).fixed}, spec.space)
        identity = {
            "cells": [cell.run_id for cell in cells],
            "space": {name: repr(parameter) for name, parameter in space.items()},
            "spec": spec.model_dump(include={"sampler", "scheduler", "objective", "seed"}),
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:10]
        suite = plan.request.name.replace("/", "-")  # Ray Tune makes a folder of the id.
        found.append(Search(method, f"{suite}-{method}-{digest}", cells, space, spec, base))
    return tuple(found)


def recorded_figures(runs: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Metrics and costs of the recorded trials by run_id: what need not be run again."""
    ok = runs[trials(runs) & (runs["status"] == "ok")]
    names = [name for name in (*VAL_METRIC_COLUMNS, *METRIC_COLUMNS, *COSTS) if name in ok]
    return {
        row["run_id"]: {name: None if pd.isna(row[name]) else float(row[name]) for name in names}
        for row in ok[["run_id", *names]].to_dict("records")
    }


def first_settings(search: Search, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The setting that the method has without a search, and the best recorded ones, as Optuna stores them."""
    settings = [dict(search.cells[0].params)]
    objective = search.spec.objective[0]
    places = {(cell.dataset, cell.category) for cell in search.cells}
    like = runs[(runs["status"] == "ok") & (runs["method"] == search.method)]
    like = like[like["budget"] == search.cells[0].budget]
    protocol = search.cells[0].protocol
    same = protocol_label(protocol.n_normal, protocol.noise or None, protocol.multi_class)
    like = like[protocol_labels(like) == same]
    like = like[[place in places for place in zip(like["dataset"], like["category"], strict=True)]]
    if search.spec.warm_start and objective in like and len(like):
        means = like.groupby("params")[objective].agg(["mean", "count"])
        whole = means[means["count"] == means["count"].max()]
        settings += [json.loads(params) for params in _best_first(whole["mean"], _mode(objective))[:_WARM_STARTS]]
    found = [encoded(setting, search.space) for setting in settings]
    return [setting for setting in found if setting]


def tuned_cells(search: Search, setting: Mapping[str, Any]) -> list[Cell]:
    """The best setting on seeds that the search has not used: what the leaderboard shows of it."""
    used = max(cell.seed for cell in search.cells)
    chosen_on = "test" if search.spec.test_objectives else "val"
    return [
        with_params(
            cell,
            setting,
            seed=used + 1 + index,
            sweep_id=search.sweep_id,
            selection=chosen_on,
            variant=f"tuned on {chosen_on}",
        )
        for cell in search.places
        for index in range(search.spec.fresh_seeds)
    ]


def _check_objectives(spec: SearchSpec) -> None:
    if spec.test_objectives and not spec.allow_test_selection:
        name = spec.test_objectives[0]
        raise RequestError(
            f"search.objective={name} is a metric of the test split: what it chooses looks better than it is",
            allowed=f"val_{name}, another metric with val_, or a cost: {', '.join(COSTS)}",
            remedy="with search.allow_test_selection=true every row and page says that it was done",
        )
    if spec.sampler == "cmaes" and len(spec.objective) > 1:
        raise RequestError(
            "search.sampler=cmaes has one objective", allowed="search.sampler=nsgaii or tpe for several"
        )
    for name in spec.objective:
        if name not in {*METRIC_COLUMNS, *VAL_METRIC_COLUMNS, *COSTS}:
            raise RequestError(
                f"search.objective={name} is nothing that a run measures",
                allowed=f"a metric of `adbench ls metrics` with val_ before it, or a cost: {', '.join(COSTS)}",
            )


def _mode(objective: str) -> Mode:
    return "max" if objective not in COSTS and METRICS[objective.removeprefix("val_")].higher_is_better else "min"


def _best_first(means: pd.Series, mode: Mode) -> list[str]:
    return [str(params) for params in means.dropna().sort_values(ascending=mode == "min", kind="stable").index]
