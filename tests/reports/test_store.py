"""The store on local folders and on pyarrow file systems, read back with plain pandas."""

import dataclasses
import errno
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs as pafs

from adbench.reports import encoding, files
from adbench.reports.schema import (
    CURVES_SCHEMA,
    HISTORY_SCHEMA,
    IMAGES_SCHEMA,
    RUNS_SCHEMA,
    Card,
    EvalSplit,
    ImageScores,
    MissingDataset,
    PlannedCell,
    PublishedValue,
    RunResult,
    SplitMaps,
    SuitePlan,
    TrainingMaps,
)
from adbench.reports.store import ResultStore

MakeResult = Callable[..., RunResult]
TABLES = ("runs", "images", "history", "curves")


def subtree(path: Path) -> ResultStore:
    return ResultStore("out", pafs.SubTreeFileSystem(str(path), pafs.LocalFileSystem()))


def in_memory(path: Path) -> ResultStore:
    """A file system without rename, lock or fsync, as an object store is."""
    return ResultStore("bucket/out", pafs.FileSystem.from_uri("mock://")[0])


STORES: dict[str, Callable[[Path], ResultStore]] = {
    "path": lambda path: ResultStore(path / "out"),
    "name": lambda path: ResultStore(str(path / "öut put")),
    "url": lambda path: ResultStore((path / "out").as_uri()),
    "subtree": subtree,
    "memory": in_memory,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    """A prepared, empty store of each kind."""
    store = STORES[request.param](tmp_path)
    store.prepare()
    return store


@pytest.fixture
def local(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    return store


def same_gallery(a: Any, b: Any) -> bool:
    """Whether two galleries, or parts of them, are equal, types of arrays included."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same_gallery(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same_gallery, a, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and np.array_equal(a, b))
    return bool(a == b)


def test_a_run_comes_back_as_it_was(store: ResultStore, make_result: MakeResult) -> None:
    result = make_result(seed=3, notes="line\nline")
    assert store.append(result)
    (row,) = store.runs().to_dict("records")
    expected = {**vars(result.record), **result.record.metrics}
    del expected["metrics"]
    assert {name: None if pd.isna(value) else value for name, value in row.items()} == {
        name: expected.get(name) for name in RUNS_SCHEMA.names
    }
    images = store.images()
    val, test = result.images
    assert list(images["image_id"]) == [*val.image_ids, *test.image_ids]
    assert list(images["split"]) == ["val"] * 4 + ["test"] * 8
    np.testing.assert_array_equal(images["score"], np.concatenate([val.scores, test.scores]))
    np.testing.assert_array_equal(images["label"], np.concatenate([val.labels, test.labels]))
    history = store.history()
    assert tuple(history[["step", "name", "value"]].itertuples(index=False, name=None)) == result.history
    assert result.gallery is not None
    assert same_gallery(store.gallery(result.record.run_id), result.gallery)
    curves = store.curves()
    assert set(curves["run_id"]) == {result.record.run_id}
    for (_, one), curve in zip(curves.iterrows(), result.curves, strict=True):
        assert (one["split"], one["name"]) == (curve.split, curve.name)
        np.testing.assert_array_equal(one["x"], np.array(curve.x, dtype=np.float32))
        np.testing.assert_array_equal(one["y"], np.array(curve.y, dtype=np.float32))
    assert store.done() == {result.record.run_id}


def split_maps(split: EvalSplit, *image_ids: str) -> SplitMaps:
    maps = np.random.default_rng(len(image_ids)).random((len(image_ids), 4, 4), dtype=np.float32)
    return SplitMaps(split=split, image_ids=image_ids, maps=maps)


def test_scores_and_maps_come_back_as_they_were(store: ResultStore, make_result: MakeResult) -> None:
    other, result = make_result(seed=1), make_result(seed=2)
    kept = (split_maps("val", "a", "b"), split_maps("test"))
    for appended in (other, dataclasses.replace(result, maps=kept)):
        store.append(appended)
    run_id = result.record.run_id
    assert all(same_gallery(store.maps(run_id, maps.split), maps) for maps in kept)
    assert store.maps(other.record.run_id, "val") is None
    assert same_gallery(tuple(store.scores(run_id).values()), result.images)
    empty = store.scores("unknown")["val"]
    assert len(empty.image_ids) == len(empty.labels) == len(empty.scores) == 0


def test_maps_over_training_images_come_back_in_256_levels(store: ResultStore, make_result: MakeResult) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1, 5, 5, 3), dtype=np.uint8)
    rounds = tuple(
        TrainingMaps(
            name=f"round {n}",
            image_ids=("a", "b/c")[:n],
            maps=rng.random((n, 5, 5), dtype=np.float32),
            images=pictures,
        )
        for n in (1, 2)
    )
    plain, result = make_result(run_id="plain"), make_result(run_id="r-m1")
    store.append(dataclasses.replace(result, training_maps=rounds))
    store.append(plain)
    store.append_rescored(dataclasses.replace(result.record, run_id="r-m2"), "r-m1")
    assert store.training_maps("plain") == ()
    for run_id in ("r-m1", "r-m2"):
        kept = store.training_maps(run_id)
        assert [(maps.name, maps.image_ids) for maps in kept] == [(maps.name, maps.image_ids) for maps in rounds]
        for found, appended in zip(kept, rounds, strict=True):
            assert found.maps.dtype == np.float32
            np.testing.assert_allclose(found.maps, appended.maps, atol=0.5001 / 255)
            np.testing.assert_array_equal(found.images, pictures)


def test_maps_that_were_kept_without_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    maps = np.full((2, 5, 5), 255, np.uint8)
    np.savez(tmp_path / "maps" / "old-training.npz", names=["round 1"], image_ids_0=["a", "b"], maps_0=maps)
    (found,) = ResultStore(tmp_path).training_maps("old")
    assert (found.image_ids, found.maps.min(), len(found.images)) == (("a", "b"), 1.0, 0)


def test_the_record_of_a_row_gives_the_row_again(store: ResultStore, make_result: MakeResult) -> None:
    results = [
        make_result(seed=1, notes="a"),
        make_result(seed=2, status="failed", n_train=None, metric_version=None),
    ]
    for result in results:
        store.append(result)
    for row in store.runs().to_dict("records"):
        content = store.folder.read(f"runs/{row['run_id']}.parquet")
        assert encoding.runs_bytes(encoding.load_record(row)) == content


@pytest.mark.parametrize("compacted", [False, True])
def test_a_rescored_run_is_the_same_but_for_its_row(
    store: ResultStore, make_result: MakeResult, compacted: bool
) -> None:
    source, other = make_result(run_id="r-m1"), make_result(run_id="other", gallery=None)
    store.append(dataclasses.replace(source, maps=(split_maps("val", "a"), split_maps("test", "b"))))
    store.append(other)
    store.append(make_result(run_id="bare", history=()))
    if compacted:
        store.compact(threshold=1)
    before = {name: store.folder.read(f"maps/{name}") for name in store.folder.names("maps")}
    record = dataclasses.replace(source.record, run_id="r-m2", metric_version=2, metrics={"image_ap": 0.25})
    assert store.append_rescored(record, "r-m1")
    assert not store.append_rescored(dataclasses.replace(record, metrics={}), "r-m1")
    rows = store.runs().set_index("run_id")
    assert list(rows.loc[["r-m1", "r-m2"], "image_ap"]) == [source.record.metrics["image_ap"], 0.25]
    for read in (store.images, store.history, store.curves):
        old, new = read(["r-m1"]), read(["r-m2"])
        assert len(old) and set(new["run_id"]) == {"r-m2"}
        pd.testing.assert_frame_equal(old.drop(columns="run_id"), new.drop(columns="run_id"))
    assert same_gallery(store.gallery("r-m2"), source.gallery)
    for split in ("val", "test"):
        assert same_gallery(store.maps("r-m2", split), store.maps("r-m1", split))
    after = {name: store.folder.read(f"maps/{name}") for name in store.folder.names("maps")}
    assert before.items() <= after.items() and len(after) == len(before) + 3
    # What the source lacks, a failed attempt of the same run_id must not have left.
    failed = make_result(run_id="bare-m2", status="failed", history=((0, "loss", 1.0),), gallery=source.gallery)
    store.append(dataclasses.replace(failed, maps=(split_maps("test", "b"),)))
    assert store.append_rescored(dataclasses.replace(make_result(run_id="bare").record, run_id="bare-m2"), "bare")
    assert store.history(["bare-m2"]).empty
    assert store.maps("bare-m2", "test") is None


def test_maps_of_a_rescored_run_take_no_room_where_the_disk_has_links(
    local: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    source = make_result(run_id="r-m1")
    local.append(source)
    maps = Path(local.out) / "maps"
    for version in (2, 3):
        local.append_rescored(dataclasses.replace(source.record, run_id=f"r-m{version}"), "r-m1")
        monkeypatch.setattr(os, "link", no_links)
    assert (maps / "r-m1.npz").samefile(maps / "r-m2.npz")
    assert not (maps / "r-m1.npz").samefile(maps / "r-m3.npz")
    assert len({(maps / f"r-m{version}.npz").read_bytes() for version in (1, 2, 3)}) == 1


def test_columns_have_the_same_types_in_every_store(store: ResultStore, make_result: MakeResult) -> None:
    """Empty, with undefined values, with all of them."""
    read = (store.runs, store.images, store.history, store.curves)
    empty = [method().dtypes for method in read]
    assert [list(dtypes.index) for dtypes in empty] == [
        schema.names for schema in (RUNS_SCHEMA, IMAGES_SCHEMA, HISTORY_SCHEMA, CURVES_SCHEMA)
    ]
    assert store.done() == set()
    store.append(make_result(seed=1, status="failed", n_train=None, metrics={}))
    for result in (make_result(seed=2), make_result(seed=3)):
        for before, method in zip(empty, read, strict=True):
            pd.testing.assert_series_equal(method().dtypes, before)
        store.append(result)


def test_an_unwritten_folder_reads_as_empty(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "nothing")
    assert store.runs().empty and store.images().empty and store.history().empty and store.curves().empty
    assert store.gallery("r") is None
    assert not (tmp_path / "nothing").exists()


def test_failed_gives_way_and_ok_stays(store: ResultStore, make_result: MakeResult) -> None:
    failed = make_result(run_id="r", status="failed", error="first")
    assert store.append(failed)
    assert store.done() == set()
    assert store.append(make_result(run_id="r", status="failed", error="second"))
    assert list(store.runs()["error"]) == ["second"]
    assert store.append(make_result(run_id="r", image_size=64))
    assert not store.append(failed)
    assert not store.append(make_result(run_id="r", image_size=128))
    assert store.runs()[["status", "image_size"]].to_dict("records") == [{"status": "ok", "image_size": 64}]
    assert len(store.images()) == 12 and store.gallery("r") is not None


def test_a_new_attempt_leaves_nothing_of_the_old(store: ResultStore, make_result: MakeResult) -> None:
    full = make_result(run_id="r")
    assert store.append(dataclasses.replace(full, record=make_result(run_id="r", status="failed").record))
    assert len(store.images()) == 12 and len(store.history()) == 3
    empty = ImageScores(
        split="test",
        image_ids=(),
        labels=np.zeros(0, np.int64),
        defect_types=(),
        scores=np.zeros(0, np.float32),
    )
    store.append(make_result(run_id="r", images=(empty,), history=(), gallery=None, curves=()))
    assert store.images().empty and store.history().empty and store.curves().empty
    assert store.gallery("r") is None
    assert len(store.runs()) == 1


def test_rows_are_selected_by_run(store: ResultStore, make_result: MakeResult) -> None:
    results = [make_result(seed=seed) for seed in range(3)]
    for result in results:
        store.append(result)
    first = results[0].record.run_id
    assert set(store.images([first, "unknown"])["run_id"]) == {first}
    assert set(store.history([first])["run_id"]) == {first}
    assert store.images([]).empty
    assert len(store.images()) == 36


def test_plain_pandas_reads_the_folder(local: ResultStore, make_result: MakeResult) -> None:
    for seed in range(3):
        local.append(make_result(seed=seed))
    local.append(make_result(seed=9, status="failed"))
    for table, frame in zip(TABLES, (local.runs(), local.images(), local.history(), local.curves()), strict=True):
        raw = pd.read_parquet(Path(local.out) / table)
        assert list(raw.columns) == list(frame.columns)
        assert sorted(map(repr, raw["run_id"])) == sorted(map(repr, frame["run_id"]))
    raw = pd.read_parquet(Path(local.out) / "runs").sort_values(["started_at", "run_id"], ignore_index=True)
    pd.testing.assert_frame_equal(raw, local.runs(), check_dtype=False)


def test_a_store_of_before_the_curves_were_kept_works_as_ever(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result(seed=0, curves=()))
    (Path(local.out) / "curves").rmdir()
    assert list(local.curves().columns) == CURVES_SCHEMA.names and local.curves().empty
    assert len(local.runs()) == 1
    assert local.append(make_result(seed=1)), "the folder is made anew"
    assert local.curves()["run_id"].nunique() == 1
    assert local.compact(threshold=1) == 2 + 2 + 2


def test_pandas_unfolds_curves(local: ResultStore, make_result: MakeResult) -> None:
    for seed in range(2):
        local.append(make_result(seed=seed))
    local.compact(threshold=1)
    local.append(make_result(seed=2))
    points = pd.read_parquet(Path(local.out) / "curves").explode(["x", "y"])
    assert len(points) == 3 * 3 * len(make_result().curves[0].x)
    assert points.groupby(["run_id", "name"])["y"].max().eq(1).all()


def test_rows_of_uncommitted_runs_are_not_read(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result(run_id="here"))
    local.append(make_result(run_id="gone"))
    (Path(local.out) / "runs" / "gone.parquet").unlink()
    assert set(local.images()["run_id"]) == {"here"}
    assert set(local.history(["gone", "here"])["run_id"]) == {"here"}


def test_a_file_of_an_older_version_lacks_columns(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result(run_id="old"))
    path = Path(local.out) / "runs" / "old.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["notes", "image_ece"]), path)
    local.append(make_result(run_id="new", notes="n", metrics={"image_ece": 0.5}))
    runs = local.runs().set_index("run_id").loc[["old", "new"]]
    assert list(runs["notes"].isna()) == list(runs["image_ece"].isna()) == [True, False]
    assert runs["notes"].iloc[1] == "n" and runs["image_ece"].iloc[1] == 0.5


def test_a_run_copied_twice_counts_once(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result(run_id="r", status="failed"))
    runs = Path(local.out) / "runs"
    (runs / "r.parquet").rename(runs / "copied-by-hand.parquet")
    local.append(make_result(run_id="r"))
    assert list(local.runs()["status"]) == ["ok"]


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=20), other=st.text(min_size=1, max_size=20))
def test_any_text_survives(make_result: MakeResult, text: str, other: str) -> None:
    """Quotes, newlines, NUL, markup; of undecodable bytes (lone surrogates) a visible escape."""
    visible = text.encode("utf-8", "backslashreplace").decode()
    scores = ImageScores(
        split="test",
        image_ids=(text, other),
        labels=np.array([0, 1]),
        defect_types=(other, text),
        scores=np.array([0.0, np.inf], np.float32),
    )
    full = make_result()
    assert full.gallery is not None
    cases = (dataclasses.replace(full.gallery.cases[0], image_id=text, defect_type=text),)
    result = make_result(
        category=text,
        error=other,
        command=text,
        run_id="r",
        images=(scores,),
        history=((0, text, float("nan")),),
        gallery=dataclasses.replace(full.gallery, cases=cases),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(folder)
        store.append(result)
        store.write_split(other, pd.DataFrame({"image_id": [visible]}))
        assert store.runs()[["category", "error", "command"]].to_numpy().tolist() == [[visible, other, visible]]
        assert store.images()[["image_id", "defect_type"]].to_numpy().tolist() == [
            [visible, other],
            [other, visible],
        ]
        assert list(store.history()["name"]) == [visible]
        gallery = store.gallery("r")
        assert gallery is not None and gallery.cases[0].image_id == visible
        assert len(list((Path(folder) / "splits").iterdir())) == 1


def test_undefined_metrics_are_null(local: ResultStore, make_result: MakeResult) -> None:
    metrics = {"image_auroc": float("nan"), "pixel_ap": None, "aupro_030": np.float32(0.5)}
    local.append(make_result(run_id="r", metrics=metrics))
    table = pq.read_table(Path(local.out) / "runs" / "r.parquet")
    assert table["image_auroc"].null_count == table["pixel_ap"].null_count == 1
    assert table["val_image_ap"].null_count == 1
    assert table["aupro_030"].to_pylist() == [0.5]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"run_id": "../r"}, "'../r'"),
        ({"run_id": ""}, "run_id=''"),
        ({"run_id": "compacted.x"}, "compacted.x"),
        ({"metrics": {"auroc": 1.0}}, "auroc"),
        ({"started_at": datetime(2026, 1, 1)}, "time zone"),
    ],
)
def test_an_unfit_result_is_refused(
    local: ResultStore, make_result: MakeResult, overrides: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        local.append(make_result(**overrides))
    assert all(not list((Path(local.out) / folder).iterdir()) for folder in (*TABLES, "maps"))


def test_ragged_images_are_refused_before_anything_is_written(local: ResultStore, make_result: MakeResult) -> None:
    scores = dataclasses.replace(make_result().images[0], scores=np.zeros(3, np.float32))
    with pytest.raises(ValueError):
        local.append(make_result(images=(scores,)))
    assert local.runs().empty and local.images().empty


def plan(name: str = "a/b ö", category: str = "mono", **changes: Any) -> SuitePlan:
    cells = tuple(
        PlannedCell(run_id=f"r{seed}", method="recon", dataset="elpv", category=category, seed=seed, budget="quick")
        for seed in range(2)
    )
    return SuitePlan(**{"name": name, "title": "A", "rank_by": "image_ap", "cells": cells, **changes})


def test_the_latest_plan_of_each_suite_is_kept(store: ResultStore) -> None:
    assert store.plans() == {}
    for written in (plan(), plan("."), plan(title="B")):
        store.write_plan(written)
    assert store.plans() == {"a/b ö": plan(title="B"), ".": plan(".")}
    assert store.folder.names("suites") == {"a%2Fb %C3%B6.json", "..json"}


PUBLISHED = PublishedValue(
    method="m", dataset="elpv", category="", metric="image_auroc", value=0.9, source="Ä et al., table 1"
)
MISSING = MissingDataset(name="visa", title="VisA", home="https://x", licence="CC BY 4.0")


CARD = Card(
    kind="method", name="m", facts=(("paper", "Ä"),), text="t", head=("a", "b"), rows=(("1", "2"), ("3", "4"))
)


def test_plan_keeps_published_values_missing_datasets_and_cards(store: ResultStore) -> None:
    both = (PUBLISHED, dataclasses.replace(PUBLISHED, category="mono"))
    written = plan(published=both, missing=(MISSING,), cards=(CARD,))
    store.write_plan(written)
    assert store.plans() == {"a/b ö": written}


@pytest.mark.parametrize(
    "damage", [{"rows": [["1"]]}, {"rows": None}, {"head": [1, 2]}, {"facts": [["one"]]}, {"text": None}]
)
def test_plan_with_a_damaged_card_is_none(local: ResultStore, damage: dict[str, Any]) -> None:
    local.write_plan(plan("x", cards=(CARD,)))
    path = Path(local.out) / "suites" / "x.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cards"][0] |= damage
    path.write_text(json.dumps(content), encoding="utf-8")
    assert local.plans() == {}


def test_plan_of_an_earlier_version_has_none_of_these(local: ResultStore) -> None:
    local.write_plan(plan("x", published=(PUBLISHED,), missing=(MISSING,), cards=(CARD,)))
    path = Path(local.out) / "suites" / "x.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({key: content[key] for key in ("name", "title", "rank_by", "cells")}), encoding="utf-8"
    )
    assert local.plans() == {"x": plan("x")}


@pytest.mark.parametrize(
    "change",
    [{"published": (dataclasses.replace(PUBLISHED, value="0.9"),)}, {"missing": ("visa",)}],  # type: ignore[arg-type]
)
def test_plan_with_wrong_published_or_missing_is_refused(local: ResultStore, change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        local.write_plan(plan(**change))
    assert local.plans() == {}


def test_plan_names_bytes_that_no_text_has(local: ResultStore) -> None:
    local.write_plan(plan("x\udcff", category="y\udcff"))
    assert local.plans() == {"x\\udcff": plan("x\\udcff", category="y\\udcff")}


@pytest.mark.parametrize("seed", ["0", None, 1.5, True])
def test_plan_of_wrong_types_is_refused(local: ResultStore, seed: Any) -> None:
    cell = dataclasses.replace(plan().cells[0], seed=seed)
    with pytest.raises(ValueError, match="seed="):
        local.write_plan(plan(cells=(cell,)))
    assert local.plans() == {}


def test_files_that_are_no_plans_are_passed_over(local: ResultStore) -> None:
    local.write_plan(plan("x"))
    suites = Path(local.out) / "suites"
    good = (suites / "x.json").read_text(encoding="utf-8")
    foreign = {
        "copy of x.json": good,
        "y.json": good.replace('"x"', '"y"').replace("cells", "lines"),
        "z.json": good.replace('"x"', '"z"')[:-20],
        "list.json": "[]",
        "none.json": "null",
        "cells.json": '{"name": "cells", "title": "", "rank_by": "", "cells": [1]}',
        "notes.txt": "suites",
        "bytes.json": "\0",
        ".x.tmp": good,
    }
    for name, text in foreign.items():
        (suites / name).write_text(text, encoding="utf-8")
    (suites / "latin.json").write_bytes(b'"\xff"')
    (suites / "folder.json").mkdir()
    assert local.plans() == {"x": plan("x")}
    local.prepare()  # clears what an interrupted writer left
    assert local.folder.names("suites") >= foreign.keys() - {".x.tmp"}
    assert ".x.tmp" not in local.folder.names("suites")


def test_a_split_is_kept_once(store: ResultStore) -> None:
    store.write_split("elpv/mono seed=0", pd.DataFrame({"image_id": ["a,b", "ö"], "split": ["val", "test"]}))
    store.write_split("elpv/mono seed=0", pd.DataFrame({"image_id": []}))
    folder = store._folder
    assert folder.names("splits") == {"elpv%2Fmono seed=0.csv"}
    content = folder.read("splits/elpv%2Fmono seed=0.csv").decode()
    assert content == 'image_id,split\n"a,b",val\nö,test\n'


def test_a_store_travels_to_another_process(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result())
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(local)).runs(), local.runs())


def test_prepare_makes_the_folders_and_clears_dead_writers_files(local: ResultStore) -> None:
    root = Path(local.out)
    stray = root / "images" / f".0123{files.TEMPORARY}"
    stray.write_bytes(b"half")
    local.prepare()
    local.prepare()
    assert not stray.exists()
    assert {path.name for path in root.iterdir() if path.is_dir()} == {*TABLES, "maps", "report", "logs"}
    assert not any(path.is_file() for path in root.glob("*/*"))


def test_constructing_touches_nothing(tmp_path: Path) -> None:
    ResultStore(tmp_path / "out")
    ResultStore((tmp_path / "out").as_uri())
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ResultStore("out")
    monkeypatch.chdir("/")
    store.prepare()
    assert (tmp_path / "out" / "runs").is_dir()


def test_arrow_types_are_kept_in_the_files(local: ResultStore, make_result: MakeResult) -> None:
    local.append(make_result(run_id="r"))
    for table, schema in zip(TABLES, (RUNS_SCHEMA, IMAGES_SCHEMA, HISTORY_SCHEMA, CURVES_SCHEMA), strict=True):
        stored: pa.Schema = pq.read_schema(Path(local.out) / table / "r.parquet")
        assert stored.remove_metadata().equals(schema)
