"""A study outlives its driver: what was running is tried again, what is spent stays spent."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from adbench.orchestrator.search_space import Parameter
from adbench.orchestrator.study import (
    best,
    drop_torn_line,
    ended,
    journal_path,
    lost,
    make_sampler,
    open_storage,
    open_study,
    try_first,
)

SPACE = {
    "x": Parameter(FloatDistribution(0.0, 1.0)),
    "kind": Parameter(CategoricalDistribution(("a", "b"))),
}


def _ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    for name, parameter in SPACE.items():
        parameter.suggest(trial, name)
    return trial


def test_what_a_dead_driver_left_running_is_tried_again(tmp_path: Path) -> None:
    journal = journal_path(str(tmp_path))
    study = open_study(open_storage(journal), "s", ["max"])
    for value in (0.3, 0.8, 0.5):
        study.tell(_ask(study), value)
    stopped, failed, running = (_ask(study) for _ in range(3))
    study.tell(stopped, state=TrialState.PRUNED)
    study.tell(failed, state=TrialState.FAIL)

    again = open_study(open_storage(journal), "s", ["max"])
    assert (ended(again), lost(again)) == (5, 1)
    assert _ask(again).params == running.params
    found = best(again)
    assert found is not None and found[1] == (0.8,) and found[0] == study.trials[1].params
    third = open_study(open_storage(journal), "s", ["max"])
    assert (ended(third), lost(third)) == (5, 2)
    assert [_ask(third).params for _ in range(1)] == [running.params]


def test_the_best_of_a_cost_is_the_smallest(tmp_path: Path) -> None:
    study = open_study(open_storage(journal_path(str(tmp_path))), "s", ["min", "max"])
    assert best(study) is None
    for values in ((3.0, 0.9), (1.0, 0.1), (2.0, 0.5)):
        study.tell(_ask(study), values)
    found = best(study)
    assert found is not None and found[1] == (1.0, 0.1)


def test_settings_are_tried_first_and_once(tmp_path: Path) -> None:
    study = open_study(open_storage(journal_path(str(tmp_path))), "s", ["max"])
    setting = {"x": 0.25, "kind": "b"}
    try_first(study, [setting])
    try_first(study, [setting])
    assert _ask(study).params == setting
    assert _ask(study).params != setting


def test_a_line_that_a_full_disk_cut_off_is_dropped(tmp_path: Path) -> None:
    journal = journal_path(str(tmp_path))
    study = open_study(open_storage(journal), "s", ["max"])
    study.tell(_ask(study), 0.5)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "work')
    drop_torn_line(journal)
    again = open_study(open_storage(journal), "s", ["max"])
    again.tell(_ask(again), 0.7)
    assert ended(open_study(open_storage(journal), "s", ["max"])) == 2


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "grid", "nsgaii"])
def test_every_sampler_proposes_within_the_space(name: str, tmp_path: Path) -> None:
    storage = open_storage(journal_path(str(tmp_path)))
    study = open_study(storage, "s", ["max"])
    study.sampler = make_sampler(name, SPACE, seed=0)  # type: ignore[arg-type]
    tried = []
    for _ in range(9):
        trial = _ask(study)
        tried.append((trial.params["x"], trial.params["kind"]))
        study.tell(trial, trial.params["x"])
    assert all(0 <= x <= 1 and kind in "ab" for x, kind in tried)
    if name == "grid":
        assert len(set(tried)) == 9 and {x for x, _ in tried} <= {0.0, 0.25, 0.5, 0.75, 1.0}
    else:
        assert len(set(tried)) > 3
