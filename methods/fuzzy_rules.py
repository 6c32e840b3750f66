"""Fuzzy IF-THEN rules as data: what an expert knows of a defect, written in YAML (methods/rules/*.yaml are examples).

A file names terms as trapezoids over a region's attributes, and rules that combine them:

    title: what the rules are about
    terms:
      contrast:
        much darker: [open, open, -0.10, -0.03]   # wholly so up to -0.10, no longer from -0.03 on
      elongation:
        long: [0.5, 0.8, open, open]
    rules:
      - name: crack
        if: elongation is long and contrast is much darker
        weight: 0.9                               # how sure the expert is, 0 to 1; 1 if left out
        why: a crack interrupts the current, and nothing else is a thin dark line

Of a region with attributes R the degree of being anomalous is d = max over rules of weight * mu(R), where AND is the
least, OR the greatest membership and NOT is 1 - mu (Zadeh).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from adbench.datasets.errors import RequestError, unknown_name
from adbench.methods.regions import ATTRIBUTES, Values

Membership = Callable[[Mapping[str, Values]], Values]
"""From the attributes [R] of regions to the degree in [0, 1] to which each fulfils a condition."""

_SHIPPED = Path(__file__).with_name("rules")
_TOKEN = re.compile(r"\s*([()]|[\w-]+|\S)")
_OPEN = ("open", None)
_ENDS = ("and", "or", ")")
_TERM = re.compile(r"(?!(?:and|or|not|is)\b)[\w-]+(?: (?!(?:and|or|not|is)\b)[\w-]+)*", re.IGNORECASE)
_SHAPE = "four rising numbers [a, b, c, d]: 0 at a, 1 from b to c, 0 at d; [open, open, c, d] or [a, b, open, open]"


@dataclass(frozen=True)
class Trapezoid:
    """mu rises from 0 at ``a`` to 1 at ``b``, stays, and falls from ``c`` to 0 at ``d``; infinite where open."""

    a: float
    b: float
    c: float
    d: float

    def __call__(self, values: Values) -> Values:
        """Membership of each value, the same shape."""
        rising = _ramp(values, self.a, self.b)
        falling = 1 - _ramp(values, self.c, self.d)
        # At a step (c = d) the edge itself still belongs, as it does where a = b.
        falling = np.where(values <= self.c, 1.0, falling)
        return np.minimum(rising, falling)


def _ramp(values: Values, low: float, high: float) -> Values:
    if np.isinf(low) or low == high:
        return np.where(values >= low, 1.0, 0.0)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


@dataclass(frozen=True)
class Rule:
    """IF ``condition`` THEN anomalous, to the degree ``weight`` * membership; ``why`` is the expert's reason."""

    name: str
    text: str
    condition: Membership
    weight: float
    why: str


@dataclass(frozen=True)
class RuleSet:
    """All rules of a file."""

    title: str
    rules: tuple[Rule, ...]

    def memberships(self, attributes: Mapping[str, Values]) -> Values:
        """weight * mu of every rule for every region, [rules, R]."""
        return np.stack([rule.weight * rule.condition(attributes) for rule in self.rules])

    def degrees(self, attributes: Mapping[str, Values]) -> Values:
        """d [R] in [0, 1] of regions with these ``attributes`` [R]."""
        return np.asarray(self.memberships(attributes).max(axis=0))


def shipped_rules() -> dict[str, Path]:
    """The rule sets that come with adbench, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def rules_path(name: str) -> Path:
    """The file of a shipped rule set, or the path itself; RequestError where there is neither."""
    shipped = shipped_rules()
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    raise unknown_name("rule set", name, shipped, remedy="or give the path of a YAML file with rules of your own")


def load_rules(path: Path) -> RuleSet:
    """The rules of a YAML file; RequestError names file and rule, and says what is allowed."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(
            f"{path}: no readable YAML: {' '.join(str(error).split())}", remedy="see methods/rules/elpv.yaml"
        ) from error
    _check_keys(str(path), content, {"title", "terms", "rules"}, required={"terms", "rules"})
    terms = _terms(path, content["terms"])
    rules = content["rules"]
    if not isinstance(rules, list) or not rules:
        raise RequestError(f"{path}: no rules", allowed="a list of rules, each with name, if and why")
    return RuleSet(
        str(content.get("title", path.stem)), tuple(_rule(path, n, rule, terms) for n, rule in enumerate(rules))
    )


def attribute_table() -> str:
    """One line for each attribute: name, range and meaning."""
    return "\n".join(f"{name} ({a.low:g} to {a.high:g}): {a.meaning}" for name, a in ATTRIBUTES.items())


Terms = Mapping[str, Mapping[str, Trapezoid]]


def _terms(path: Path, content: Any) -> Terms:
    if not isinstance(content, dict) or not all(isinstance(names, dict) for names in content.values()):
        raise RequestError(f"{path}: terms are malformed", allowed="for each attribute its terms: NAME: [a, b, c, d]")
    for attribute in content:
        if attribute not in ATTRIBUTES:
            raise _unknown_attribute(f"{path}: terms", str(attribute))
    for name in (str(name) for names in content.values() for name in names):
        if not _TERM.fullmatch(name):
            raise RequestError(
                f"{path}: a term cannot be called '{name}'", allowed="words other than and, or, not, is"
            )
    return {
        attribute: {
            str(name): _trapezoid(f"{path}: term '{attribute} is {name}'", attribute, points)
            for name, points in names.items()
        }
        for attribute, names in content.items()
    }


def _trapezoid(where: str, attribute: str, points: Any) -> Trapezoid:
    if not isinstance(points, list) or len(points) != 4:
        raise RequestError(f"{where}: {points!r} is no trapezoid", allowed=_SHAPE)
    numbers = []
    for place, point in enumerate(points):
        if point in _OPEN:
            numbers.append(-np.inf if place < 2 else np.inf)
        elif isinstance(point, (int, float)) and not isinstance(point, bool):
            numbers.append(float(point))
        else:
            raise RequestError(f"{where}: {point!r} is no number", allowed=_SHAPE)
    a, b, c, d = numbers
    # Half open sides would rise over an infinite way: at both points or at none.
    if not a <= b <= c <= d or np.isinf(a) != np.isinf(b) or np.isinf(c) != np.isinf(d):
        raise RequestError(f"{where}: {points} do not rise", allowed=_SHAPE)
    low, high = ATTRIBUTES[attribute].low, ATTRIBUTES[attribute].high
    if any(np.isfinite(n) and not low <= n <= high for n in numbers):
        raise RequestError(
            f"{where}: {points} leave the attribute's range",
            allowed=f"{attribute} is from {low:g} to {high:g}: {ATTRIBUTES[attribute].meaning}",
        )
    return Trapezoid(a, b, c, d)


def _rule(path: Path, index: int, content: Any, terms: Terms) -> Rule:
    name = content.get("name", index + 1) if isinstance(content, dict) else index + 1
    where = f"{path}: rule '{name}'"
    _check_keys(where, content, {"name", "if", "weight", "why"}, required={"name", "if", "why"})
    weight = content.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise RequestError(f"{where}: weight={weight}", allowed="a number from 0 to 1")
    text = " ".join(str(content["if"]).split())
    return Rule(str(name), text, _Parser(where, text, terms).parse(), float(weight), str(content["why"]))


def _check_keys(where: str, content: Any, known: set[str], required: set[str]) -> None:
    if not isinstance(content, dict):
        raise RequestError(
            f"{where}: not a mapping of {', '.join(sorted(known))}", remedy="see methods/rules/elpv.yaml"
        )
    for key in content:
        if key not in known:
            raise unknown_name(f"key in {where}:", str(key), known)
    missing = sorted(key for key in required if content.get(key) in (None, ""))
    if missing:
        raise RequestError(f"{where}: {', '.join(missing)} is missing", allowed=", ".join(sorted(known)))


def _unknown_attribute(where: str, name: str) -> RequestError:
    error = unknown_name(f"attribute in {where}:", name, ATTRIBUTES)
    return RequestError(error.problem, allowed="\n           ".join(attribute_table().splitlines()))


class _Parser:
    """Recursive descent over: expression = all {OR all}; all = one {AND one}; one = NOT one | (expression) | is."""

    def __init__(self, where: str, text: str, terms: Terms) -> None:
        self._where = f"{where}, if: {text}"
        self._terms = terms
        self._tokens = _TOKEN.findall(text)[::-1]

    def parse(self) -> Membership:
        condition = self._expression()
        if self._tokens:
            raise self._error(f"'{self._tokens[-1]}' is left over")
        return condition

    def _expression(self) -> Membership:
        return _joined(np.maximum, self._several("or", lambda: _joined(np.minimum, self._several("and", self._one))))

    def _several(self, word: str, part: Callable[[], Membership]) -> list[Membership]:
        parts = [part()]
        while self._tokens and self._tokens[-1].lower() == word:
            self._tokens.pop()
            parts.append(part())
        return parts

    def _one(self) -> Membership:
        token = self._next("a condition")
        if token.lower() == "not":
            return _negated(self._one())
        if token == "(":
            condition = self._expression()
            if self._next("')'") != ")":
                raise self._error("a bracket is not closed")
            return condition
        return self._is(token)

    def _is(self, attribute: str) -> Membership:
        if attribute not in ATTRIBUTES:
            raise _unknown_attribute(self._where, attribute)
        if self._next("'is'").lower() != "is":
            raise self._error(f"'is' is expected after '{attribute}'")
        words = [self._next("a term")]
        while self._tokens and self._tokens[-1].lower() not in _ENDS:
            words.append(self._tokens.pop())
        negative = words[0].lower() == "not"
        name = " ".join(words[negative:])
        known = self._terms.get(attribute, {})
        if name not in known:
            raise unknown_name(f"term of {attribute} in {self._where}:", name, known)
        shape = known[name]

        def membership(attributes: Mapping[str, Values]) -> Values:
            return shape(attributes[attribute])

        return _negated(membership) if negative else membership

    def _next(self, expected: str) -> str:
        if not self._tokens:
            raise self._error(f"{expected} is expected at the end")
        return str(self._tokens.pop())

    def _error(self, problem: str) -> RequestError:
        return RequestError(
            f"{self._where}: {problem}", allowed="ATTRIBUTE is [not] TERM, joined by and, or, not and brackets"
        )


def _joined(take: Callable[[Values, Values], Values], parts: Iterable[Membership]) -> Membership:
    several = list(parts)
    if len(several) == 1:
        return several[0]
    return lambda attributes: reduce(take, [part(attributes) for part in several])


def _negated(part: Membership) -> Membership:
    return lambda attributes: 1 - part(attributes)
