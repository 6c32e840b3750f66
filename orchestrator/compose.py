"""A suite's YAML plus overrides -> Request. Hydra's override grammar; unknown keys get the nearest known name.

Hydra's own compose() would treat ``method=`` and ``dataset=`` as config groups, one choice each; here they select
several. So the grammar and its parser are Hydra's, the merge is these few lines.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adbench.benchmark_suites.suites import SuiteSyntaxError, UnknownSuiteError, read_suite, suite_names
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.parameters import validate
from adbench.datasets.protocol import Protocol
from adbench.orchestrator.overrides import Overrides
from adbench.orchestrator.request import DatasetSpec, MethodSpec, Request, SearchSpec

_SUITE_ALONE = {"name", "source", "title", "description", "methods", "datasets", "claims", "references", "shortened"}
SETTABLE = set(Request.model_fields) - _SUITE_ALONE
_PROTOCOL = {field.name for field in dataclasses.fields(Protocol)}
_SUITES_REMEDY = "`adbench ls suites` lists them; your own suite is a path ending in .yaml"


def compose(overrides: Overrides) -> Request:
    """The request that the overrides' suite and the overrides come to, method and dataset parameters not yet placed.

    Raises RequestError for an unknown suite or key, or a value of the wrong type or range.
    """
    content = _read(overrides.suite)
    content["source"] = overrides.suite
    content["methods"] = [_spec(item, "methods") for item in _listed(content, "methods")]
    content["datasets"] = [_spec(item, "datasets") for item in _listed(content, "datasets")]
    for plural, singular in (("methods", "method"), ("datasets", "dataset")):
        if plural in overrides.settings:
            raise RequestError(f"'{plural}' cannot be overridden", remedy=f"choose with {singular}=NAME,NAME")
    for key in overrides.settings:
        if key not in SETTABLE:
            raise unknown_name("key", key, {*SETTABLE, "suite", "method", "dataset", "category", "seed"})
    own_budget = content.get("budget")
    content.update(overrides.settings)
    for key in overrides.removed:
        _remove(content, key)
        if key in _PROTOCOL:  # Set, not unset: the command that repeats a cell must say it again.
            content[key] = Request.model_fields[key].default
    content["shortened"] = content.get("budget") == "smoke" != own_budget
    if content["shortened"] and "image_size" not in overrides.settings:
        content.pop("image_size", None)
    if overrides.methods is not None:
        content["methods"] = _chosen(overrides.methods, content["methods"])
    if overrides.datasets is not None:
        content["datasets"] = _chosen(overrides.datasets, content["datasets"])
    if overrides.seeds is not None:
        content["seeds"] = overrides.seeds
    if overrides.search or overrides.ranges:
        content["search"] = _search(content.get("search", {}), overrides)
    for key in ("out", "cache_dir", "data_root", "source"):
        is_path = key != "source" or str(overrides.suite).endswith((".yaml", ".yml"))
        if is_path and isinstance(content.get(key), str) and content[key] and "://" not in content[key]:
            # Workers change directory: paths are made absolute here, once.
            content[key] = str(Path(content[key]).expanduser().absolute())
    content.setdefault("out", str(Path("adbench-results").absolute()))
    if not isinstance(content.get("seeds", []), list):
        content["seeds"] = [content["seeds"]]
    return validate(Request, content)


def _read(name: str | None) -> dict[str, Any]:
    if name is None:
        raise RequestError(
            "no suite given",
            allowed="suite=NAME or suite=PATH.yaml",
            remedy=f"for instance: suite={suite_names()[0]}",
        )
    try:
        return read_suite(name)
    except UnknownSuiteError as error:
        if name.endswith((".yaml", ".yml")):
            raise RequestError(f"cannot read the suite file {error}", remedy=_SUITES_REMEDY) from None
        raise unknown_name("suite", name, suite_names(), remedy=_SUITES_REMEDY) from None
    except SuiteSyntaxError as error:
        raise RequestError(str(error), remedy="compare with `adbench show suite quickstart`") from None


def _listed(content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content.get(key), list) or not content[key]:
        seen = f", but {content[key]!r}" if key in content else ""
        raise RequestError(f"the suite '{content['name']}' has no list '{key}'{seen}", allowed=f"{key}: [NAME, ...]")
    return list(content[key])


def _spec(item: Any, key: str) -> dict[str, Any]:
    if isinstance(item, str):
        return {"name": item}
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        spec = validate(MethodSpec if key == "methods" else DatasetSpec, item, owner=f"{key}: {item['name']}")
        return spec.model_dump()
    raise RequestError(f"{key} of the suite: {item!r} is neither a name nor a mapping with a name")


def _chosen(names: list[str], specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of the named ones: as the suite has them, or bare."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for spec in specs:
        by_name.setdefault(spec["name"], []).append(spec)
    return [spec for name in dict.fromkeys(names) for spec in by_name.get(name, [{"name": name}])]


def _search(of_suite: Any, overrides: Overrides) -> dict[str, Any]:
    if not isinstance(of_suite, dict):
        raise RequestError(f"search: {of_suite!r} of the suite is no mapping", allowed="search: {trials: 32, ...}")
    spec = {**of_suite, **overrides.search}
    spec["space"] = {**of_suite.get("space", {}), **overrides.ranges}
    validate(SearchSpec, spec, prefix="search.")
    return spec


def _remove(content: dict[str, Any], key: str) -> None:
    room, _, parameter = key.partition(".")
    if parameter and room in ("method", "dataset"):
        holders = [spec.get("params", {}) for spec in content[f"{room}s"]]
    else:
        parameter, holders = key, [content]
    if not any(parameter in holder for holder in holders):
        raise RequestError(f"~{key}: the suite does not set '{key}'", remedy="drop it")
    for holder in holders:
        holder.pop(parameter, None)
