"""The space of a search: the parameters of a config class that have a search range, and how Optuna draws from it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.parameters import validate
from adbench.methods.base import Choice, Condition, MethodConfig, Search
from adbench.orchestrator.overrides import plain_value

RANGES = "interval(0.01,1), tag(log,interval(1e-4,1e-1)), range(1,6), or choice(a,b)"
_GRID_POINTS = 5

Distribution = FloatDistribution | IntDistribution | CategoricalDistribution


@dataclass(frozen=True)
class Parameter:
    """One dimension; drawn only where its condition holds, for elsewhere it has no effect."""

    distribution: Distribution
    only_if: Condition | None = None

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """A value from Optuna."""
        found = self.distribution
        if isinstance(found, CategoricalDistribution):
            return _decoded(trial.suggest_categorical(name, found.choices))
        if isinstance(found, IntDistribution):
            return trial.suggest_int(name, found.low, found.high, step=found.step, log=found.log)
        return trial.suggest_float(name, found.low, found.high, log=found.log)

    def grid(self) -> list[Any]:
        """All choices, or evenly spread values of a range (of its logarithm, where that is searched)."""
        found = self.distribution
        if isinstance(found, CategoricalDistribution):
            return list(found.choices)
        spread = np.geomspace if found.log else np.linspace
        points: list[float] = spread(found.low, found.high, _GRID_POINTS).tolist()
        if isinstance(found, FloatDistribution):
            return points
        return sorted({found.low + round((point - found.low) / found.step) * found.step for point in points})


Space = Mapping[str, Parameter]


def space_of(base: MethodConfig, fixed: Collection[str], ranges: Mapping[str, str]) -> dict[str, Parameter]:
    """The space around a method's parameters ``base``, in the order of the config's fields.

    ``fixed`` names parameters that were set, and so are not searched; ``ranges`` are ranges of the user's own, in
    Hydra's grammar, also of parameters that are not searched by default. RequestError: an unknown parameter, a range
    that cannot be read or that the parameter does not allow, or nothing to search.
    """
    kind = type(base)
    for name in ranges:
        if name not in kind.model_fields:
            raise unknown_name("parameter to search", name, kind.model_fields)
        if name in fixed:
            raise RequestError(
                f"method.{name} is set, and search.space.{name} searches it", remedy="drop one of them"
            )
    space: dict[str, Parameter] = {}
    for name, field in kind.model_fields.items():
        own = next((item for item in field.metadata if isinstance(item, Search | Choice)), None)
        condition = own.only_if if own else None
        whole = field.annotation is int
        if name in ranges:
            space[name] = Parameter(_read(name, ranges[name], whole), condition)
            for value in _ends(space[name].distribution):
                validate(kind, {name: value}, prefix="search.space.")
        elif own is not None and name not in fixed:
            space[name] = Parameter(_distribution(own, whole), condition)
    kept = {name: parameter for name, parameter in space.items() if _may_matter(parameter, space, base)}
    if not kept:
        raise RequestError(
            "nothing to search: every parameter is set", remedy="set fewer, or give search.space.NAME="
        )
    return kept


def draw(trial: optuna.Trial, space: Space, base: MethodConfig) -> dict[str, Any]:
    """Values of the space's parameters for a trial, without those that have no effect beside the others."""
    drawn: dict[str, Any] = {}
    for name, parameter in space.items():
        if parameter.only_if is None or _holds(parameter.only_if, drawn, base):
            drawn[name] = parameter.suggest(trial, name)
    return drawn


def decoded(params: Mapping[str, Any]) -> dict[str, Any]:
    """A method's parameters from what Optuna stores."""
    return {name: _decoded(value) for name, value in params.items()}


def encoded(params: Mapping[str, Any], space: Space) -> dict[str, Any] | None:
    """A method's parameters as Optuna stores them, to be tried first; None if some lie outside the space."""
    found = {name: _encoded(params[name]) for name in space if name in params}
    inside = all(_contains(space[name].distribution, value) for name, value in found.items())
    return found if inside else None


def grid(space: Space) -> dict[str, list[Any]]:
    """Values of every parameter, for a search that tries all combinations."""
    return {name: parameter.grid() for name, parameter in space.items()}


def grid_size(space: Space) -> int:
    """How many combinations there are."""
    return int(np.prod([len(values) for values in grid(space).values()]))


def _distribution(own: Search | Choice, whole: bool) -> Distribution:
    if isinstance(own, Choice):
        return CategoricalDistribution([_encoded(value) for value in own.values])
    if whole:
        return IntDistribution(round(own.low), round(own.high), log=own.log)
    return FloatDistribution(own.low, own.high, log=own.log)


def _read(name: str, text: str, whole: bool) -> Distribution:
    """A range in Hydra's grammar."""
    refusal = RequestError(f"search.space.{name}={text} is no range", allowed=RANGES, remedy="quote it for the shell")
    try:
        found = OverridesParser.create().parse_override(f"x={text}").value()
    except HydraException:
        raise refusal from None
    try:
        if isinstance(found, ChoiceSweep):
            return CategoricalDistribution([_encoded(plain_value(value)) for value in found.list])
        if isinstance(found, RangeSweep):
            values = found.range()
            return IntDistribution(int(values[0]), int(values[-1]), step=int(found.step))
        if isinstance(found, IntervalSweep):
            low, high, log = found.start, found.end, "log" in found.tags
            return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
    except (TypeError, ValueError, IndexError):
        raise refusal from None
    raise refusal


def _ends(found: Distribution) -> list[Any]:
    if isinstance(found, CategoricalDistribution):
        return [_decoded(value) for value in found.choices]
    return [found.low, found.high]


def _contains(distribution: Distribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def _encoded(value: Any) -> Any:
    """Optuna stores no lists."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _holds(condition: Condition, drawn: Mapping[str, Any], base: MethodConfig) -> bool:
    name, values = condition
    return (drawn[name] if name in drawn else getattr(base, name)) in values


def _may_matter(parameter: Parameter, space: Space, base: MethodConfig) -> bool:
    """Whether the condition can hold anywhere in the space."""
    if parameter.only_if is None:
        return True
    name, values = parameter.only_if
    if name in space:
        distribution = space[name].distribution
        assert isinstance(distribution, CategoricalDistribution)
        return any(_decoded(choice) in values for choice in distribution.choices)
    return getattr(base, name) in values
