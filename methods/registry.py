"""The table of methods: one line each, or an entry point in the group ``adbench.methods`` of any package."""

import functools
import importlib
import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from adbench.datasets.errors import RequestError, unknown_name

if TYPE_CHECKING:  # Listing methods must not import torch.
    from adbench.methods.base import Method


@dataclass(frozen=True)
class MethodEntry:
    """A line of the table: ``target`` is MODULE:CLASS, ``fixed`` parameters make it a variant of that class.

    ``extra`` is the optional extra of adbench-vision without which it cannot be imported, if any.
    """

    target: str
    summary: str
    fixed: dict[str, Any] = field(default_factory=dict)
    extra: str | None = None


_TABLE = {
    "anomalib_draem": MethodEntry(
        "adbench.methods.anomalib_trained:AnomalibDRAEM",
        "DRAEM of anomalib: a network repairs pseudo-anomalies, another segments them",
        extra="anomalib",
    ),
    "anomalib_efficientad": MethodEntry(
        "adbench.methods.anomalib_efficientad:AnomalibEfficientAD",
        "EfficientAD of anomalib: a student and an autoencoder against a small teacher, whose weights are needed",
        extra="anomalib",
    ),
    "anomalib_padim": MethodEntry(
        "adbench.methods.anomalib_models:AnomalibPaDiM",
        "PaDiM of anomalib: a Gaussian over frozen features at every place",
        extra="anomalib",
    ),
    "anomalib_patchcore": MethodEntry(
        "adbench.methods.anomalib_models:AnomalibPatchCore",
        "PatchCore of anomalib: distance to the nearest of a bank of normal patches",
        extra="anomalib",
    ),
    "anomalib_rd": MethodEntry(
        "adbench.methods.anomalib_trained:AnomalibRD",
        "Reverse Distillation of anomalib: a decoder rebuilds the features of a ResNet, whose weights are needed",
        extra="anomalib",
    ),
    "anomalib_stfpm": MethodEntry(
        "adbench.methods.anomalib_trained:AnomalibSTFPM",
        "STFPM of anomalib: a student learns the frozen features of normal images",
        extra="anomalib",
    ),
    "ckaad": MethodEntry(
        "adbench.methods.ckaad:CKAAD",
        "feature reconstruction, kept from rebuilding anomalies by an adversary that knows a few labelled ones",
    ),
    "padim": MethodEntry(
        "adbench.methods.padim:PaDiM",
        "a Gaussian over frozen features at every place, Mahalanobis distance; nothing is trained",
    ),
    "kist": MethodEntry(
        "adbench.methods.kist:KIST",
        "reconstruction, kept from rebuilding what experts' rules find anomalous in a few labelled images",
    ),
    "patchcore": MethodEntry(
        "adbench.methods.patchcore:PatchCore",
        "distance to the nearest of a core-set of normal patches; nothing is trained",
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
    "slsg": MethodEntry(
        "adbench.methods.slsg:SLSG",
        "a segmentation network with a graph over places, trained to find simulated anomalies",
    ),
    "ssae": MethodEntry(
        "adbench.methods.ssae:SSAE",
        "an autoencoder that learns to restore corrupted normal images; what it replaces is anomalous",
    ),
}


def methods() -> dict[str, MethodEntry]:
    """Every known method by name, sorted."""
    found = dict(_TABLE)
    for point in _registered(tuple(sys.path)):
        found.setdefault(point.name, MethodEntry(point.value, f"from the package {point.module.split('.')[0]}"))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1)
def _registered(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What packages on ``path`` register; looking takes milliseconds, and a plan asks for every cell."""
    return tuple(entry_points(group="adbench.methods"))


def method_entry(name: str) -> MethodEntry:
    """The table's line; RequestError with the nearest name if there is none."""
    known = methods()
    if name not in known:
        raise unknown_name("method", name, known, remedy="`adbench ls methods` lists them")
    return known[name]


def method_class(name: str) -> "type[Method]":
    """The class behind a name."""
    entry = method_entry(name)
    module, _, attribute = entry.target.partition(":")
    try:
        found: type[Method] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if entry.extra is not None and isinstance(error, ImportError):
            raise RequestError(
                f"method '{name}' needs a package that is not installed: {error}",
                remedy=f"install adbench-vision[{entry.extra}]",
            ) from error
        raise RequestError(
            f"method '{name}' cannot be imported from {entry.target}: {error}",
            remedy="repair or uninstall the package that registers it in the group adbench.methods",
        ) from error
    return found
