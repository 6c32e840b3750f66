"""`adbench show sweep` and `sweep --dry-run`: what was searched and found, and what would be."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from adbench.datasets.errors import RequestError, unknown_name
from adbench.orchestrator.dashboard import dashboard_command
from adbench.orchestrator.listing import render_table
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.reproduce import hydra_value
from adbench.orchestrator.search import Search, searches
from adbench.orchestrator.search_space import Parameter, decoded
from adbench.orchestrator.study import best_first, journal_path, open_storage, stored_study
from adbench.reports.schema import SearchRecord
from adbench.reports.store import ResultStore

_SHOWN_TRIALS = 10


def sweep_page(sweep_id: str, out: str) -> str:
    """Counts, the best trials and the runs on fresh seeds of a recorded search; any unique beginning names it."""
    store = ResultStore(out)
    records = store.searches()
    alike = [name for name in records if name.startswith(sweep_id)]
    if len(alike) > 1 and sweep_id not in alike:
        raise RequestError(f"several sweeps begin with '{sweep_id}'", allowed=", ".join(alike))
    if not alike:
        raise unknown_name("sweep", sweep_id, records)
    record = records[sweep_id if sweep_id in alike else alike[0]]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = stored_study(open_storage(journal_path(out)), record.sweep_id)
    if study is None:
        raise RequestError(
            f"the trials of {record.sweep_id} are not in {journal_path(out)}",
            remedy="put the file back, or search anew with the same command",
        )
    complete = best_first(study)
    shown = complete[:_SHOWN_TRIALS]
    names = list(dict.fromkeys(name for trial in shown for name in trial.params))
    rows = [
        (str(trial.number), *(f"{value:.4g}" for value in trial.values), *(_shown(trial, name) for name in names))
        for trial in shown
    ]
    return "\n".join(
        [
            *_facts(record),
            "",
            f"the best {len(shown)} of {len(complete)} complete trials:",
            render_table(("trial", *record.objective, *names), rows),
            "",
            *_tuned(store, record),
            f"in a browser: {' '.join(dashboard_command(out))}",
        ]
    )


def spaces(plan: Plan, fixed: Mapping[str, Sequence[Any]]) -> str:
    """What `adbench sweep` of this plan would search."""
    return "\n\n".join(_space(search) for search in searches(plan, fixed))


def _facts(record: SearchRecord) -> list[str]:
    counts = f"{record.complete} complete, {record.stopped} stopped early, {record.failed} failed of {record.trials}"
    return [
        record.sweep_id,
        f"  method     {record.method} (budget {record.budget})",
        f"  data       {', '.join(record.data)}",
        f"  objective  {', '.join(record.objective)}",
        f"  proposed   by {record.sampler}, poor trials stopped by {record.scheduler}",
        f"  trials     {counts}",
        f"  cost       {record.lane_seconds / 3600:.3g} h of lanes",
    ]


def _tuned(store: ResultStore, record: SearchRecord) -> list[str]:
    runs = store.runs()
    tuned = runs[(runs["sweep_id"] == record.sweep_id) & (runs["selection"] != "none")]
    if tuned.empty:
        return ["the best setting has not been run on fresh seeds", ""]
    rows = [
        (row["run_id"][:12], f"{row['dataset']}/{row['category']}", str(row["seed"]), row["status"], _auroc(row))
        for row in tuned.to_dict("records")
    ]
    table = render_table(("run", "data", "seed", "status", "image AUROC"), rows)
    return ["the best setting on fresh seeds:", table, ""]


def _auroc(row: Mapping[Any, Any]) -> str:
    value = row["image_auroc"]
    return f"{value:.3f}" if isinstance(value, float) and value == value else ""


def _space(search: Search) -> str:
    cells = f"{len(search.cells)} cell(s) each" if len(search.cells) > 1 else "one cell each"
    head = f"{search.sweep_id}: up to {search.trials} trials of {cells}, for {', '.join(search.spec.objective)}"
    start = search.base.model_dump()
    rows = [(name, _range(parameter), hydra_value(start[name])) for name, parameter in search.space.items()]
    return head + "\n" + render_table(("parameter", "range", "without a search"), rows)


def _range(parameter: Parameter) -> str:
    found = parameter.distribution
    if isinstance(found, CategoricalDistribution):
        text = " or ".join(hydra_value(value) for value in parameter.grid())
    elif isinstance(found, FloatDistribution | IntDistribution):
        text = f"{found.low:g} to {found.high:g}{', logarithmic' if found.log else ''}"
    if parameter.only_if is None:
        return text
    name, values = parameter.only_if
    return f"{text} (only if {name}={' or '.join(map(hydra_value, values))})"


def _shown(trial: FrozenTrial, name: str) -> str:
    if name not in trial.params:
        return ""
    value = decoded(trial.params)[name]
    return f"{value:.4g}" if isinstance(value, float) else hydra_value(value)
