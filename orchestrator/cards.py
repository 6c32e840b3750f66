"""What is known of methods and datasets, as plain data: for `adbench show`, and for the page by way of the store."""

import importlib
import json
from collections.abc import Sequence
from typing import Any, get_args

from adbench.datasets.base import Modality
from adbench.datasets.facts import dataset_facts
from adbench.datasets.parameters import describe_field
from adbench.datasets.registry import dataset_class
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.request import Budget
from adbench.reports.schema import Card

PRESETS = "presets by budget and modality"
_BUDGETS: tuple[Budget, ...] = get_args(Budget)
_MODALITIES: tuple[Modality, ...] = get_args(Modality)


def cards_of(plan: Plan) -> tuple[Card, ...]:
    """A card of each method and dataset of the plan; of datasets, with the categories that it has cells of."""
    methods = dict.fromkeys(cell.method for cell in plan.cells)
    categories: dict[str, dict[tuple[str, str], None]] = {}
    for cell in plan.cells:
        categories.setdefault(cell.dataset, {})[cell.category, cell.modality] = None
    return (
        *map(method_card, methods),
        *(dataset_card(name, spelled_categories(list(own))) for name, own in categories.items()),
    )


def spelled_categories(categories: Sequence[tuple[str, str]]) -> str:
    """Categories, each with its modality, as a card shows them."""
    return ", ".join(f"{name} ({modality})" for name, modality in categories)


def method_card(name: str) -> Card:
    """Summary, paper, version, presets and parameters of a method; the text is its module's docstring."""
    from adbench.methods.base import Choice, Search  # late: methods need torch
    from adbench.methods.registry import method_class, method_entry

    entry, kind = method_entry(name), method_class(name)
    rows = []
    for key, field in kind.config_class.model_fields.items():
        ranges = [item for item in field.metadata if isinstance(item, Search | Choice)]
        default = value_text(entry.fixed.get(key, field.default))
        shown = f"{default} (fixed)" if key in entry.fixed else default
        rows.append((key, shown, describe_field(field), _range(ranges), field.description or ""))
    facts = [("summary", entry.summary), ("paper", kind.paper), ("version", kind.version)]
    if any(kind.config_class.preset("smoke", modality) for modality in _MODALITIES):
        presets = [
            f"{budget:6} {modality:10} "
            + ", ".join(
                f"{k}={v}" for k, v in kind.config_class.preset(budget, modality).items() if k not in entry.fixed
            )
            for budget in _BUDGETS
            for modality in _MODALITIES
        ]
        facts.append((PRESETS, "\n".join(presets)))
    return Card(
        kind="method",
        name=name,
        facts=tuple(facts),
        text=importlib.import_module(kind.__module__).__doc__ or "",
        head=("parameter", "default", "allowed", "searched", "meaning"),
        rows=tuple(rows),
    )


def dataset_card(name: str, categories: str) -> Card:
    """What a dataset's record says of it, and its parameters."""
    kind = dataset_class(name)
    return Card(
        kind="dataset",
        name=name,
        facts=(*dataset_facts(kind), ("categories", categories)),
        text="",
        head=("parameter", "default", "allowed", "meaning"),
        rows=tuple(
            (f"dataset.{key}", value_text(field.default), describe_field(field), field.description or "")
            for key, field in kind.config_class.model_fields.items()
        ),
    )


def value_text(default: Any) -> str:
    """A default as one would write it on the command line."""
    return default if isinstance(default, str) else json.dumps(default)


def _range(ranges: list[Any]) -> str:
    from adbench.methods.base import Search

    if not ranges:
        return "-"
    found = ranges[0]
    condition = f", if {found.only_if[0]} is {' or '.join(map(str, found.only_if[1]))}" if found.only_if else ""
    if isinstance(found, Search):
        return f"{found.low:g} .. {found.high:g}" + (" (log)" if found.log else "") + condition
    return ", ".join(map(str, found.values)) + condition
