"""The command line that repeats a cell."""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from adbench.datasets.base import Dataset
from adbench.methods.base import MethodConfig
from adbench.methods.registry import method_entry
from adbench.orchestrator.request import DatasetSpec, MethodSpec, Request

_PLAIN = re.compile(r"[A-Za-z0-9_./:-]+")


def reproduce_command(
    request: Request,
    dataset_name: str,
    dataset: Dataset,
    category: str,
    method: str,
    config: MethodConfig,
    suited_to: str | None,
) -> str:
    """``adbench run ...`` with every value that differs from what the same words would choose by themselves; its seed
    is still to be added. ``suited_to`` is the category that the method's own choices are for; None: all of them."""
    preset = type(config).suited(request.budget, dataset, suited_to)
    expected = type(config)(**{**preset, **method_entry(method).fixed})
    words = [
        f"suite={request.source or request.name}",
        f"method={method}",
        f"dataset={dataset_name}",
        f"category={hydra_value(category)}",
        f"budget={request.budget}",
        f"image_size={request.pixels()}",
        f"split_seed={request.split_seed}",
        *[f"{key}={hydra_value(value)}" for key, value in _protocol(request).items()],
        *([f"workers_per_lane={request.workers_per_lane}"] if request.workers_per_lane != 1 else []),
        *([f"cpus_per_lane={request.cpus_per_lane}"] if request.cpus_per_lane != 1 else []),
        *_differences("method", config, expected.model_dump(), _set_by_suite(request.methods, method)),
        *_differences(
            "dataset",
            dataset.config,
            type(dataset.config)().model_dump(),
            _set_by_suite(request.datasets, dataset_name),
        ),
    ]
    return "adbench run " + " ".join(shlex.quote(word) for word in words)


def _protocol(request: Request) -> dict[str, Any]:
    """The protocol's keys that are not at their default, or that the suite may set to something else."""
    chosen = dataclasses.asdict(request.protocol)
    return {key: chosen[key] for key in chosen if key in request.model_fields_set}


def _set_by_suite(specs: Sequence[MethodSpec | DatasetSpec], name: str) -> set[str]:
    """Parameters that the suite would set again, and that must be said for that reason."""
    return {key for spec in specs if spec.name == name for key in spec.params}


def _differences(room: str, config: BaseModel, expected: Mapping[str, Any], said: set[str]) -> list[str]:
    values = config.model_dump()
    return [
        f"{room}.{key}={hydra_value(value)}" for key, value in values.items() if value != expected[key] or key in said
    ]


def hydra_value(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(hydra_value(item) for item in value) + "]"
    text = str(value)
    if not isinstance(value, str) or _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
