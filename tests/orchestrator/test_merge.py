"""`adbench merge` on real folders: what comes along, in which order, after crashes, from and to object stores."""

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from crashing import killed_at
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from pyarrow import fs as pafs

from adbench.orchestrator import merge as merging
from adbench.orchestrator.study import alone, ended, open_storage
from adbench.reports import files, taking
from adbench.reports.coverage import build_coverage
from adbench.reports.leaderboard import build_leaderboard
from adbench.reports.schema import (
    Card,
    MissingDataset,
    PlannedCell,
    PublishedValue,
    RunResult,
    SearchRecord,
    SplitMaps,
    SuitePlan,
    TrainingMaps,
)
from adbench.reports.store import SCHEMAS, ResultStore

Adbench = Callable[..., Result]
MakeResult = Callable[..., RunResult]
Filled = Callable[..., ResultStore]
NOT_RESULTS = ("report", "logs", ".store.lock")


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """A results folder, by default within the test's, with the given results."""

    def store(name: str | Path, *results: RunResult) -> ResultStore:
        found = ResultStore(name if "://" in str(name) else tmp_path / name)
        found.prepare()
        for result in results:
            found.append(result)
        return found

    return store


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the page, which takes most of the time."""
    monkeypatch.setattr(merging, "render_page", lambda store: Path("index.html"))
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def content(store: ResultStore) -> dict[str, bytes]:
    """Every file of the results."""
    root = Path(store.out)
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    names = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if name.split("/")[0] not in NOT_RESULTS}


def raw(store: ResultStore, table: str) -> pd.DataFrame:
    """The table as plain pandas reads the folder."""
    frame = pd.read_parquet(Path(store.out) / table)
    return frame if len(frame.columns) else pd.DataFrame({"run_id": [], "status": []})


def assert_same_run(target: ResultStore, source: ResultStore, run_id: str) -> None:
    """All that a run has, bit by bit."""
    for table in SCHEMAS:
        assert target.rows(table, [run_id]).equals(source.rows(table, [run_id])), table
    for one, other in [
        (target.gallery(run_id), source.gallery(run_id)),
        (target.maps(run_id, "val"), source.maps(run_id, "val")),
        (target.maps(run_id, "test"), source.maps(run_id, "test")),
        (target.training_maps(run_id), source.training_maps(run_id)),
    ]:
        np.testing.assert_equal(_plain(one), _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def with_maps(result: RunResult) -> RunResult:
    rng = np.random.default_rng(0)
    maps = rng.random((2, 4, 4), dtype=np.float32)
    shown = TrainingMaps(name="round 1", image_ids=("a", "b"), maps=maps, images=np.zeros((1, 4, 4, 3), np.uint8))
    kept = SplitMaps(split="test", image_ids=("a", "b"), maps=maps)
    return dataclasses.replace(result, maps=(kept,), training_maps=(shown,))


def test_all_that_runs_have_comes_along(adbench: Adbench, filled: Filled, make_result: MakeResult) -> None:
    a = filled("a", with_maps(make_result(run_id="one")), make_result(run_id="two"))
    b = filled("b", make_result(run_id="two", seed=9), make_result(run_id="lost", status="failed"))
    for store, name in ((a, "split-a"), (b, "split/b")):
        store.write_split(name, pd.DataFrame({"image": [name]}))
    b.compact(threshold=0)
    before = content(a), content(b)
    ended = adbench("merge", "a", "b", "dst")
    assert ended.exit_code == 0, ended.output
    lines = ended.output.splitlines()
    assert lines[:2] == [
        "a: 2 run(s) added (0 failed), 0 in place of failed ones, 0 there already",
        "  added or completed: 1 split(s)",
    ]
    assert "b: 1 run(s) added (1 failed), 0 in place of failed ones, 1 there already" in lines
    assert Path(lines[-1].removeprefix("leaderboard: ")).stat().st_size > 10_000
    target = ResultStore("dst")
    assert target.statuses() == {"one": "ok", "two": "ok", "lost": "failed"}
    assert_same_run(target, a, "one")
    assert_same_run(target, a, "two")
    assert_same_run(target, b, "lost")
    assert {path.name for path in Path("dst/splits").iterdir()} == {"split-a.csv", "split%2Fb.csv"}
    assert (content(a), content(b)) == before
    assert set(raw(target, "runs")["run_id"]) == {"one", "two", "lost"}
    assert len(raw(target, "images")) == 24


@pytest.mark.usefixtures("no_page")
def test_an_ok_run_takes_the_place_of_a_failed_one_and_is_never_replaced(
    adbench: Adbench, filled: Filled, make_result: MakeResult
) -> None:
    note = ((0, "loss", 9.0),)
    mine = filled(
        "dst",
        make_result(run_id="kept", seed=1),
        make_result(run_id="mended", status="failed", history=note),
        make_result(run_id="failed", status="failed", seed=1),
    )
    other = filled(
        "src",
        make_result(run_id="kept", seed=2),
        make_result(run_id="mended"),
        make_result(run_id="failed", status="failed", seed=2),
    )
    output = adbench("merge", "src", "dst").output
    assert "0 run(s) added (0 failed), 1 in place of failed ones, 2 there already" in output
    runs = mine.runs().set_index("run_id")
    assert runs.loc["kept", "seed"] == 1 and runs.loc["failed", "seed"] == 1
    assert_same_run(mine, other, "mended")
    assert raw(mine, "runs")["run_id"].is_unique
    # A failed row never hides an ok one, whatever comes later.
    adbench("merge", str(filled("late", make_result(run_id="mended", status="failed")).out), "dst")
    assert mine.statuses()["mended"] == "ok"


Machine = dict[str, tuple[str, int]]
machines = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from(("ok", "failed")), st.integers(0, 3))).filter(
        bool
    ),
    min_size=1,
    max_size=3,
)


def expected(order: list[Machine]) -> Machine:
    """The first ok run of each run_id, or else the first failed one."""
    merged: Machine = {}
    for machine in order:
        for run_id, found in machine.items():
            if merged.get(run_id, ("failed",))[0] == "failed" and (found[0] == "ok" or run_id not in merged):
                merged[run_id] = found
    return merged


@pytest.mark.usefixtures("no_page")
@given(machines=machines, compacted=st.sets(st.integers(0, 2)), data=st.data())
@settings(max_examples=25)
def test_any_order_gives_the_same_runs_and_twice_is_once(
    make_result: MakeResult, machines: list[Machine], compacted: set[int], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores = [ResultStore(f"{folder}/{number}") for number in range(len(machines))]
        for number, (store, machine) in enumerate(zip(stores, machines, strict=True)):
            store.prepare()
            for run_id, (status, seed) in machine.items():
                store.append(make_result(run_id=run_id, status=status, seed=seed))
            if number in compacted:
                store.compact(threshold=0)
        before = [content(store) for store in stores]
        order = data.draw(st.permutations(range(len(machines))))
        at_once = data.draw(st.booleans())
        target = ResultStore(f"{folder}/dst")
        outs = [stores[number].out for number in order]
        for part in [outs] if at_once else [[out] for out in outs]:
            merging.merge(part, target.out, lambda line: None)
        merged = expected([machines[number] for number in order])
        rows = raw(target, "runs")
        assert {row.run_id: (row.status, row.seed) for row in rows.itertuples()} == merged
        assert len(rows) == len(merged)
        assert {run_id: found[0] for run_id, found in merged.items()} == {
            run_id: found[0] for run_id, found in expected(machines).items()
        }
        n_ok = sum(status == "ok" for status, _ in merged.values())
        assert [len(raw(target, table)) for table in ("images", "history", "curves")] == [
            12 * n_ok,
            3 * n_ok,
            3 * n_ok,
        ]
        once = content(target)
        merging.merge(outs, target.out, lambda line: None)
        assert content(target) == once
        assert [content(store) for store in stores] == before


CHANGES: list[tuple[Any, str]] = [(os, "replace"), (os, "unlink"), (os, "link"), (pq, "write_table")]
"""What changes the disk."""


@pytest.mark.usefixtures("no_page")
def test_a_merge_killed_at_any_step_is_completed_by_the_same_merge(
    filled: Filled, make_result: MakeResult, tmp_path: Path
) -> None:
    ours = [make_result(run_id=name, seed=1) for name in ("here", "both")]
    mine = filled("mine", *ours, make_result(run_id="mended", status="failed", history=((0, "loss", 9.0),)))
    fresh = [make_result(run_id=name, seed=2) for name in ("both", "mended", "new", "newer")]
    source = filled("src", *fresh, make_result(run_id="failed", status="failed"))
    source.write_split("s", pd.DataFrame({"image": ["a"]}))
    _study(source, "s", 3)
    before = content(source)

    def merged(name: object) -> ResultStore:
        copy = ResultStore(tmp_path / f"copy-{name}")
        if not Path(copy.out).exists():
            shutil.copytree(mine.out, copy.out)
        merging.merge([source.out], copy.out, lambda line: None)
        return copy

    with killed_at(10**6, CHANGES) as calls:
        whole = merged("whole")
    steps = len(calls)
    assert steps > 40
    for step in range(steps):
        with killed_at(step, CHANGES) as made:
            merged(step)
        assert len(made) == step
        store = ResultStore(tmp_path / f"copy-{step}")
        ok = store.done()
        assert {"here", "both"} <= ok and ({"new", "newer"} <= ok or not ok & {"new", "newer"})
        images = store.images()
        # As in append, images of an ok run may be there while the failed row that it replaces still is.
        assert ok <= set(images["run_id"]) <= ok | {"mended"} and (images.groupby("run_id").size() == 12).all()
        assert all(store.gallery(run_id) is not None for run_id in ok)
        merged(step)
        pd.testing.assert_frame_equal(store.runs(), whole.runs())
        for table in SCHEMAS:
            assert sorted(raw(store, table)["run_id"]) == sorted(raw(whole, table)["run_id"])
        for run_id in ("mended", "new", "newer", "failed"):
            assert_same_run(store, source, run_id)
        hidden = [path for path in Path(store.out).rglob(".*") if path.name != ".store.lock"]
        assert not hidden
        assert len(optuna.load_study(study_name="s", storage=_storage(store)).trials) == 3
    assert content(source) == before


@pytest.mark.usefixtures("no_page")
def test_what_an_interrupted_writer_left_of_a_run_does_not_mix_with_it(
    filled: Filled, make_result: MakeResult, adbench: Adbench
) -> None:
    source = filled("src", make_result(run_id="run"))
    rest = filled("rest", with_maps(make_result(run_id="run", seed=3)))
    target = filled("dst")
    for name in content(rest):
        if not name.startswith("runs/"):
            shutil.copy(Path(rest.out, name), Path(target.out, name))
    filled("src", make_result(run_id="at-work"))
    Path(source.out, "runs", "at-work.parquet").unlink()
    assert adbench("merge", "src", "dst").exit_code == 0
    assert target.statuses() == {"run": "ok"}
    assert_same_run(target, source, "run")
    assert len(raw(target, "images")) == 12


@pytest.mark.usefixtures("no_page")
def test_a_run_whose_row_changes_meanwhile_waits_for_the_next_merge(
    filled: Filled, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the copy a failed run of the source becomes ok: its gallery was not listed."""
    source, target = filled("src", make_result(run_id="run", status="failed")), filled("dst")

    def take(*arguments: Any) -> Any:
        source.append(make_result(run_id="run"))
        return taking.take(*arguments)

    monkeypatch.setattr(merging, "take", take)
    merging.merge([source.out], target.out, lambda line: None)
    assert target.statuses() == {}
    merging.merge([source.out], target.out, lambda line: None)
    assert_same_run(target, source, "run")


@pytest.mark.usefixtures("no_page")
def test_parts_of_a_large_folder_come_one_after_another(
    filled: Filled, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = filled("src", *(make_result(run_id=f"r{number}") for number in range(7)))
    size = max(source.folder.sizes("maps").values())
    for name, value, n_parts in (("MOST_RUNS", 3, 3), ("MOST_BYTES", 2 * size, 3)):
        with monkeypatch.context() as patch:
            patch.setattr(merging, name, value)
            target = ResultStore(Path(source.out).with_name(name))
            merging.merge([source.out], target.out, lambda line: None)
        assert len(list(Path(target.out, "runs").glob("*.parquet"))) >= n_parts
        assert target.statuses() == source.statuses()


def _plan(cells: str, missing: str = "", **changes: Any) -> SuitePlan:
    """A plan with cells of the datasets ``cells``, each a letter, and with those of ``missing``."""
    planned = (
        PlannedCell(run_id=f"{name}-run", method="ckaad", dataset=name, category="a", seed=0, budget="smoke")
        for name in cells
    )
    lacking = (MissingDataset(name=name, title=name, home="", licence="") for name in missing)
    plan = SuitePlan(name="own", title="", rank_by="image_auroc", cells=tuple(planned), missing=tuple(lacking))
    return dataclasses.replace(plan, **changes)


def _card(name: str, text: str) -> Card:
    return Card(kind="method", name=name, facts=(), text=text, head=(), rows=())


@pytest.mark.usefixtures("no_page")
def test_plans_of_one_suite_become_one(filled: Filled, make_result: MakeResult) -> None:
    def published(value: float) -> PublishedValue:
        return PublishedValue(method="m", dataset="x", category="", metric="image_auroc", value=value, source="s")

    cell = {"suite": "own", "category": "a"}
    x = filled("x", make_result(run_id="x-run", dataset="x", **cell))
    y = filled("y", make_result(run_id="y-run", dataset="y", **cell))
    x.write_plan(_plan("xv", missing="yz", published=(published(1.0),), cards=(_card("m", "x"),)))
    y.write_plan(_plan("y", missing="xz", published=(published(1.0), published(2.0)), cards=(_card("m", "y"),)))
    y.write_plan(_plan("y", name="alone"))
    boards = []
    for order in itertools.permutations((x, y)):
        target = ResultStore(Path(x.out).with_name("to-" + Path(order[0].out).name))
        for _ in range(2):
            merging.merge([store.out for store in order], target.out, lambda line: None)
        plans = target.plans()
        own = plans["own"]
        assert {one.run_id for one in own.cells} == {"x-run", "v-run", "y-run"}
        assert [one.name for one in own.missing] == ["z"]
        assert sorted(one.value for one in own.published) == [1.0, 2.0]
        assert [card.text for card in own.cards] == [Path(order[0].out).name]
        assert plans["alone"] == y.plans()["alone"]
        board = build_leaderboard(
            target.runs(), target.images(), suite="own", plans=list(plans.values()), created=pd.Timestamp.now("UTC")
        )
        boards.append(build_coverage(board))
    for coverage in boards:
        assert coverage.n_planned == 1 and coverage.planned[0].cells == ("v/a (seed 0)",)
        assert [dataset.name for dataset, _ in coverage.not_here] == ["z"]


def _storage(store: ResultStore) -> Any:
    return open_storage(Path(store.out) / "sweeps" / "optuna.journal")


def _study(store: ResultStore, name: str, trials: int) -> None:
    """A study with so many complete trials and one at work, and its record."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=_storage(store), study_name=name, direction="maximize")
    study.add_trials(
        create_trial(
            params={"x": 0.5}, distributions={"x": optuna.distributions.FloatDistribution(0, 1)}, value=float(trials)
        )
        for _ in range(trials)
    )
    study.add_trial(create_trial(state=TrialState.WAITING)) if trials > 3 else None
    study.set_user_attr("of", store.out)
    store.write_search(
        SearchRecord(
            sweep_id=name,
            suite="own",
            method="ckaad",
            data=("x/a",),
            budget="smoke",
            objective=("val_image_auroc",),
            sampler="tpe",
            scheduler="none",
            trials=40,
            complete=trials,
            stopped=0,
            failed=0,
            lane_seconds=float(trials),
            best=(0.5,),
            setting={"x": 0.5},
        )
    )


def test_searches_come_with_their_studies(adbench: Adbench, filled: Filled, make_result: MakeResult) -> None:
    source, target = filled("src", make_result(run_id="a")), filled("dst", make_result(run_id="b"))
    for store, found in ((source, {"new": 2, "more": 5, "less": 1}), (target, {"more": 2, "less": 3, "own": 1})):
        for name, trials in found.items():
            _study(store, name, trials)
    with Path(source.out, "sweeps", "optuna.journal").open("ab") as journal:
        journal.write(b'{"op_code": 4, "half a li')
    before = content(source)
    ended_well = adbench("merge", "src", "dst")
    assert ended_well.exit_code == 0, ended_well.output
    assert "study more: the one with 5 ended trial(s) replaces the one with 2" in ended_well.output
    assert "study less: the one with 1 ended trial(s) is left out for the one with 3" in ended_well.output
    assert "2 search(es)" in ended_well.output
    studies = {name: optuna.load_study(study_name=name, storage=_storage(target)) for name in target.searches()}
    assert {name: ended(study) for name, study in studies.items()} == {"new": 2, "more": 5, "less": 3, "own": 1}
    assert studies["more"].user_attrs == {"of": source.out} and len(studies["more"].trials) == 6
    assert {name: search.complete for name, search in target.searches().items()} == {
        name: ended(study) for name, study in studies.items()
    }
    once = content(target)
    assert "replaces" not in adbench("merge", "src", "dst").output
    assert content(target) == once and content(source) == before


def test_no_journal_is_replaced_under_a_sweep_at_work(
    adbench: Adbench, filled: Filled, make_result: MakeResult
) -> None:
    source, target = filled("src", make_result(run_id="a")), filled("dst")
    _study(source, "s", 1)
    with alone(Path(target.out, "sweeps", "optuna.journal"), ""):
        refused = adbench("merge", "src", "dst")
    assert refused.exit_code == 2 and "another sweep is at work" in refused.output
    assert target.statuses() == {}


def test_wrong_folders_are_refused_before_anything_is_written(
    adbench: Adbench, filled: Filled, make_result: MakeResult, tmp_path: Path
) -> None:
    good = filled("good", make_result(run_id="a"))
    filled("empty")
    torn = filled("torn", make_result(run_id="b"))
    Path(torn.out, "images", "b.parquet").write_bytes(Path(torn.out, "images", "b.parquet").read_bytes()[:-40])
    _study(filled("journal", make_result(run_id="c")), "s", 1)
    Path("journal/sweeps/optuna.journal").write_text("{}\n[]\n")
    for name, table in {
        "foreign": {"city": ["Bonn"]},
        "numbers": {"run_id": [1], "status": [2]},
        "climbs": {"run_id": ["../../x"], "status": ["ok"]},
        "states": {"run_id": ["a"], "status": ["perhaps"]},
    }.items():
        Path(name, "runs").mkdir(parents=True)
        pq.write_table(pa.table(table), Path(name, "runs", "table.parquet"))
    Path("link").symlink_to("good")
    Path("other").mkdir()
    Path("other", "letter.txt").write_text("Dear")
    before = content(good)
    for words, message in {
        ("good", "nowhere", "dst"): "no runs in",
        ("empty", "dst"): "no runs in",
        ("good", "torn", "dst"): "images table of 'torn'",
        ("good", "journal", "dst"): "'journal': it is damaged",
        ("good", "foreign", "dst"): "'foreign' is none of adbench's",
        ("good", "numbers", "dst"): "runs table of 'numbers'",
        ("good", "climbs", "dst"): "run_id='../../x'",
        ("good", "states", "dst"): "status='perhaps'",
        ("good", "link"): "is the destination too",
        ("good", "other"): "holds no results, but other things",
        ("good", "other/letter.txt"): "is a file",
        ("torn", "good", "torn"): "is the destination too",
    }.items():
        refused = adbench("merge", *words)
        assert refused.exit_code == 2, (words, refused.output)
        assert message in refused.output and refused.output.count("\n") <= 4, refused.output
        assert "to do:" in refused.output or "remedy" in refused.output or len(refused.output.splitlines()) > 1
        assert not Path("dst").exists()
    assert content(good) == before and [path.name for path in Path("other").iterdir()] == ["letter.txt"]
    assert adbench("merge", "good").exit_code == 2


@pytest.mark.usefixtures("no_page")
def test_from_and_to_object_stores(
    adbench: Adbench, filled: Filled, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without rename, lock or fsync, as an object store is."""
    memory = pafs.FileSystem.from_uri("mock://")[0]
    monkeypatch.setattr(files, "_resolve", lambda url: (memory, url.removeprefix("s3://")))
    local = filled("local", with_maps(make_result(run_id="a")), make_result(run_id="f", status="failed"))
    _study(local, "s", 2)
    cloud = filled("s3://bucket/cloud", with_maps(make_result(run_id="b")), make_result(run_id="f"))
    for words, there in {
        ("s3://bucket/cloud", "local", "s3://bucket/all"): {"a", "b", "f"},
        ("s3://bucket/all", "here"): {"a", "b", "f"},
    }.items():
        for n_new in (len(there), 0):
            output = adbench("merge", *words).output
            assert (
                sum(int(line.split(": ")[1].split()[0]) for line in output.splitlines() if "added (" in line) == n_new
            )
        target = ResultStore(words[-1])
        assert target.done() == there
        assert_same_run(target, local, "a")
        assert_same_run(target, cloud, "b")
        assert_same_run(target, cloud, "f")
        assert target.folder.exists("sweeps/optuna.journal") and list(target.searches()) == ["s"]
    assert "is the destination too" in adbench("merge", "s3://bucket/all", "s3://bucket/all").output
