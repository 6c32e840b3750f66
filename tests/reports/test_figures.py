"""Figures: what they show, that Plotly accepts them, and that names in them stay text."""

import json
from collections.abc import Callable

import plotly.graph_objects as go
import pytest

from adbench.reports import figures
from adbench.reports.figures_ranks import MOST_METHODS, rank_diagram
from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import COSTS, RunResult

Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]


def test_every_figure_is_one_that_plotly_accepts(make_result: Make, build: Build) -> None:
    board = build(
        *(
            make_result(method=method, category=category)
            for method in ("ckaad", "ssae")
            for category in ("gear", "weave")
        ),
        make_result(method="ckaad", category="noise", status="failed"),
    )
    accepted = 0
    for part in board.slices:
        for metric in ("image_auroc", "image_ece"):  # one that rises and one that falls with quality
            tables = figures.category_values(board.sorted, part.budget, metric)
            found = [figures.heat_map(board.sorted, part, metric, tables)]
            found += [figures.cost_scatter(board.sorted, part, metric, cost) for cost in COSTS]
            found += [rank_diagram(board.sorted, part.metrics[metric])] if metric in part.metrics else []
            for figure in filter(None, found):
                go.Figure(figure)  # raises for an unknown attribute or a wrong value
                accepted += 1
    assert accepted >= 8


def test_heat_map_shows_values_and_marks_gaps(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="a", category="gear", metrics={"image_auroc": 0.5}),
        make_result(method="a", category="noise", metrics={"image_auroc": None}),
        make_result(method="a", category="weave", metrics={"image_auroc": 0.9}),
        make_result(method="b", category="gear", status="failed"),
        make_result(method="b", category="noise", metrics={"image_auroc": 0.75}),
    )
    tables = figures.category_values(board.sorted, "smoke", "image_auroc")
    figure = figures.heat_map(board.sorted, board.slices[0], "image_auroc", tables)
    assert figure is not None
    heat, values, gaps = figure["data"]
    columns = figure["layout"]["xaxis"]["ticktext"]
    assert figure["layout"]["yaxis"]["ticktext"] == ["phantom/gear", "phantom/noise", "phantom/weave"]
    shown = {(columns[x], y): text for x, y, text in zip(values["x"], values["y"], values["text"], strict=True)}
    rows = ["phantom/gear", "phantom/noise", "phantom/weave"]
    assert figure["layout"]["meta"] == {"places": [0, 1, 2], "entries": [0, 1], "rows": rows, "columns": columns}
    assert shown == {("a", 0): "50.0", ("a", 2): "90.0", ("b", 1): "75.0"}
    marks = {(columns[x], y): text for x, y, text in zip(gaps["x"], gaps["y"], gaps["text"], strict=True)}
    assert marks == {("b", 0): "✕", ("a", 1): "–", ("b", 2): "·"}
    assert [row[columns.index("a")] for row in heat["z"]] == [50.0, None, 90.0]
    assert figure["conclusion"] == "No category has values of two methods: nothing is compared."


@pytest.mark.parametrize(("value", "scale"), [(1.0, (99.0, 100.0)), (0.0, (0.0, 1.0)), (0.5, (49.0, 50.0))])
def test_the_colours_of_equal_values_stay_within_what_is_possible(
    value: float, scale: tuple[float, float], make_result: Make, build: Build
) -> None:
    board = build(*(make_result(method=method, metrics={"image_auroc": value}) for method in ("a", "b")))
    tables = figures.category_values(board.sorted, "smoke", "image_auroc")
    figure = figures.heat_map(board.sorted, board.slices[0], "image_auroc", tables)
    assert figure is not None
    assert (figure["data"][0]["zmin"], figure["data"][0]["zmax"]) == scale


def test_names_in_figures_are_not_read_as_markup(make_result: Make, build: Build) -> None:
    link = "<a href='javascript:alert(1)'>x</a>"
    board = build(*(make_result(method=method, category=link) for method in ("<b>bold</b> & co", "<i>other</i>")))
    tables = figures.category_values(board.sorted, "smoke", "image_auroc")
    found = [
        figures.heat_map(board.sorted, board.slices[0], "image_auroc", tables),
        figures.cost_scatter(board.sorted, board.slices[0], "image_auroc", "fit_seconds"),
        rank_diagram(board.sorted, board.slices[0].metrics["image_auroc"]),
    ]
    assert None not in found
    text = json.dumps([[one["data"], one["layout"]] for one in found if one])
    assert "&lt;b&gt;bold" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "<a " not in text


@pytest.mark.parametrize("methods", [2, 6, MOST_METHODS + 2])
def test_rank_diagram_shows_methods_on_one_axis_and_joins_groups(
    make_result: Make, build: Build, methods: int
) -> None:
    board = build(
        *(
            make_result(
                method=f"m{method:02d}",
                category=f"c{category}",
                images=(),
                metrics={"image_auroc": 0.95 - 0.01 * method + 0.0001 * category},
            )
            for method in range(methods)
            for category in range(7)
        )
    )
    figure = rank_diagram(board.sorted, board.slices[0].metrics["image_auroc"])
    assert figure is not None
    _, dots, *rest = figure["data"]
    shown = min(methods, MOST_METHODS)
    assert dots["x"] == list(range(1, shown + 1))
    assert figure["layout"]["yaxis"]["ticktext"] == [f"m{method:02d}" for method in range(shown)]
    bars = [trace for trace in rest if "no difference" in trace.get("hovertext", "")]
    if methods == 2:
        assert not bars  # all of seven won: p = 2 / 2**7
        return
    found = board.slices[0].metrics["image_auroc"].comparison
    assert found is not None and found.critical_difference is not None
    joined = [(round(sum(bar["x"]) / 2, 6), bar["x"][1] - bar["x"][0]) for bar in bars]
    reach = int(found.critical_difference)  # ranks are whole numbers here
    assert [middle for middle, _ in joined] == [first + reach / 2 for first in range(1, shown - reach + 1)]
    assert all(reach < width < reach * 1.5 for _, width in joined)
    heights = [bar["y"][0] for bar in bars]
    assert len(set(heights)) == len(heights)  # none hides another
    assert max(heights) < min(dots["y"])


def test_cost_scatter_marks_the_pareto_front(make_result: Make, build: Build) -> None:
    points = {"cheap": (1.0, 0.6), "good": (100.0, 0.9), "beaten": (200.0, 0.8)}
    board = build(
        *(
            make_result(method=method, fit_seconds=cost, metrics={"image_auroc": quality})
            for method, (cost, quality) in points.items()
        )
    )
    figure = figures.cost_scatter(board.sorted, board.slices[0], "image_auroc", "fit_seconds")
    assert figure is not None
    front, others = figure["data"]
    assert (front["hovertext"], others["hovertext"]) == (["cheap", "good"], ["beaten"])
    assert figure["layout"]["xaxis"]["type"] == "log"
