"""Rules as experts write them: memberships by hand, and what is said of a mistake."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from adbench.datasets.errors import RequestError
from adbench.datasets.phantom_draw import CATEGORIES
from adbench.methods.fuzzy_rules import RuleSet, Trapezoid, attribute_table, load_rules, rules_path, shipped_rules
from adbench.methods.regions import ATTRIBUTES

INF = np.inf
TERMS = {
    "grey": {"dark": ["open", "open", 0.2, 0.4], "very dark": [0.0, 0.0, 0.1, 0.1]},
    "elongation": {"long": [0.5, 0.7, "open", "open"]},
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def rules_of(folder: Path, *conditions: str, weight: float = 1.0) -> RuleSet:
    rules = [
        {"name": f"r{n}", "if": text, "weight": weight, "why": "because"}
        for n, text in enumerate(conditions, start=1)
    ]
    return load_rules(write(folder, {"terms": TERMS, "rules": rules}))


@pytest.mark.parametrize(
    ("shape", "values", "expected"),
    [
        ((0.0, 1.0, 2.0, 4.0), [-1, 0, 0.25, 1, 1.5, 2, 3, 4, 9], [0, 0, 0.25, 1, 1, 1, 0.5, 0, 0]),
        ((-INF, -INF, 0.2, 0.4), [-5, 0.2, 0.3, 0.4, 1], [1, 1, 0.5, 0, 0]),
        ((0.5, 0.7, INF, INF), [0, 0.5, 0.6, 0.7, 1], [0, 0, 0.5, 1, 1]),
        ((1.0, 1.0, 1.0, 1.0), [0.9, 1, 1.1], [0, 1, 0]),
        ((0.2, 0.2, 0.6, 0.6), [0.19, 0.2, 0.6, 0.61], [0, 1, 1, 0]),
    ],
)
def test_trapezoids_by_hand(shape: tuple[float, float, float, float], values: Any, expected: Any) -> None:
    np.testing.assert_allclose(Trapezoid(*shape)(np.array(values, float)), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("grey is dark", [0.75, 0.25, 0.0]),
        ("grey is not dark", [0.25, 0.75, 1.0]),
        ("not grey is dark", [0.25, 0.75, 1.0]),
        ("grey is dark and elongation is long", [0.5, 0.25, 0.0]),
        ("grey is dark or elongation is long", [0.75, 1.0, 0.5]),
        ("grey is very dark", [0.0, 0.0, 0.0]),
        ("grey is not very dark and elongation is long", [0.5, 1.0, 0.5]),
        # AND binds before OR, NOT before both; brackets change that.
        ("elongation is long or grey is dark and grey is very dark", [0.5, 1.0, 0.5]),
        ("(elongation is long or grey is dark) and grey is very dark", [0.0, 0.0, 0.0]),
        ("not (grey is dark and elongation is long)", [0.5, 0.75, 1.0]),
        ("NOT grey is dark AND elongation is long", [0.25, 0.75, 0.5]),
    ],
)
def test_and_or_not_by_hand(tmp_path: Path, condition: str, expected: list[float]) -> None:
    regions = {"grey": np.array([0.25, 0.35, 0.9]), "elongation": np.array([0.6, 0.8, 0.6])}
    np.testing.assert_allclose(rules_of(tmp_path, condition).degrees(regions), expected, atol=1e-12)


def test_the_degree_is_the_greatest_weighted_membership(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "grey is dark", "elongation is long", weight=0.8)
    regions = {"grey": np.array([0.25, 0.9]), "elongation": np.array([0.55, 0.65])}
    np.testing.assert_allclose(rules.memberships(regions), [[0.6, 0.0], [0.2, 0.6]], atol=1e-12)
    np.testing.assert_allclose(rules.degrees(regions), [0.6, 0.6], atol=1e-12)
    assert rules.degrees({"grey": np.array([]), "elongation": np.array([])}).shape == (0,)


def one_rule(**changes: Any) -> dict[str, Any]:
    rule = {"name": "crack", "if": "grey is dark", "why": "it is", **changes}
    return {"terms": TERMS, "rules": [{key: value for key, value in rule.items() if value is not None}]}


def one_term(points: Any, attribute: str = "grey") -> dict[str, Any]:
    return {**one_rule(), "terms": {attribute: {"dark": points}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one_rule(**{"if": "gray is dark"}), "rule 'crack', if: gray is dark:.* 'gray'; did you mean 'grey'"),
        (one_rule(**{"if": "grey is drak"}), "term of grey .*'drak'; did you mean 'dark'"),
        (one_rule(**{"if": "grey dark"}), "'is' is expected after 'grey'"),
        (one_rule(**{"if": "grey is dark and"}), "a condition is expected at the end"),
        (one_rule(**{"if": "grey is"}), "a term is expected at the end"),
        (one_rule(**{"if": "(grey is dark"}), "'\\)' is expected at the end"),
        (one_rule(**{"if": "grey is dark )"}), "'\\)' is left over"),
        (one_rule(**{"if": ""}), "rule 'crack': if is missing"),
        (one_rule(why=None), "rule 'crack': why is missing"),
        (one_rule(name=None), "rule '1': name is missing"),
        (one_rule(weight=1.5), "rule 'crack': weight=1.5"),
        (one_rule(weight="much"), "rule 'crack': weight=much"),
        (one_rule(wieght=1), "'wieght'; did you mean 'weight'"),
        (one_term([0.1, 0.3, 0.2, 0.4]), "term 'grey is dark': .* do not rise"),
        (one_term(["open", 0.1, 0.2, 0.4]), "do not rise"),
        (one_term([0.1, 0.2, 0.4]), "is no trapezoid"),
        (one_term("dark"), "is no trapezoid"),
        (one_term([0, 0, "low", 1]), "'low' is no number"),
        (one_term([0, 0, 20, 40]), "leave the attribute's range"),
        (one_term([0, 0, 0.1, 0.2], attribute="gray"), "'gray'; did you mean 'grey'"),
        ({**one_rule(), "terms": {"grey": {"dark or so": [0, 0, 0, 1]}}}, "cannot be called 'dark or so'"),
        ({**one_rule(), "terms": {"grey": [0, 0, 0, 1]}}, "terms are malformed"),
        ({"terms": TERMS, "rules": []}, "no rules|rules is missing"),
        ({"terms": TERMS}, "rules is missing"),
        ({"terms": TERMS, "rules": {"crack": 1}}, "no rules"),
        ({"terms": TERMS, "rules": ["crack"]}, "rule '1': not a mapping"),
        ("terms: [1, 2\nrules: ", "no readable YAML"),
        ("", "not a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_place(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(RequestError, match=message) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)


def test_an_unknown_attribute_is_answered_with_the_table(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        load_rules(write(tmp_path, one_rule(**{"if": "darkness is high"})))
    for name in ATTRIBUTES:
        assert name in str(caught.value.allowed)
    assert "grey (0 to 1): mean grey of the region: 0 black, 1 white" in attribute_table().splitlines()


def test_missing_files_and_unknown_sets(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no readable YAML"):
        load_rules(tmp_path / "nothing.yaml")
    with pytest.raises(RequestError, match="unknown rule set 'elvp'; did you mean 'elpv'"):
        rules_path("elvp")
    assert rules_path("elpv") == shipped_rules()["elpv"]
    mine = write(tmp_path, one_rule())
    assert rules_path(str(mine)) == mine


def test_there_are_rules_for_elpv_and_every_phantom_category() -> None:
    assert set(shipped_rules()) == {"elpv", *(f"phantom-{category}" for category in CATEGORIES)}


@pytest.mark.parametrize("name", shipped_rules())
def test_shipped_rules_can_be_fulfilled_and_violated(name: str) -> None:
    """Over random regions every rule holds for some and none for all."""
    rules = load_rules(shipped_rules()[name])
    rng = np.random.default_rng(0)
    regions = {key: rng.uniform(a.low, a.high, 20_000) for key, a in ATTRIBUTES.items()}
    regions["area"] = 10 ** rng.uniform(-4, 0, 20_000)
    regions["contrast"] = rng.uniform(-0.3, 0.3, 20_000)
    held = rules.memberships(regions)
    assert all(rule.why and rule.weight > 0 for rule in rules.rules)
    for rule, membership in zip(rules.rules, held, strict=True):
        assert membership.max() > 0.9 * rule.weight, f"{rule.name} never holds"
    assert (rules.degrees(regions) < 0.1).any()
