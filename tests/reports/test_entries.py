"""Which runs form one row of the leaderboard."""

from collections.abc import Callable

import pytest

from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import RunResult

CHOSEN = '["lr","rules"]'
ONE, TWO = '{"lr":1,"rules":"one"}', '{"lr":1,"rules":"two"}'
APART = ['kist · rules="one"', 'kist · rules="two"']


@pytest.mark.parametrize(
    ("runs", "rows"),
    [
        pytest.param([("a", ONE, CHOSEN), ("b", TWO, CHOSEN)], ["kist"], id="chosen by the method"),
        pytest.param([("a", ONE, CHOSEN), ("b", TWO, '["lr"]')], APART, id="set by somebody"),
        pytest.param([("a", ONE, CHOSEN), ("b", TWO, None)], APART, id="not known who set it"),
        pytest.param([("a", ONE, CHOSEN), ("a", TWO, '["lr"]'), ("b", TWO, CHOSEN)], APART, id="varied"),
    ],
)
def test_what_a_method_chooses_by_the_data_makes_no_rows(
    runs: list[tuple[str, str, str | None]],
    rows: list[str],
    make_result: Callable[..., RunResult],
    build: Callable[..., Leaderboard],
) -> None:
    results = [
        make_result(method="kist", category=category, params=params, preset_params=preset)
        for category, params, preset in runs
    ]
    assert [entry.label for entry in build(*results).entries] == rows
