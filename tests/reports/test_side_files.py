"""What does not fit into the page lies beside it, complete, and leaves with the page that named it."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from adbench.reports import page_views, run_table
from adbench.reports.page import render_page
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def packed(html: str) -> Any:
    found = re.search(r'id="packed">([^<]*)<', html)
    assert found is not None
    return unpacked(found[1])


def part(folder: Path, file: dict[str, Any]) -> Any:
    """What a file beside the page hands over, under the key that the page knows."""
    content = (folder / file["file"]).read_text()
    assert len(content) == file["bytes"]
    found = re.fullmatch(rf'adbenchPart\("{file["key"]}","([A-Za-z0-9+/=]*)"\);\n', content)
    assert found is not None
    return unpacked(found[1])


def policy(html: str) -> str:
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    return found[1]


@pytest.fixture
def store(tmp_path: Path, make_result: Make) -> ResultStore:
    opened = ResultStore(tmp_path / "out")
    opened.prepare()
    for dataset in ("phantom", "elpv"):
        for seed in range(6):
            for method in ("a", "b"):
                opened.append(make_result(method=method, dataset=dataset, seed=seed, gallery=None))
    opened.append(make_result(run_id="trial", sweep_id="s"))
    return opened


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little fits into the page and into a file."""
    monkeypatch.setattr(run_table, "MOST_BYTES", 3000)
    monkeypatch.setattr(run_table, "FIRST_BYTES", 2500)
    monkeypatch.setattr(run_table, "PART_BYTES", 2500)
    monkeypatch.setattr(page_views, "MOST_VIEW_BYTES", 1000)


def test_page_that_holds_everything_has_no_files_and_allows_none(store: ResultStore) -> None:
    path = render_page(store)
    html = path.read_text(encoding="utf-8")
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]
    assert packed(html)["runs"]["files"] == []
    assert packed(html)["views"] == {}
    assert "strict-dynamic" not in policy(html)
    assert "This page is one file." in html


@pytest.mark.usefixtures("crowded")
def test_page_and_its_files_hold_each_run_once(store: ResultStore) -> None:
    path = render_page(store)
    html = path.read_text(encoding="utf-8")
    table = packed(html)["runs"]
    parts = [(file, part(path.parent, file)) for file in table["files"]]
    assert len(parts) > 1 and table["count"] > 0
    assert table["total"] == table["count"] + sum(file["count"] for file, _ in parts) == 25
    stored = store.runs().set_index("run_id")
    found = [*table["columns"]["run_id"], *(one for _, own in parts for one in own["columns"]["run_id"])]
    assert sorted(found) == sorted(stored.index)
    for file, own in parts:
        assert own["count"] == file["count"] == len(own["columns"]["run_id"])
        assert own["columns"].keys() == table["columns"].keys()
        assert own["columns"]["image_auroc"] == stored.loc[own["columns"]["run_id"], "image_auroc"].tolist()
        counts = {
            dataset
            for dataset, standing in zip(own["columns"]["dataset"], own["columns"]["standing"], strict=True)
            if standing == "current"
        }
        assert file["datasets"] == sorted(counts)
    assert "strict-dynamic" in policy(html)
    assert f"This page holds {table['count']} of 25 runs" in html


@pytest.mark.usefixtures("crowded")
def test_figures_of_the_metric_shown_first_are_in_the_page_and_the_others_beside_it(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = render_page(store)
    own = packed(path.read_text(encoding="utf-8"))
    monkeypatch.setattr(page_views, "MOST_VIEW_BYTES", 10**6)
    whole = packed(render_page(store).read_text(encoding="utf-8"))
    monkeypatch.setattr(page_views, "MOST_VIEW_BYTES", 1000)
    path = render_page(store)
    first = {"smoke image_auroc": own}
    others = {name: part(path.parent, file) for name, file in own["views"].items()}
    assert len(others) == 15
    for name, view in (first | others).items():
        metric = name.split()[1]
        assert view["intervals"] == {"smoke": {metric: whole["intervals"]["smoke"][metric]}}
        for index, found in enumerate(whole["figures"]):
            for kind, by_metric in found.items():
                expected = {metric: by_metric[metric]} if metric in by_metric else {}
                assert view["figures"][index][kind] == expected
            assert view["comparisons"][index] == {metric: whole["comparisons"][index][metric]}


@pytest.mark.usefixtures("crowded")
def test_files_of_an_earlier_page_go(store: ResultStore, make_result: Make) -> None:
    path = render_page(store)
    before = {one.name for one in (path.parent / "parts").iterdir()}
    store.append(make_result(seed=99, dataset="elpv", method="a", gallery=None))
    html = render_page(store).read_text(encoding="utf-8")
    after = {one.name for one in (path.parent / "parts").iterdir()}
    named = packed(html)
    assert after == {Path(file["file"]).name for file in (*named["runs"]["files"], *named["views"].values())}
    assert before - after


@pytest.mark.usefixtures("crowded")
def test_files_of_a_page_in_a_bucket_lie_in_the_bucket_and_beside_the_copy(make_result: Make) -> None:
    bucket = pafs.FileSystem.from_uri("mock://")[0]
    store = ResultStore("bucket/out", bucket)
    store.prepare()
    for seed in range(12):
        store.append(make_result(seed=seed, gallery=None))
    path = render_page(store)
    files = packed(path.read_text(encoding="utf-8"))["runs"]["files"]
    assert files
    for file in files:
        with bucket.open_input_file(f"bucket/out/report/{file['file']}") as stream:
            assert stream.read() == (path.parent / file["file"]).read_bytes()
