"""Sweeps on the page: figures are of the trials, gains are of the same cells, and what is missing is said."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from scipy import stats

from adbench.reports import figures_search, sweeps
from adbench.reports.leaderboard import build_leaderboard
from adbench.reports.schema import RunResult, SearchRecord
from adbench.reports.store import ResultStore
from adbench.reports.studies import JOURNAL, read_studies, thinned
from adbench.reports.sweeps import build_sweeps

Make = Callable[..., RunResult]
Search = Callable[..., SearchRecord]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
HOSTILE = "<b>x</b>"


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    opened = ResultStore(tmp_path / "out")
    opened.prepare()
    return opened


def search(store: ResultStore, name: str, n: int, objectives: int = 1) -> list[tuple[float, ...]]:
    """Let Optuna search in the store's journal; the values of the trials in their order. Every fifth fails."""
    journal = Path(store.out) / JOURNAL
    journal.parent.mkdir(exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    sampler = optuna.samplers.RandomSampler(seed=0)
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE][:objectives]
    study = optuna.create_study(storage=storage, study_name=name, sampler=sampler, directions=directions)

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        kind = trial.suggest_categorical("kind", ["plain", HOSTILE])
        if trial.number % 5 == 4:
            raise ValueError
        return (rate * 10 + (kind == "plain"), rate, rate**2)[:objectives]

    study.optimize(objective, n_trials=n, catch=ValueError)
    return [tuple(trial.values) for trial in study.trials if trial.values is not None]


def built(store: ResultStore) -> list[dict[str, Any]]:
    board = build_leaderboard(store.runs(), store.images(), searches=store.searches(), created=NOW, resamples=50)
    return build_sweeps(board, store.folder, store.images())


def figure(sweep: dict[str, Any], kind: str, objective: str | None = "val_image_auroc") -> Any:
    found = [one for one in sweep["figures"] if (one["kind"], one["objective"]) == (kind, objective)]
    assert len(found) == 1
    return found[0]["figure"]


def test_figures_show_the_trials(store: ResultStore, make_result: Make, make_search: Search) -> None:
    store.append(make_result())
    values = [value for (value,) in search(store, "s", 20)]
    store.write_search(make_search(complete=len(values), trials=20))
    (sweep,) = built(store)
    assert len(values) == 16 and sweep["problem"] == sweep["note"] == ""
    points, best = figure(sweep, "history")["data"]
    assert points["y"] == pytest.approx(values, rel=1e-5)
    assert points["x"] == [number for number in range(20) if number % 5 != 4]  # numbers of the failed stay theirs
    reached = dict(zip(best["x"], best["y"], strict=True))
    assert [reached[number] for number in points["x"]] == pytest.approx(np.maximum.accumulate(values), rel=1e-5)
    (bars,) = figure(sweep, "importances")["data"]
    assert set(bars["y"]) == {"kind", "rate"} and sum(bars["x"]) == pytest.approx(1, abs=1e-4)
    slices = figure(sweep, "slice")
    assert [sorted(trace["y"]) for trace in slices["data"]] == [pytest.approx(sorted(values), rel=1e-5)] * 2
    lines = [trace for trace in figure(sweep, "parallel")["data"] if trace["mode"] == "lines"]
    assert len(lines) == 16
    heights = sorted(trace["y"][0] for trace in lines)
    scaled = (np.sort(values) - min(values)) / (max(values) - min(values))
    assert heights == pytest.approx(scaled, abs=1e-5)


def test_names_in_figures_are_text(store: ResultStore, make_result: Make, make_search: Search) -> None:
    store.append(make_result())
    search(store, "s", 10)
    store.write_search(make_search())
    text = repr(built(store)[0]["figures"])
    assert HOSTILE not in text and "&lt;b&gt;x&lt;/b&gt;" in text


def test_fronts_of_several_objectives(store: ResultStore, make_result: Make, make_search: Search) -> None:
    store.append(make_result())
    values = np.array(search(store, "s", 15, objectives=3))
    store.write_search(make_search(objective=("a", "b", "c")))
    (sweep,) = built(store)
    fronts = [one["figure"] for one in sweep["figures"] if one["kind"] == "front"]
    assert len(fronts) == 3
    signed = values * [-1, 1, 1]
    front = [not ((signed <= own).all(1) & (signed < own).any(1)).any() for own in signed]
    shown = {trace["name"]: sorted(zip(trace["x"], trace["y"], strict=True)) for trace in fronts[1]["data"]}
    expected = values[front][:, [0, 2]]
    assert np.array(shown["Pareto front"]) == pytest.approx(expected[np.lexsort(expected.T[::-1])], rel=1e-5)
    assert len(shown["Pareto front"]) + len(shown["others"]) == len(values)
    assert {one["objective"] for one in sweep["figures"]} == {None, "a", "b", "c"}


def test_many_trials_are_thinned_and_the_best_stays(
    store: ResultStore, make_result: Make, make_search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(make_result())
    values = [value for (value,) in search(store, "s", 50)]
    monkeypatch.setattr(figures_search, "MOST_TRIALS", 10)
    store.write_search(make_search(complete=40))
    (sweep,) = built(store)
    points, best = figure(sweep, "history")["data"]
    assert len(points["y"]) == 10 and best["y"][-1] == pytest.approx(max(values), rel=1e-5)
    assert "Of 40 complete trials, 10 are drawn" in sweep["note"]
    study = read_studies(store.folder, ["s"])[0]["s"]
    assert thinned(study, 40) is study


@pytest.mark.parametrize("damage", ["missing", "garbage", "other", "started"])
def test_what_cannot_be_drawn_is_said(
    store: ResultStore, make_result: Make, make_search: Search, damage: str
) -> None:
    store.append(make_result())
    search(store, "other" if damage == "other" else "s", 1 if damage == "started" else 4)
    store.write_search(make_search())
    journal = Path(store.out) / JOURNAL
    if damage == "missing":
        journal.unlink()
    if damage == "garbage":
        journal.write_bytes(b"\x00not json\n" + journal.read_bytes())
    (sweep,) = built(store)
    told = {
        "missing": "sweeps/optuna.journal is missing",
        "garbage": "sweeps/optuna.journal is damaged",
        "other": "The trials of this sweep are not in sweeps/optuna.journal",
        "started": "Fewer than 2 trials are complete",
    }
    assert sweep["figures"] == [] and told[damage] in sweep["problem"]


def test_half_a_last_line_and_the_file_itself_do_not_matter(
    store: ResultStore, make_result: Make, make_search: Search
) -> None:
    store.append(make_result())
    search(store, "s", 4)
    store.write_search(make_search())
    journal = Path(store.out) / JOURNAL
    before = journal.read_bytes() + b'{"op_code": 6, "wor'
    journal.write_bytes(before)
    (sweep,) = built(store)
    assert sweep["problem"] == "" and sweep["figures"]
    assert journal.read_bytes() == before
    assert sorted(one.name for one in journal.parent.iterdir()) == ["optuna.journal", "s.json"]


def test_page_without_room_says_so(
    store: ResultStore, make_result: Make, make_search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(make_result())
    for name in ("r", "s"):
        search(store, name, 10)
        store.write_search(make_search(sweep_id=name))
    whole = built(store)
    size = len(gzip.compress(json.dumps(whole[0]["figures"]).encode()))
    monkeypatch.setattr(sweeps, "MOST_BYTES", size + 1)
    first, second = built(store)
    assert first["figures"] == whole[0]["figures"]
    assert second["figures"] == [] and "no room" in second["problem"]


def test_gains_are_paired_over_the_same_cells(store: ResultStore, make_result: Make, make_search: Search) -> None:
    rng = np.random.default_rng(0)
    default, tuned = rng.uniform(0.5, 0.7, (2, 3)), rng.uniform(0.6, 0.9, (2, 3))
    own = {"method": "kist", "dataset": "elpv", "budget": "quick", "images": (), "modality": "industrial"}
    chosen = {"sweep_id": "s", "selection": "val", "params": '{"lr":1.0}'}
    for place, category in enumerate("ab"):
        for seed in range(3):
            cell = {**own, "category": category, "seed": seed}
            store.append(make_result(**cell, params='{"lr":0.1}', metrics={"image_auroc": default[place, seed]}))
            store.append(make_result(**cell, **chosen, metrics={"image_auroc": tuned[place, seed]}))
    alone = {**own, "category": "b", "seed": 7}
    store.append(make_result(**alone, params='{"lr":0.1}', metrics={"image_auroc": 0.1}))  # no tuned run has it
    store.write_search(make_search())
    (sweep,) = built(store)
    (against,) = sweep["against"]
    (gain,) = against["gains"]
    assert against["default"] == "kist" and gain["metric"] == "image_auroc"
    assert (gain["default"], gain["tuned"]) == pytest.approx((default.mean(), tuned.mean()))
    assert (gain["n_categories"], gain["n_cells"], gain["interval"]) == (2, 6, "seeds")
    difference = tuned - default
    variances = difference.var(axis=1, ddof=1) / 3 / 4  # of each category's part in the mean of two
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()
    assert gain["difference"] == pytest.approx(difference.mean())
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    assert (gain["low"], gain["high"]) == pytest.approx((difference.mean() - reach, difference.mean() + reach))
    assert gain["p"] == pytest.approx(2 * stats.t.sf(difference.mean() / np.sqrt(variances.sum()), freedom))


def test_without_common_cells_there_is_no_gain(store: ResultStore, make_result: Make, make_search: Search) -> None:
    own = {"method": "kist", "budget": "quick"}
    store.append(make_result(**own, seed=0))
    store.append(make_result(**own, seed=1, sweep_id="s", selection="val", params='{"lr":1.0}'))
    store.write_search(make_search())
    assert built(store)[0]["against"] == []
