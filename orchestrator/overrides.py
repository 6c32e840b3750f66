"""``key=value`` arguments in Hydra's override grammar, sorted by what they address."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, QuotedString, RangeSweep, Sweep
from hydra.errors import HydraException

from adbench.datasets.errors import RequestError

GRAMMAR = "key=value, key=a,b, key=[a,b], key=range(0,5), +key=value or ~key"
_SELECTORS = {"method", "dataset", "category", "seed"}
_BARE_NAME = re.compile(r"[\w.-]+")
# What the shell hands us as one word may hold characters that the grammar wants quoted.
_PATHS = {f"method.{key}" for key in ("weights", "rules", "textures", "teacher_weights", "imagenette")}
_RANGE = "search.space."
_FREE_TEXT = {"suite", "out", "data_root", "cache_dir", "address", *_PATHS}
_FREE_TEXT |= {"dataset.root", "dataset.table", "dataset.normal"}


@dataclass
class Overrides:
    """Parsed overrides. Values of ``method_params`` and ``dataset_params`` are lists: one entry, or a sweep's."""

    suite: str | None = None
    methods: list[str] | None = None
    datasets: list[str] | None = None
    categories: list[str] | None = None
    seeds: list[Any] | None = None
    method_params: dict[str, list[Any]] = field(default_factory=dict)
    dataset_params: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


def parse_overrides(arguments: Sequence[str]) -> Overrides:
    """Parse ``arguments``; RequestError shows one that is not in the grammar."""
    found = Overrides()
    for argument in arguments:
        key, values = _parse(argument)
        room, _, parameter = key.partition(".")
        if values is None:
            found.removed.append(key)
        elif key in _SELECTORS:
            _select(found, key, values)
        elif room == "method" and parameter:
            found.method_params[parameter] = values
        elif room == "dataset" and parameter:
            found.dataset_params[parameter] = _single(argument, values)
        elif key.startswith(_RANGE):
            found.ranges[key.removeprefix(_RANGE)] = values[0]
        elif room == "search" and parameter:
            found.search[parameter] = values[0] if len(values) == 1 else values
        elif key == "suite":
            found.suite = str(_single(argument, values))
        else:
            # A list key such as seeds may be given as seeds=0,1 too.
            found.settings[key] = values[0] if len(values) == 1 else values
    return found


def _parse(argument: str) -> tuple[str, list[Any] | None]:
    """The key and its values; None for a removal (~key)."""
    key, separator, text = argument.partition("=")
    if not key.lstrip("+") or (not separator and not argument.startswith("~")):
        raise RequestError(
            f"'{argument}' is not an override", allowed=GRAMMAR, remedy=f"write {argument}=VALUE, or drop it"
        )
    if key.startswith(_RANGE):  # A range is no value: the space reads it.
        return key, [text]
    if key.lstrip("+") in _FREE_TEXT and text[:1] not in "'\"":
        return key.lstrip("+"), [text]
    if key in _SELECTORS - {"seed"} and _BARE_NAME.fullmatch(text):
        return key, [text]  # A category may be called 01 or true.
    try:
        override: Override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise RequestError(
            f"cannot read the override '{argument}': {str(error).splitlines()[0]}",
            allowed=GRAMMAR,
            remedy="quote values with special characters: \"key='a b'\"",
        ) from error
    if override.type == OverrideType.DEL:
        return str(override.key_or_group), None
    return str(override.key_or_group), _values(argument, override.value())


def _values(argument: str, value: Any) -> list[Any]:
    if isinstance(value, ChoiceSweep):
        return [plain_value(item) for item in value.list]
    if isinstance(value, RangeSweep):
        return list(value.range())
    if isinstance(value, Sweep):
        raise RequestError(f"'{argument}': only lists and range(...) make sense here", allowed=GRAMMAR)
    return [plain_value(value)]


def plain_value(value: Any) -> Any:
    """A value of Hydra's parser as YAML would give it."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(plain_value(key)): plain_value(item) for key, item in value.items()}
    return value


def _select(found: Overrides, key: str, values: list[Any]) -> None:
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    if key == "seed":
        found.seeds = flat
    else:
        plural = {"method": "methods", "dataset": "datasets", "category": "categories"}[key]
        setattr(found, plural, [str(item) for item in flat])


def _single(argument: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise RequestError(f"'{argument}' takes one value", allowed="a single value; write a list as [a,b]")
    return values[0]
