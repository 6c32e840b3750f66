"""Which runs form one row of the leaderboard."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adbench.reports.entries import sort_runs
from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import MissingDataset, RunResult, SearchRecord
from adbench.reports.store import ResultStore

NOW = datetime(2026, 2, 1, tzinfo=UTC)
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


def test_only_the_best_of_a_search_is_ranked_with_what_it_cost(
    make_result: Callable[..., RunResult], make_search: Callable[..., SearchRecord]
) -> None:
    records = [
        make_result(method="kist", category="a", params=params, sweep_id="s", selection=selection, seed=seed).record
        for params, selection, seed in [(ONE, "none", 0), (TWO, "none", 0), (ONE, "val", 1), (TWO, "val", 1)]
    ]
    runs = pd.DataFrame([asdict(record) for record in records])
    found = sort_runs(runs, {"s": make_search(setting={"lr": 1.0, "rules": "two"})})
    assert found.runs.set_index(["params", "selection"])["standing"].to_dict() == {
        (ONE, "none"): "trial",
        (TWO, "none"): "trial",
        (ONE, "val"): "trial",
        (TWO, "val"): "current",
    }
    (entry,) = found.entries
    assert entry.label == "kist · tuned on val" and entry.search == "found in 30 trials, 1.5 h of lanes"
    # Without the search's record nothing is known of a better one.
    assert (sort_runs(runs).runs["standing"] == "current").sum() == 2


def test_a_search_is_kept_and_read_again(tmp_path: Path, make_search: Callable[..., SearchRecord]) -> None:
    store = ResultStore(tmp_path)
    store.prepare()
    missing = MissingDataset(name="visa", title="VisA", home="https://example.org/visa", licence="CC BY 4.0")
    search = make_search(setting={"layers": [2, 3], "gamma": 0.25, "rules": None}, missing=(missing,))
    store.write_search(search)
    (tmp_path / "sweeps" / "optuna.journal").write_text("{}\n")
    (tmp_path / "sweeps" / "broken.json").write_text('{"sweep_id": "x"}')
    assert store.searches() == {"s": search}
    path = tmp_path / "sweeps" / "s.json"
    earlier = {key: value for key, value in json.loads(path.read_text()).items() if key != "missing"}
    path.write_text(json.dumps(earlier))  # as earlier versions wrote it
    assert store.searches() == {"s": replace(search, missing=())}


def test_protocols_have_rows_of_their_own_and_do_not_outdate_each_other(
    make_result: Callable[..., RunResult], build: Callable[..., Leaderboard]
) -> None:
    def run(name: str, hour: int, split: str, **asked: Any) -> RunResult:
        return make_result(run_id=name, started_at=NOW + timedelta(hours=hour), split_hash=split, **asked)

    few = {"n_normal": 8, "base_split_hash": "full"}
    noisy = {"noise": 0.1, "base_split_hash": "full"}
    taken = {**noisy, "n_normal": 8, "noise_source": "test"}
    board = build(
        run("old", 0, "other"),
        run("old8", 1, "a", n_normal=8, base_split_hash="other"),
        run("full", 2, "full"),
        run("few", 3, "b", **few),
        run("noisy", 4, "c", **noisy),
        run("taken", 5, "d", **taken),
    )
    runs = board.sorted.runs.set_index("run_id")
    labels = {name: board.entries[entry].label for name, entry in runs["entry"].items()}
    assert [labels[name] for name in ("full", "few", "noisy", "taken")] == [
        "ckaad",
        "ckaad · n_normal=8",
        "ckaad · noise=0.1",
        "ckaad · n_normal=8, noise=0.1",
    ]
    assert runs["standing"].to_dict() == {
        "old": "older",
        "old8": "older",
        **dict.fromkeys(("full", "few", "noisy", "taken"), "current"),
    }
    # What was judged on a smaller test is of a category of its own: nothing else has these images.
    places = {name: board.categories[place].label for name, place in runs["place"].items()}
    assert places["few"] == places["noisy"] == places["full"] == "phantom/texture"
    assert places["taken"] == "phantom/texture · n_normal=8, noise=0.1 from test"


def test_a_new_draw_outdates_the_old_one_of_its_protocol(
    make_result: Callable[..., RunResult], build: Callable[..., Leaderboard]
) -> None:
    drawn = [
        make_result(
            seed=seed, split_hash=split, started_at=NOW + timedelta(hours=seed), n_normal=8, base_split_hash="x"
        )
        for seed, split in enumerate(("before", "after"))
    ]
    assert list(build(*drawn).sorted.runs["standing"]) == ["older", "current"]
