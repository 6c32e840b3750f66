"""Curves: lines of runs that differ in one parameter, with means over equal cells and intervals over seeds."""

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from adbench.reports.curves import ALL, build_curves, find_lines, levels_by_cell, points
from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import RunResult

Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]


def run(make_result: Make, value: float, seed: int, **more: Any) -> RunResult:
    params = json.dumps(more.pop("params", {}))
    return make_result(params=params, seed=seed, images=(), metrics={"image_auroc": value}, gallery=None, **more)


def test_points_are_means_over_equal_cells_with_intervals_over_seeds(make_result: Make, build: Build) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, (3, 2, 3))  # level, category, seed
    results = [
        run(make_result, values[i, j, seed], seed, category="ab"[j], params={"gamma": gamma, "depth": 2})
        for (i, gamma), j, seed in product(enumerate((0.1, 0.5, 0.9)), range(2), range(3))
    ]
    # a cell that one level alone has counts nowhere
    board = build(*results, run(make_result, 0.0, 9, category="a", params={"gamma": 0.1, "depth": 2}))
    (line,) = find_lines(board, "smoke")
    assert (line.parameter, line.label) == ("gamma", "ckaad")
    found = points(levels_by_cell(line, "image_auroc"), [0, 1])
    assert found is not None
    assert (found.levels, found.n_categories, found.n_cells) == (("0.1", "0.5", "0.9"), 2, 6)
    assert found.mean == pytest.approx(values.mean(axis=(1, 2)))
    assert found.interval == "seeds"
    one = points(levels_by_cell(line, "image_auroc"), [0])
    assert one is not None and (one.n_categories, one.n_cells) == (1, 3)
    assert one.mean == pytest.approx(values[:, 0].mean(axis=1))
    parts = build_curves(board)
    trace = parts[0]["gamma"]["image_auroc"]["data"][0]
    assert trace["x"] == [0.1, 0.5, 0.9] and trace["y"] == pytest.approx(100 * values.mean(axis=(1, 2)), abs=1e-3)
    assert trace["error_y"]["array"] == pytest.approx((100 * (found.high - found.mean)).tolist(), abs=1e-3)
    assert (found.low < found.mean).all() and (found.mean < found.high).all()
    meta = parts[0]["gamma"]["image_auroc"]["layout"]["meta"]["lines"][0]
    assert meta["best"] == ("0.1", "0.5", "0.9")[int(values.mean(axis=(1, 2)).argmax())]


def test_interval_over_seeds_is_wider_where_seeds_vary_more(make_result: Make, build: Build) -> None:
    spread = {0.1: (0.69, 0.70, 0.71), 0.9: (0.5, 0.7, 0.9)}
    board = build(
        *(
            run(make_result, value, seed, params={"gamma": gamma})
            for gamma, values in spread.items()
            for seed, value in enumerate(values)
        )
    )
    (line,) = find_lines(board, "smoke")
    found = points(levels_by_cell(line, "image_auroc"), [0])
    assert found is not None
    errors = [np.std(values, ddof=1) / np.sqrt(3) for values in spread.values()]
    assert (found.high - found.low)[0] < (found.high - found.low)[1]
    # near the middle of its range a mean has nearly the symmetric interval of Student's t
    assert (found.high - found.low)[0] == pytest.approx(2 * stats.t.ppf(0.975, 2) * errors[0], rel=0.02)


def test_each_line_differs_in_one_parameter_alone(make_result: Make, build: Build) -> None:
    settings = [(0.1, 0.0), (0.1, 0.2), (0.9, 0.0), (0.9, 0.2), (0.5, 0.4)]
    board = build(
        *(
            run(make_result, 0.5, seed, params={"gamma": gamma, "anomaly_ratio": ratio})
            for gamma, ratio in settings
            for seed in range(2)
        ),
        *(run(make_result, 0.5, seed, method="other", params={"gamma": 0.1}) for seed in range(2)),
        run(make_result, 0.5, 5, sweep_id="s", params={"gamma": 0.7, "anomaly_ratio": 0.0}),  # a trial
    )
    lines = {(line.parameter, line.label): set(line.runs["level"]) for line in find_lines(board, "smoke")}
    assert lines == {
        ("gamma", "ckaad · anomaly_ratio=0.0"): {"0.1", "0.9"},
        ("gamma", "ckaad · anomaly_ratio=0.2"): {"0.1", "0.9"},
        ("anomaly_ratio", "ckaad · gamma=0.1"): {"0.0", "0.2"},
        ("anomaly_ratio", "ckaad · gamma=0.9"): {"0.0", "0.2"},
    }
    assert list(build_curves(board)[0]) == ["anomaly_ratio", "gamma"]


def test_few_shot_and_noise_are_curves_too(make_result: Make, build: Build) -> None:
    board = build(
        *(run(make_result, value, 0, run_id=f"n{n}", n_normal=n) for n, value in ((16, 0.8), (2, 0.6), (None, 0.9))),
        *(
            run(make_result, 0.5, 0, run_id=f"z{noise:.0%}".strip("%"), noise=noise, noise_source="labelled")
            for noise in (0.1, 0.2)
        ),
    )
    found = build_curves(board)[0]
    assert list(found) == ["n_normal", "noise"]
    (trace,) = found["n_normal"]["image_auroc"]["data"]
    assert (trace["x"], trace["y"]) == (["2", "16", ALL], [60.0, 80.0, 90.0])
    assert found["n_normal"]["image_auroc"]["layout"]["xaxis"]["categoryarray"] == ["2", "16", ALL]
    (trace,) = found["noise"]["image_auroc"]["data"]
    assert (trace["x"], trace["y"]) == ([0.0, 0.1, 0.2], [90.0, 50.0, 50.0])


def test_values_that_are_no_numbers_are_not_joined(make_result: Make, build: Build) -> None:
    names = ("l1", "<b>l2</b>")
    board = build(*(run(make_result, 0.5, 0, params={"loss": name}) for name in names))
    (trace,) = build_curves(board)[0]["loss"]["image_auroc"]["data"]
    assert trace["mode"] == "markers" and "<b>" not in repr(trace)


def test_runs_of_one_setting_have_no_curve(make_result: Make, build: Build) -> None:
    board = build(*(run(make_result, 0.5, seed, params={"gamma": 0.3}) for seed in range(2)))
    assert build_curves(board) == [{}] * len(board.slices)
