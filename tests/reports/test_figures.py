"""Figures: what they show, that Plotly accepts them, and that names in them stay text."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray
from plotly import colors

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
    bars = [trace for trace in rest if "no difference" in str(trace.get("hovertext"))]
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
    line, front, others = figure["data"]
    assert (front["hovertext"], others["hovertext"]) == (["cheap", "good"], ["beaten"])
    assert line["x"] == [1.0, 100.0]
    assert figure["layout"]["xaxis"]["type"] == "log"


# What people with no cones of one kind see, as matrices on linear RGB: Machado, Oliveira and Fernandes 2009, table 1.
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color: str) -> NDArray[np.float64]:
    share = np.array(colors.hex_to_rgb(color)) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of a colour in linear RGB, for daylight."""
    share = TO_XYZ @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", [figures.COLOURS, (figures.FRONT, figures.OTHER)], ids=["methods", "front"])
def test_colours_are_told_apart_by_all_common_kinds_of_colour_vision(vision: str, palette: tuple[str, ...]) -> None:
    seen = [lab(np.array(VISION[vision]) @ linear(color)) for color in palette]
    apart = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
    assert min(apart) > 15  # of patches side by side, a difference of 2.3 can just be seen


@pytest.mark.parametrize("color", [*figures.COLOURS, figures.FRONT, figures.OTHER, figures.LINE])
def test_colours_stand_out_from_the_light_and_the_dark_ground(color: str) -> None:
    style = (Path(figures.__file__).parent / "page.css").read_text(encoding="utf-8")
    grounds = set(re.findall(r"--panel: (#\w{6})", style))
    assert len(grounds) == 2
    for ground in grounds:
        dark, light = sorted(float(linear(one) @ TO_XYZ[1]) for one in (color, ground))
        assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.2, 1.4.11
