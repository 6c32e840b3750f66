"""Sweeps on a real local Ray: poor trials stopped, the best on fresh seeds, continued after a death."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from click.testing import Result
from optuna.trial import TrialState

from adbench.datasets.errors import RequestError
from adbench.orchestrator.compose import compose
from adbench.orchestrator.early_stopping import WHOLE
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import make_plan
from adbench.orchestrator.run import RunOptions
from adbench.orchestrator.study import journal_path, open_storage
from adbench.orchestrator.sweep import SweepOutcome, execute_sweep, summary
from adbench.reports.entries import sort_runs, trials
from adbench.reports.store import ResultStore

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def sweep(out: Path, tmp_path: Path, one_ray: None) -> Callable[..., SweepOutcome]:
    """A sweep of the plug-in method guess, whose trainings are nine epochs of nothing."""

    def run(*words: str, missing: tuple[str, ...] = ()) -> SweepOutcome:
        request = ["suite=smoke", "method=guess", f"out={out}", f"cache_dir={tmp_path / 'cache'}", *words]
        request += [] if any(word.startswith("category=") for word in words) else ["category=weave"]
        parsed = parse_overrides(request)
        plan = replace(make_plan(compose(parsed), parsed), missing=missing)
        return execute_sweep(plan, parsed.method_params, RunOptions(style="quiet"))

    return run


def _study(out: Path, outcome: SweepOutcome) -> optuna.Study:
    storage = open_storage(journal_path(str(out)))
    return optuna.load_study(study_name=outcome.searches[0].sweep_id, storage=storage)


def test_poor_trials_are_stopped_and_the_best_runs_on_fresh_seeds(
    sweep: Callable[..., SweepOutcome], out: Path, adbench: Callable[..., Result]
) -> None:
    outcome = sweep("search.trials=18", "search.fresh_seeds=2", missing=("visa",))
    (search,) = outcome.searches
    assert not outcome.failures and search.failed == 0
    assert search.complete + search.stopped == 18
    assert search.stopped >= 2, "of the trials at a rung after the first whole ones, one in three goes on"

    store = ResultStore(out)
    runs = store.runs()
    proposed, tuned = runs[trials(runs)], runs[~trials(runs)]
    assert proposed["image_auroc"].isna().all() and proposed["val_image_auroc"].notna().all()
    assert WHOLE <= len(proposed) < 18, "the cells of stopped trials were not run to their end"
    assert search.best == (proposed["val_image_auroc"].max(),)
    assert sorted(tuned["seed"]) == [1, 2] and set(tuned["selection"]) == {"val"}
    assert set(tuned["sweep_id"]) == {search.sweep_id} and tuned["image_auroc"].notna().all()
    for text in tuned["params"]:
        assert {name: json.loads(text)[name] for name in search.setting} == search.setting

    # Stopped at the rungs: a ninth or a third of nine epochs.
    pruned = [trial for trial in _study(out, outcome).trials if trial.state == TrialState.PRUNED]
    assert len(pruned) == search.stopped and all(1 <= len(trial.intermediate_values) <= 2 for trial in pruned)

    # Only tuned rows enter the leaderboard, with what the search cost.
    board = sort_runs(runs, store.searches())
    (entry,) = board.entries
    assert "tuned on val" in entry.label and entry.search.startswith("found in 18 trials")
    assert set(board.current["run_id"]) == set(tuned["run_id"])
    assert any(line.startswith("  best: val_image_auroc") for line in summary(outcome))

    assert "  not here, left out: visa" in summary(outcome)
    assert [dataset.name for dataset in store.searches()[search.sweep_id].missing] == ["visa"]
    assert f"left out of the search {search.sweep_id}" in outcome.page.read_text()
    (plan,) = store.plans().values()
    assert [(card.kind, card.name) for card in plan.cards] == [("method", "guess"), ("dataset", "phantom")]
    assert (plan.cells, plan.missing) == ((), ()), "trials are no promise of runs"

    listed = adbench("ls", "sweeps", f"out={out}")
    assert search.sweep_id in listed.output and "of 18" in listed.output
    shown = adbench("show", "sweep", search.sweep_id[:14], f"out={out}")
    assert shown.exit_code == 0, shown.output
    assert "the best setting on fresh seeds" in shown.output and "optuna-dashboard" in shown.output


def test_the_same_command_does_nothing_twice_and_a_larger_one_goes_on(
    sweep: Callable[..., SweepOutcome], out: Path
) -> None:
    (first,) = sweep("search.trials=4", "search.scheduler=none", "search.fresh_seeds=1").searches
    rows = len(ResultStore(out).runs())
    (again,) = sweep("search.trials=4", "search.scheduler=none", "search.fresh_seeds=1").searches
    assert again == first and len(ResultStore(out).runs()) == rows
    (more,) = sweep("search.trials=7", "search.scheduler=none", "search.fresh_seeds=1").searches
    assert (more.sweep_id, more.complete) == (first.sweep_id, 7)
    assert more.lane_seconds > first.lane_seconds and more.best >= first.best


@pytest.mark.parametrize(
    "words",
    [
        ("search.sampler=grid", "search.space.mix=choice(0.0,0.5,1.0)", "method.grain=2"),
        ("search.sampler=nsgaii", "search.objective=[val_image_auroc,predict_ms_per_image]", "search.trials=6"),
    ],
)
def test_grids_and_trade_offs_are_searched(
    words: tuple[str, ...], sweep: Callable[..., SweepOutcome], out: Path
) -> None:
    outcome = sweep(*words, "search.fresh_seeds=0")
    (search,) = outcome.searches
    assert not outcome.failures and search.failed == 0 and search.complete + search.stopped == 6
    assert len(search.best) == len(search.objective)
    if search.sampler == "grid":
        tried = {(trial.params["mix"], trial.params["sign"]) for trial in _study(out, outcome).trials}
        assert len(tried) == 6


def test_one_model_for_all_categories_is_trained_once_for_each_trial(
    sweep: Callable[..., SweepOutcome], out: Path
) -> None:
    words = ("multi_class=true", "category=weave,brain", "search.trials=3", "search.fresh_seeds=1")
    (search,) = sweep(*words).searches
    assert (search.complete, search.stopped, search.failed) == (3, 0, 0)
    runs = ResultStore(out).runs()
    assert (runs["status"] == "ok").all() and len(runs) == 2 * (3 + 1)
    # Rows of one model tell of the same time, to the last bit.
    assert (runs.groupby(["params", "seed", "selection"])["fit_seconds"].nunique() == 1).all()


def test_failing_trials_are_told_and_do_not_end_the_search(sweep: Callable[..., SweepOutcome], out: Path) -> None:
    outcome = sweep("search.trials=3", "search.objective=val_spro_005", "search.fresh_seeds=1")
    (search,) = outcome.searches
    assert (search.complete, search.failed) == (0, 3) and search.best == ()
    assert not ResultStore(out).runs()["selection"].eq("val").any()


def test_a_sweep_refuses_what_it_cannot_do(sweep: Callable[..., SweepOutcome]) -> None:
    for words, said in (
        (("launcher=inprocess",), "launcher=ray"),
        (("search.gpu_hours=1", "device=cpu"), "gpu_hours"),
        (("search.objective=image_auroc",), "test split"),
    ):
        with pytest.raises(RequestError) as refused:
            sweep(*words)
        assert said in "\n".join(refused.value.lines())


def _trial_rows(out: Path) -> pd.DataFrame:
    runs = ResultStore(out).runs()
    return runs[trials(runs)]


def test_a_killed_driver_is_continued(out: Path, tmp_path: Path, faulty_methods: Path) -> None:
    """In a process of its own: a first sweep is killed, the same command ends it."""
    words = [
        *("suite=smoke", "method=guess", "category=weave", "method.epochs=40", "search.trials=6"),
        *("search.scheduler=none", "search.fresh_seeds=1", f"out={out}", f"cache_dir={tmp_path / 'cache'}"),
    ]
    command = [sys.executable, "-m", "adbench.orchestrator.cli", "sweep", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if "(2/" in line:
                first.send_signal(signal.SIGKILL)
                break
    before = _trial_rows(out)
    assert 2 <= len(before) < 6
    deadline = time.monotonic() + 60  # Ray's processes end by themselves, and the folder's lock with the driver.
    while time.monotonic() < deadline:
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        if "another sweep is at work" not in second.stderr:
            break
    assert second.returncode == 0, second.stdout + second.stderr
    assert "6 trials complete" in second.stdout
    after = _trial_rows(out)
    assert set(before["run_id"]) <= set(after["run_id"]) and after["run_id"].is_unique
    kept = after.set_index("run_id").loc[before["run_id"], "finished_at"]
    assert kept.tolist() == before["finished_at"].tolist(), "what was recorded did not run again"
