"""Sentences under a search's figures: true of the trials, and only as bold as they allow."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from adbench.reports import conclusions_search as conclusions

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "kind": CategoricalDistribution(["plain", "odd"]),
}


def trial(number: int, value: float, params: Mapping[str, Any]) -> FrozenTrial:
    found = create_trial(value=value, params=dict(params), distributions={name: SPACE[name] for name in params})
    found.number = number
    return found


def ranked(values: list[float], rates: list[float], kinds: list[str]) -> list[FrozenTrial]:
    found = [
        trial(number, value, {"rate": rate, "kind": kind})
        for number, (value, rate, kind) in enumerate(zip(values, rates, kinds, strict=True))
    ]
    return sorted(found, key=lambda one: -float(one.values[0]))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_what_is_said_of_a_history_is_so(values: list[int]) -> None:
    trials = ranked([float(one) for one in values], [1e-2] * len(values), ["plain"] * len(values))
    text = conclusions.of_history(trials)
    best = values.index(max(values))
    if best == len(values) - 1:
        assert f"the last complete one, {best}:" in text
    else:
        assert text.startswith(f"Trial {best} is the best")
        told = re.search(r"none of the (\d+) complete trials after", text)
        assert (int(told[1]) if told else 1) == len(values) - 1 - best


def test_the_best_trials_agree_in_a_part_of_the_range_or_in_nothing() -> None:
    values, rates = [float(one) for one in range(20)], [10 ** (-1 - 3 * (19 - one) / 19) for one in range(20)]
    text = conclusions.of_lines(ranked(values, rates, ["plain", "odd"] * 10))
    assert "The best 3 trials have rate from 0.0483 to 0.1 (tried: 0.0001 to 0.1)." in text and "kind" not in text
    text = conclusions.of_lines(ranked(values, rates, ["odd"] * 17 + ["plain"] * 3))
    assert "have rate from 0.0483 to 0.1 (tried: 0.0001 to 0.1) and kind = plain." in text
    spread = [1e-4, 1e-1] * 10
    assert "agree in no parameter" in conclusions.of_lines(ranked(values, spread, ["plain", "odd"] * 10))
    assert "too few" in conclusions.of_lines(ranked(values[:3], rates[:3], ["plain"] * 3))


def test_importances_are_told_from_the_largest() -> None:
    text = conclusions.of_importances(["a", "b", "c", "d"], [0.1, 0.5, 0.25, 0.15], 40)
    assert "by b (50 %), c (25 %) and 2 more, as far as 40 trials tell" in text


def test_slices_name_the_best_setting() -> None:
    text = conclusions.of_slices(ranked([0.5, 0.7], [1e-4, 0.0123456], ["plain", "odd"]))
    assert text.startswith("The best trial has rate = 0.0123 and kind = odd.")


@pytest.mark.parametrize("count", [1, 4])
def test_a_front_is_counted(count: int) -> None:
    assert conclusions.of_front(count, 9).startswith(f"{count} of 9 complete trials are on the front")
