"""What a sweep searches: its identity, its first settings, the cells of its trials and of its best."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adbench.datasets.errors import RequestError
from adbench.orchestrator.compose import compose
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import Plan, make_plan
from adbench.orchestrator.search import Search, first_settings, recorded_figures, searches, tuned_cells
from adbench.orchestrator.trial import TrialJob, trial_cells

PlanOf = Callable[..., Plan]
SMALL = ("suite=smoke", "method=ckaad", "category=weave")


def _searches(*words: str) -> tuple[Search, ...]:
    parsed = parse_overrides(words)
    return searches(make_plan(compose(parsed), parsed), parsed.method_params)


def _job(search: Search, *rungs: float) -> TrialJob:
    return TrialJob("nobody", search.sweep_id, search.cells, search.spec, rungs, {})


def test_a_search_keeps_its_identity_when_it_grows() -> None:
    (search,) = _searches(*SMALL)
    same = (*SMALL, "search.trials=99", "search.hours=2", "search.fresh_seeds=1", "out=elsewhere")
    assert _searches(*same)[0].sweep_id == search.sweep_id
    others = (
        "search.sampler=random",
        "search.seed=1",
        "search.objective=val_pixel_auroc",
        "search.space.gamma=interval(0.1,0.2)",
        "method.gamma=0.3",
        "seed=1",
    )
    names = {_searches(*SMALL, other)[0].sweep_id for other in others} | {search.sweep_id}
    assert len(names) == len(others) + 1


def test_what_the_user_sets_is_not_searched() -> None:
    (search,) = _searches(*SMALL, "method.gamma=0.3", "search.space.epochs=range(1,4)")
    assert "gamma" not in search.space and {"anomaly_ratio", "epochs"} <= set(search.space)
    assert {cell.params["gamma"] for cell in search.cells} == {0.3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search.objective=image_auroc",), "test split"),
        (("search.objective=val_nonsense",), "nothing that a run measures"),
        (("method.gamma=0.1,0.5",), "one setting"),
        (("search.space.gamma=interval(0.1,7)",), "gamma"),
        (("search.space.gama=interval(0.1,0.7)",), "gamma"),
        (("search.sampler=gradient",), "sampler"),
        (("search.sampler=cmaes", "search.objective=[val_image_auroc,fit_seconds]"), "one objective"),
        (("search.trials=0",), "trials"),
        (("search.trails=3",), "trails"),
    ],
)
def test_wrong_searches_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(RequestError) as refused:
        _searches(*SMALL, *words)
    assert said in "\n".join(refused.value.lines())


def test_trials_see_val_alone_and_no_result_is_taken_for_one() -> None:
    (search,) = _searches(*SMALL, "seed=0,1")
    first, second = trial_cells(_job(search, 1 / 9, 1 / 3), {"gamma": 0.25})
    assert first.watch is not None and second.watch is not None
    assert not first.watch.test and first.watch.metric == "val_image_auroc"
    # The first half of the trial passes both rungs: at 2/9 and 2/3 of its own training.
    assert first.watch.shares == pytest.approx((2 / 9, 2 / 3)) and second.watch.shares == ()
    assert (first.sweep_id, first.selection, first.params["gamma"]) == (search.sweep_id, "none", 0.25)
    assert first.run_id not in {cell.run_id for cell in search.cells}
    ordinary = _searches(*SMALL, "method.gamma=0.25")[0].cells[0]
    assert ordinary.params == first.params and ordinary.run_id != first.run_id


def test_who_insists_on_test_metrics_gets_them_and_the_badge() -> None:
    (search,) = _searches(*SMALL, "search.objective=image_auroc", "search.allow_test_selection=true")
    (cell,) = trial_cells(_job(search), {"gamma": 0.25})
    assert cell.watch is not None and cell.watch.test
    assert {cell.selection for cell in tuned_cells(search, {"gamma": 0.25})} == {"test"}


def test_the_best_runs_on_seeds_that_the_search_has_not_seen(plan_of: PlanOf) -> None:
    (search,) = _searches(*SMALL, "seed=0,4", "search.fresh_seeds=3")
    cells = tuned_cells(search, {"gamma": 0.25, "layers": [3]})
    assert [cell.seed for cell in cells] == [5, 6, 7] and {cell.selection for cell in cells} == {"val"}
    assert all(cell.watch is None and cell.sweep_id == search.sweep_id for cell in cells)
    assert "gamma" not in cells[0].preset
    # The command of the row repeats it; recorded as an ordinary run, it is another row.
    (again,) = plan_of(*shlex.split(cells[1].command)[2:]).cells
    assert (again.params, again.seed, again.category) == (cells[1].params, 6, "weave")
    assert again.run_id != cells[1].run_id


def test_a_trial_that_the_method_refuses_is_no_cell() -> None:
    (search,) = _searches(*SMALL)
    with pytest.raises(RequestError, match="gamma"):
        trial_cells(_job(search), {"gamma": 7.0})


def _row(search: Search, params: dict[str, Any], value: float, **changed: object) -> dict[str, object]:
    import json

    cell = search.cells[0]
    facts = {name: getattr(cell, name) for name in ("method", "dataset", "category", "budget")}
    row = {**facts, "run_id": f"{value}", "status": "ok", "params": json.dumps({**cell.params, **params})}
    asked = {"n_normal": None, "noise": None, "multi_class": False}
    return {**row, **asked, "val_image_auroc": value, "sweep_id": None, "selection": "none", **changed}


def test_the_best_recorded_settings_are_tried_first() -> None:
    (search,) = _searches(*SMALL)
    runs = pd.DataFrame(
        [
            _row(search, {"gamma": 0.1}, 0.7),
            _row(search, {"gamma": 0.2}, 0.9),
            _row(search, {"gamma": 0.3}, 0.99, status="failed"),
            _row(search, {"gamma": 0.4}, 0.99, category="brain"),
            _row(search, {"gamma": 0.6}, 0.99, budget="full"),
            _row(search, {"gamma": 0.7}, 0.99, n_normal=8),
            _row(search, {"gamma": 0.01}, 0.99),  # outside the range
        ]
    )
    assert [setting["gamma"] for setting in first_settings(search, runs)] == [0.5, 0.2, 0.1]
    (few,) = _searches(*SMALL, "n_normal=8")
    assert [setting["gamma"] for setting in first_settings(few, runs)] == [0.5, 0.7]
    (cold,) = _searches(*SMALL, "search.warm_start=false")
    assert [setting["gamma"] for setting in first_settings(cold, runs)] == [0.5]


def test_recorded_trials_need_not_run_again(tmp_path: Path) -> None:
    (search,) = _searches(*SMALL)
    rows = [
        _row(search, {}, 0.7, sweep_id=search.sweep_id, fit_seconds=2.0),
        _row(search, {}, 0.8),
        _row(search, {}, 0.9, sweep_id=search.sweep_id, status="failed"),
        _row(search, {}, 0.6, sweep_id=search.sweep_id, selection="val"),
    ]
    assert recorded_figures(pd.DataFrame(rows)) == {"0.7": {"val_image_auroc": 0.7, "fit_seconds": 2.0}}
