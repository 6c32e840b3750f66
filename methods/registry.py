"""The table of methods: one line each, or an entry point in the group ``adbench.methods`` of any package."""

import importlib
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from adbench.datasets.errors import RequestError, unknown_name

if TYPE_CHECKING:  # Listing methods must not import torch.
    from adbench.methods.base import Method


@dataclass(frozen=True)
class MethodEntry:
    """A line of the table: ``target`` is MODULE:CLASS, ``fixed`` parameters make it a variant of that class."""

    target: str
    summary: str
    fixed: dict[str, Any] = field(default_factory=dict)


_TABLE = {
    "ckaad": MethodEntry(
        "adbench.methods.ckaad:CKAAD",
        "feature reconstruction, kept from rebuilding anomalies by an adversary that knows a few labelled ones",
    ),
    "recon": MethodEntry(
        "adbench.methods.ckaad:CKAAD",
        "plain feature reconstruction: ckaad without anomalies or adversary (r = 0), the baseline",
        fixed={
            "anomaly_ratio": 0.0,
            "w_adv": 0.0,
            "pseudo_anomalies": "never",
            # Without anomalies these have no effect; fixed, so that sweeping one does not repeat the same run.
            "labelled_classes": 0,
            "level": "patch",
            "gamma": 0.5,
            "lr_d": 1e-4,
            "elastic_alpha": 200.0,
            "elastic_sigma": 5.0,
        },
    ),
}


def methods() -> dict[str, MethodEntry]:
    """Every known method by name, sorted."""
    found = dict(_TABLE)
    for point in entry_points(group="adbench.methods"):
        found.setdefault(point.name, MethodEntry(point.value, f"from the package {point.module.split('.')[0]}"))
    return dict(sorted(found.items()))


def method_entry(name: str) -> MethodEntry:
    """The table's line; RequestError with the nearest name if there is none."""
    known = methods()
    if name not in known:
        raise unknown_name("method", name, known, remedy="`adbench ls methods` lists them")
    return known[name]


def method_class(name: str) -> "type[Method]":
    """The class behind a name."""
    target = method_entry(name).target
    module, _, attribute = target.partition(":")
    try:
        found: type[Method] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(
            f"method '{name}' cannot be imported from {target}: {error}",
            remedy="repair or uninstall the package that registers it in the group adbench.methods",
        ) from error
    return found
