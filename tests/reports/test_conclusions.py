"""Sentences under figures say what their numbers say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.reports.conclusions import listed, of_categories, of_cost, of_rocs
from adbench.reports.statistics import pareto_front

NAN = float("nan")


def categories(values: list[list[float]], *, higher: bool = True) -> str:
    table = np.array(values, dtype=np.float64)
    names = [f"m{index}" for index in range(table.shape[1])]
    return of_categories(table, names, [f"c{index}" for index in range(len(table))], higher=higher)


def test_the_leader_and_the_widest_gap_are_named() -> None:
    text = categories([[90, 80], [70, 95], [60, 50]])
    assert text.startswith("m0 has the best mean (or one equal to it) in 2 of 3 categories; ")
    assert "furthest apart on c1, by 25.0 points" in text
    text = categories([[90, 80], [70, 95], [60, 50]], higher=False)
    assert text.startswith("m1 has the best mean") and "in 2 of 3" in text


def test_shared_leads_gaps_and_single_methods() -> None:
    assert categories([[90, 90], [80, 80]]).startswith("m0 and m1 have each the best mean")
    assert categories([[90, NAN], [NAN, 80], [70, 60]]).startswith(
        "m0 has the best mean (or one equal to it) in the one"
    )
    assert categories([[90, NAN], [NAN, 80]]) == "No category has values of two methods: nothing is compared."
    assert (
        categories([[90], [80]])
        == of_cost(["m"], np.ones(1), np.ones(1), np.ones(1, bool))
        == ("One method alone: nothing is compared.")
    )


def cost(spent: list[float], quality: list[float]) -> str:
    x, y = np.array(spent, dtype=np.float64), np.array(quality, dtype=np.float64)
    return of_cost([f"m{index}" for index in range(len(x))], x, y, pareto_front(x, y))


def test_what_is_worth_its_cost() -> None:
    text = cost([1, 10, 5], [70, 90, 60])
    assert text.startswith("Worth their cost are m0 and m1: ")
    assert "m1 gains 20.0 points over m0, at 10 times its cost" in text
    assert cost([1, 10], [90, 70]).startswith("No method is better than m0, and none costs less. ")
    assert "which costs nothing here" in cost([0, 10], [70, 90])
    assert cost([1, 10], [70, 90]).startswith("No method is beaten by one that costs no more. m1 gains")
    assert "gains" not in cost([0, 0, 5], [90, 90, 90]) and "Worth their cost are m0 and m1" in cost(
        [0, 0, 5], [90] * 3
    )


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=2, max_size=3))
def test_exactly_the_front_is_named(points: list[tuple[int, int]]) -> None:
    spent, quality = zip(*points, strict=True)
    text = cost(list(spent), list(quality))
    front = pareto_front(np.array(spent, dtype=np.float64), np.array(quality, dtype=np.float64))
    if front.all():
        assert text.startswith("No method is beaten")
        return
    first = text.split(":")[0].split(",")[0] if "Worth" not in text else text.split(":")[0]
    for index, on_it in enumerate(front):
        assert (f"m{index}" in first) == (bool(on_it) if front.sum() > 1 else index == int(np.argmax(front)))


def test_image_rocs_are_compared_by_images() -> None:
    text = of_rocs([0.5, 0.75, 0.75], ["a", "b", "c"], rate=0.05, n_anomalous=8)
    assert text.startswith(
        "With at most 5 % false alarms b and c find equally many (b 75.0 %, c 75.0 %). One of the 8"
    )
    text = of_rocs([0.5, 0.75], ["a", "b"], rate=0.05, n_anomalous=8)
    assert "no method finds more than b (b 75.0 %, a 50.0 %)" in text and "is 12.5 points" in text
    assert of_rocs([0.5], ["a"], rate=0.05, n_anomalous=8) == "One method alone: nothing is compared."


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"), (list("abcde"), "a, b and 3 more")],
)
def test_long_lists_are_counted(names: list[str], text: str) -> None:
    assert listed(names) == text
