"""`adbench show`, `run --dry-run` and `run --cfg`: pages of text about one thing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adbench.benchmark_suites.suites import UnknownSuiteError, read_suite, suite_names
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.registry import dataset_class, open_dataset
from adbench.orchestrator.cards import PRESETS, dataset_card, method_card, spelled_categories
from adbench.orchestrator.cell import training_of
from adbench.orchestrator.keys import dataset_root, plain_keys, results_folder
from adbench.orchestrator.listing import render_table
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run import Outcome


def page(what: str, name: str, arguments: Sequence[str]) -> str:
    """The text that ``adbench show WHAT NAME`` prints."""
    if what == "run":
        return _run(name, arguments)
    if what == "sweep":
        from adbench.orchestrator.show_sweep import sweep_page

        return sweep_page(name, results_folder(plain_keys(arguments, "out")))
    plain_keys(arguments)
    return {"method": _method, "dataset": _dataset, "suite": _suite}[what](name)


def configuration(plan: Plan) -> str:
    """The resolved request as YAML, with the parameters of every method as they will be used."""
    content = plan.request.model_dump(mode="json")
    resolved: dict[str, list[dict[str, Any]]] = {}
    for cell in plan.cells:
        known = resolved.setdefault(cell.method, [])
        if cell.params not in known:
            known.append(cell.params)
    content["resolved_methods"] = resolved
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def dry_run(plan: Plan, limit: int | None, as_json: bool) -> str:
    """The plan as a table: what would run, and what is already recorded."""
    from adbench.reports.store import ResultStore

    out = plan.request.out
    has_store = "://" in out or (Path(out) / "runs").is_dir()
    done = ResultStore(out).done() if has_store else set()
    todo = [cell.run_id for cell in plan.cells if cell.run_id not in done][:limit]
    states = [
        "recorded" if c.run_id in done else "to run" if c.run_id in todo else "beyond --limit" for c in plan.cells
    ]
    if as_json:
        lines = [
            json.dumps({"run_id": cell.run_id, "cell": cell.label, "state": state, "params": cell.params})
            for cell, state in zip(plan.cells, states, strict=True)
        ]
        return "\n".join(lines)
    rows = [
        (
            cell.run_id[:12],
            cell.method,
            cell.variant,
            f"{cell.dataset}/{cell.category}",
            str(cell.seed),
            cell.budget,
            state,
        )
        for cell, state in zip(plan.cells, states, strict=True)
    ]
    counts = f"{len(plan.cells)} cells: {len(todo)} to run, {states.count('recorded')} already recorded in {out}"
    return render_table(("run", "method", "parameters", "data", "seed", "budget", "state"), rows) + "\n" + counts


def outcome_json(outcome: Outcome) -> str:
    """The end of a run as one JSON object."""
    return json.dumps(
        {
            "event": "Done",
            "ok": outcome.ok,
            "already_recorded": outcome.already,
            "failed": [{"cell": label, "error": reason} for label, reason in outcome.failures],
            "not_run": outcome.not_run,
            "left_out": outcome.left_out,
            "page": str(outcome.page),
            "claims": [
                {"claim": verdict.claim.text, "kind": verdict.claim.kind, "metric": verdict.metric}
                | {"difference": verdict.difference, "low": verdict.low, "high": verdict.high}
                | {"outcome": verdict.outcome}
                for verdict in outcome.claims
            ],
            "seconds": round(outcome.seconds, 1),
        }
    )


def _method(name: str) -> str:
    card = method_card(name)
    facts = dict(card.facts)
    head = [f"{name}: {facts['summary']}", f"paper: {facts['paper']}", f"version: {facts['version']}", "", card.text]
    presets = [f"  {line}" for line in facts.get(PRESETS, "").splitlines()]
    return "\n".join([*head, render_table(card.head, card.rows), *(["", f"{PRESETS}:", *presets] if presets else [])])


def _dataset(name: str) -> str:
    kind = dataset_class(name)
    try:
        prepared = "root" in kind.config_class.model_fields and kind.record.home != "-"
        dataset = open_dataset(name, {"root": str(dataset_root(name, None, None))} if prepared else {})
        categories = spelled_categories([(one, dataset.modality(one)) for one in dataset.categories()])
    except RequestError as error:
        categories = error.problem
    card = dataset_card(name, categories)
    width = max(len(label) for label, _ in card.facts)
    lines = [f"{label:{width}}  {text}" for label, text in card.facts]
    return "\n".join([name, *lines, "", render_table(card.head, card.rows)])


def _suite(name: str) -> str:
    try:
        content = read_suite(name)
    except UnknownSuiteError:
        raise unknown_name("suite", name, suite_names(), remedy="`adbench ls suites` lists them") from None
    text: str = yaml.dump(content, Dumper=_InFull, sort_keys=False, allow_unicode=True)
    return text.rstrip()


class _InFull(yaml.SafeDumper):
    """Writes what several places of a suite share in each of them, not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _run(name: str, arguments: Sequence[str]) -> str:
    import pandas as pd

    from adbench.reports.store import ResultStore

    out = results_folder(plain_keys(arguments, "out"))
    runs = ResultStore(out).runs()
    exact = runs["run_id"] == name
    found = runs[exact if exact.any() else runs["run_id"].str.startswith(name)]
    trainings = found["run_id"].map(training_of).nunique()
    if trainings != 1:
        problem = f"no run '{name}' in {out}" if trainings == 0 else f"{trainings} runs begin with '{name}'"
        raise RequestError(problem, remedy=f"`adbench ls runs out={out}` lists them")
    row = found.sort_values("metric_version", na_position="first").iloc[-1]  # as it was last scored
    width = max(map(len, runs.columns))
    return "\n".join(f"{column:{width}}  {value}" for column, value in row.items() if not pd.isna(value))
