"""Recorded surfaces and searches replayed on them: on surfaces made up here, and on a tiny one that is trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import search_pays
from search_pays import random_settings, replay_report, search_of

from adbench.orchestrator.early_stopping import WHOLE
from adbench.orchestrator.search import Search
from adbench.orchestrator.study import Sampler
from bench_lanes import run_program
from bench_replay import replay
from bench_surface import Curve, Point, Surface, coordinates, read, write

OVERRIDES = ("suite=smoke", "method=ckaad", "category=weave")
SHARES = (1 / 8, 3 / 8, 1.0)
"""At which a training of eight epochs passes the rungs."""


@pytest.fixture(scope="module")
def search() -> Search:
    return search_of(OVERRIDES)


@pytest.fixture(scope="module")
def curves(search: Search) -> dict[str, Curve]:
    """A smooth hill whose order is the same at every rung; a whole training takes 80 s."""
    found: dict[str, Curve] = {}
    for setting in random_settings(search, 60):
        gamma, w_adv, lr, lr_d = coordinates(search.space, json.loads(setting))[-4:]
        height = 0.9 - 0.5 * ((lr - 0.6) ** 2 + (lr_d - 0.3) ** 2) - 0.1 * gamma - 0.1 * w_adv
        found[setting] = [Point(share, float(height) - 0.1 * (1 - share), 80 * share) for share in SHARES]
    return found


def test_settings_are_drawn_from_the_methods_space_and_more_begin_with_the_same(search: Search) -> None:
    settings = random_settings(search, 8)
    assert random_settings(search, 5) == settings[:5]
    assert len(set(settings)) == 8
    assert all(set(json.loads(setting)) == set(search.space) for setting in settings)


def test_places_are_scaled_and_choices_one_apart(search: Search) -> None:
    lr, level = search.space["lr"], search.space["level"]
    assert coordinates({"lr": lr}, {"lr": 1e-4}) == pytest.approx([0.0])
    assert coordinates({"lr": lr}, {"lr": 1e-3}) == pytest.approx([0.5])  # Its logarithm is searched.
    assert coordinates({"lr": lr}, {}) == [0.5]
    patch, image = (coordinates({"level": level}, {"level": name}) for name in ("patch", "image"))
    assert np.linalg.norm(patch - image) == pytest.approx(1.0)


def test_the_nearest_answers_with_a_recorded_curve(search: Search, curves: dict[str, Curve]) -> None:
    surface = Surface(search.space, curves, "nearest")
    rng = np.random.default_rng(0)
    setting, curve = list(curves.items())[7]
    params = json.loads(setting)
    assert surface.curve(params, rng) == curve
    assert surface.curve({**params, "lr": params["lr"] * 1.001}, rng) == curve


def test_the_forest_foretells_better_and_answers_with_noise_that_rungs_share(
    search: Search, curves: dict[str, Curve]
) -> None:
    surface = Surface(search.space, curves, "forest")
    assert surface.check("forest").rank > surface.check("nearest").rank
    assert surface.rung_ranks() == pytest.approx([1.0, 1.0])
    params = json.loads(next(iter(curves)))
    answers = [surface.curve(params, np.random.default_rng(seed)) for seed in range(20)]
    assert len({answer[-1].value for answer in answers}) > 1
    for answer in answers:
        assert [point.share for point in answer] == pytest.approx(SHARES)
        # All rungs of these trainings lie equally far below the end, and the noise keeps that.
        assert answer[-1].value - answer[0].value == pytest.approx(0.1 * 7 / 8, abs=1e-6)


def test_surfaces_of_unequal_trainings_are_refused(search: Search, curves: dict[str, Curve]) -> None:
    setting = next(iter(curves))
    with pytest.raises(ValueError, match="fewer rungs"):
        Surface(search.space, {**curves, setting: curves[setting][1:]}, "nearest")


def test_surfaces_are_read_as_written(curves: dict[str, Curve], tmp_path: Path) -> None:
    write(tmp_path / "surface.parquet", OVERRIDES, curves)
    assert read(tmp_path / "surface.parquet") == (list(OVERRIDES), curves)
    assert [path.name for path in tmp_path.iterdir()] == ["surface.parquet"]


def test_without_a_scheduler_every_trial_is_whole(search: Search, curves: dict[str, Curve]) -> None:
    surface = Surface(search.space, curves, "nearest")
    trace = replay(search, surface, ("random", "none"), seed=0, lanes=3, most=10)
    assert (trace.whole, trace.stopped) == (10, 0)
    assert trace.trainings == pytest.approx(10)
    assert trace.seconds == pytest.approx(10 * 80)
    assert trace == replay(search, surface, ("random", "none"), seed=0, lanes=3, most=10)
    assert trace.best <= max(curve[-1].value for curve in curves.values())


def test_asha_stops_poor_trials_at_the_rungs(search: Search, curves: dict[str, Curve]) -> None:
    surface = Surface(search.space, curves, "nearest")
    trace = replay(search, surface, ("random", "asha"), seed=0, lanes=2, most=60)
    assert trace.whole + trace.stopped == 60
    assert trace.whole < 20
    assert trace.whole + trace.stopped / 8 <= trace.trainings <= trace.whole + trace.stopped * 3 / 8


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_every_sampler_searches(sampler: Sampler, scheduler: str, search: Search, curves: dict[str, Curve]) -> None:
    trace = replay(search, Surface(search.space, curves, "nearest"), (sampler, scheduler), seed=0, lanes=2, most=24)
    assert trace.whole + trace.stopped == 24
    assert trace.whole >= WHOLE and trace.stopped > 0
    assert trace.best > min(curve[-1].value for curve in curves.values())


def test_a_search_ends_at_its_goal_or_with_its_compute(search: Search, curves: dict[str, Curve]) -> None:
    surface = Surface(search.space, curves, "nearest")
    values = sorted(curve[-1].value for curve in curves.values())
    reached = replay(search, surface, ("random", "none"), seed=0, lanes=2, goal=values[30])
    assert reached.best >= values[30]
    assert reached.whole < 20
    spent = replay(search, surface, ("random", "none"), seed=0, lanes=2, goal=2.0, most_trainings=5.0)
    assert 5.0 < spent.trainings <= 7.0


def test_tpe_climbs_a_smooth_hill_sooner_than_random(search: Search, curves: dict[str, Curve]) -> None:
    surface = Surface(search.space, curves, "forest")
    random = replay(search, surface, ("random", "none"), seed=0, lanes=2, most=40)
    climbed = replay(search, surface, ("tpe", "asha"), seed=1, lanes=2, goal=random.best, most_trainings=40.0)
    assert climbed.best >= random.best
    assert climbed.trainings < 20


def test_costs_cannot_be_replayed(search: Search, curves: dict[str, Curve]) -> None:
    costly = replace(search, spec=search.spec.model_copy(update={"objective": ("fit_seconds",)}))
    with pytest.raises(ValueError, match="is to be small"):
        replay(costly, Surface(search.space, curves, "nearest"), ("random", "none"), seed=0, lanes=1, most=1)


def test_several_cells_are_no_surface() -> None:
    with pytest.raises(ValueError, match="one method"):
        search_of(["suite=smoke", "method=ckaad"])


def test_a_report_has_every_search_on_both_answers(curves: dict[str, Curve], tmp_path: Path) -> None:
    write(tmp_path / "hill.parquet", OVERRIDES, curves)
    lines = replay_report(tmp_path / "hill.parquet", repetitions=1, trials=8).splitlines()
    assert lines[0] == "### hill: 60 settings"
    assert sum(line.startswith("| random, none | ") for line in lines) == 2
    verdicts = [line for line in lines if line.startswith("| tpe, asha | ")]
    assert len(verdicts) == 2
    assert all(line.endswith(("| met |", "| missed |")) for line in verdicts)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_surface_is_recorded_continued_and_replayed(tmp_path: Path) -> None:
    overrides = [*OVERRIDES, "method.epochs=9", "launcher=inprocess", f"cache_dir={tmp_path / 'cache'}"]

    def record(count: int) -> str:
        words = ["record", "surface.parquet", *overrides, f"--settings={count}"]
        output, failure = run_program([search_pays.__file__, *words], str(tmp_path))
        assert failure is None
        return output

    record(2)
    _, first = read(tmp_path / "surface.parquet")
    assert len(first) == 2
    said = record(4)
    recorded_with, curves = read(tmp_path / "surface.parquet")
    assert recorded_with == overrides
    assert len(curves) == 4
    assert said.count(" of 4: ") == 2  # The others were there.
    assert all(curves[setting] == curve for setting, curve in first.items())
    for curve in curves.values():
        assert [point.share for point in curve] == pytest.approx([1 / 9, 1 / 3, 1.0])
        assert all(0 <= point.value <= 1 for point in curve)
        assert sorted(point.seconds for point in curve) == [point.seconds for point in curve]
    assert "| tpe, asha | " in replay_report(tmp_path / "surface.parquet", repetitions=1, trials=4)
