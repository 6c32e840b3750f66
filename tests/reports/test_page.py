"""The page as a file: complete, self-contained, inert whatever the data says."""

import base64
import gzip
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs as pafs

from adbench.reports import page, page_views, run_table
from adbench.reports.gallery import COLOUR_MAP, build_gallery, colour
from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.page import render, render_page
from adbench.reports.run_table import pack_runs
from adbench.reports.schema import (
    Gallery,
    GalleryCase,
    MissingDataset,
    PlannedCell,
    PublishedValue,
    RunResult,
    SearchRecord,
    SuitePlan,
    TrainingMaps,
)
from adbench.reports.side_files import SideFiles, zipped
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"
SCRIPTS = 5  # the model, the tiles, the packed tables, Plotly, and the page's own


class Document(HTMLParser):
    """What a browser would see: elements with their attributes, the text of scripts, and all other text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or f"code{len(self.scripts)}"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def model(self) -> Any:
        return json.loads(self.unzipped("model"))

    def packed(self) -> Any:
        return json.loads(self.unzipped("packed"))

    def unzipped(self, name: str) -> str:
        return gzip.decompress(base64.b64decode(self.scripts[name])).decode()


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    opened = ResultStore(tmp_path / "out")
    opened.prepare()
    return opened


def board_of(store: ResultStore) -> Leaderboard:
    return build_leaderboard(store.runs(), store.images(), created=NOW, resamples=50)


def fill(store: ResultStore, make_result: Make, **overrides: Any) -> None:
    for method in ("ckaad", "ssae"):
        for category in ("gear", "texture"):
            store.append(make_result(**{"method": method, "category": category, **overrides}))


def test_empty_store_gives_a_page_that_says_so(store: ResultStore) -> None:
    document = Document(render_page(store).read_text(encoding="utf-8"))
    assert "No runs yet" in document.text
    assert document.model()["slices"] == []


def test_store_of_trials_alone_gives_a_page_that_says_so(store: ResultStore, make_result: Make) -> None:
    store.append(make_result(sweep_id="s"))
    document = Document(render_page(store).read_text(encoding="utf-8"))
    assert "1 trial of a search, which no mean or rank counts" in " ".join(document.text.split())


def test_page_is_written_whole_into_the_results_folder(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    path = render_page(store)
    assert path == Path(store.out).resolve() / "report" / "index.html"
    assert [found.name for found in path.parent.iterdir()] == ["index.html"]
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")


def test_page_of_a_bucket_lies_in_the_bucket_and_in_a_copy_here(make_result: Make) -> None:
    bucket = pafs.FileSystem.from_uri("mock://")[0]
    store = ResultStore("bucket/out", bucket)
    store.prepare()
    store.append(make_result())
    path = render_page(store)
    with bucket.open_input_file("bucket/out/report/index.html") as stream:
        assert stream.read() == path.read_bytes()
    shutil.rmtree(path.parent)


def test_suite_filter_keeps_other_suites_off_the_page(store: ResultStore, make_result: Make) -> None:
    store.append(make_result(suite="one", method="wanted"))
    store.append(make_result(suite="two", method="unwanted"))
    document = Document(render_page(store, suite="one").read_text(encoding="utf-8"))
    assert [entry["label"] for entry in document.model()["entries"]] == ["wanted"]
    assert document.packed()["runs"]["columns"]["method"] == ["wanted"]
    assert "unwanted" not in document.text


def planned(*results: RunResult, rank_by: str = "image_auroc", name: str = "mine") -> SuitePlan:
    cells = tuple(
        PlannedCell(**{entry.name: getattr(one.record, entry.name) for entry in fields(PlannedCell)})
        for one in results
    )
    return SuitePlan(name=name, title="My suite", rank_by=rank_by, cells=cells)


def test_suite_over_cells_of_another_suite_has_a_page(store: ResultStore, make_result: Make) -> None:
    recorded = make_result(suite="theirs", method="wanted")
    store.append(recorded)
    store.append(make_result(suite="theirs", method="unwanted"))
    store.write_plan(planned(recorded, make_result(method="absent"), rank_by="pixel_ap"))
    document = Document(render_page(store, suite="mine").read_text(encoding="utf-8"))
    assert [entry["label"] for entry in document.model()["entries"]] == ["wanted"]
    assert document.model()["rank_by"] == "pixel_ap"
    assert "planned by mine, not run" in document.text
    assert "My suite" in document.text
    whole = Document(render_page(store).read_text(encoding="utf-8"))
    assert [entry["label"] for entry in whole.model()["entries"]] == ["unwanted", "wanted"]
    assert "planned by mine, not run" in whole.text
    assert "planned by mine" not in Document(render_page(store, suite="theirs").read_text(encoding="utf-8")).text


def test_suite_of_which_nothing_ran_has_its_plan_on_the_page(store: ResultStore, make_result: Make) -> None:
    store.write_plan(planned(make_result(method="absent")))
    document = Document(render_page(store, suite="mine").read_text(encoding="utf-8"))
    assert "No runs yet" in document.text
    assert "planned by mine, not run" in document.text


def test_published_values_are_beside_the_leaderboard_and_not_in_it(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    before = Document(render_page(store).read_text(encoding="utf-8")).model()
    assert before["published"] == []
    best = PublishedValue(
        method=HOSTILE, dataset="phantom", category="", metric="image_auroc", value=0.999, source=f"table {HOSTILE}"
    )
    more = [replace(best, metric="pixel_ap", value=0.5), replace(best, category="gear", value=0.9)]
    store.write_plan(replace(planned(), published=(best, *more)))
    html = render_page(store).read_text(encoding="utf-8")
    document = Document(html)
    model = document.model()
    row = {"method": HOSTILE, "dataset": "phantom", "source": f"table {HOSTILE}"}
    assert model["published"] == [
        {**row, "category": "", "values": {"image_auroc": 0.999, "pixel_ap": 0.5}},
        {**row, "category": "gear", "values": {"image_auroc": 0.9}},
    ]
    assert HOSTILE not in html and len(document.scripts) == SCRIPTS
    assert (model["entries"], model["slices"]) == (before["entries"], before["slices"])
    (box,) = (attributes for tag, attributes in document.elements if attributes.get("id") == "published")
    assert box["type"] == "checkbox" and "checked" not in box
    other = Document(render_page(store, suite="other").read_text(encoding="utf-8"))
    assert other.model()["published"] == []


@pytest.mark.parametrize("ran", [True, False])
def test_missing_datasets_are_on_the_page(store: ResultStore, make_result: Make, ran: bool) -> None:
    if ran:
        fill(store, make_result)
    missing = MissingDataset(name="visa", title=HOSTILE, home="https://example.org/visa", licence="CC BY 4.0")
    store.write_plan(replace(planned(), missing=(missing,)))
    html = render_page(store).read_text(encoding="utf-8")
    text = " ".join(Document(html).text.split())
    assert f"visa: {HOSTILE}left out of mine." in text and HOSTILE not in html
    assert "Get it from https://example.org/visa (licence: CC BY 4.0)" in text
    assert "adbench data prepare visa ARCHIVE" in text
    assert ("1 dataset left out, for the data was not there" in text) == ran
    assert "1 dataset not there" in text  # at the top


def test_what_a_search_left_out_is_on_the_page(
    store: ResultStore, make_result: Make, make_search: Callable[..., SearchRecord]
) -> None:
    fill(store, make_result)
    visa, btad = (
        MissingDataset(name=name, title=name.upper(), home="https://example.org", licence="CC BY 4.0")
        for name in ("visa", "btad")
    )
    store.write_plan(replace(planned(), missing=(visa,)))
    store.write_search(make_search(sweep_id="one", suite="mine", missing=(visa, btad)))
    store.write_search(make_search(sweep_id="two", suite="other", missing=(btad,)))
    text = " ".join(Document(render_page(store).read_text(encoding="utf-8")).text.split())
    assert "2 datasets not there" in text and "2 datasets left out, for the data was not there" in text
    told = (
        "visa: VISAleft out of mine.",
        "btad: BTADleft out of the search one.",
        "btad: BTADleft out of the search two.",
    )
    assert all(line in text for line in told)
    alone = " ".join(Document(render_page(store, suite="mine").read_text(encoding="utf-8")).text.split())
    assert told[1] in alone and told[2] not in alone


def test_metric_that_ranks_has_a_column(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    store.write_plan(planned(rank_by="aupro_005"))
    model = Document(render_page(store).read_text(encoding="utf-8")).model()
    assert {"aupro_005"} == {one["name"] for one in model["metrics"] if one["shown"]} - set(page.DEFAULT_COLUMNS)


def test_unknown_suite_is_named_on_the_page(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    document = Document(render_page(store, suite="nowhere").read_text(encoding="utf-8"))
    assert "The store holds no run of the suite nowhere." in document.text


def test_page_is_small_and_loads_nothing(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    html = render(board_of(store), build_gallery(board_of(store), store.gallery), SideFiles())
    document = Document(html)
    assert len(html.encode()) < 10_000_000
    assert [tag for tag, _ in document.elements].count("script") == SCRIPTS
    loads = [
        value
        for _, attributes in document.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster") and value is not None
    ]
    assert loads
    assert all(value.startswith(("#", "data:")) for value in loads)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert "@import" not in style[1]
    assert "url(" not in style[1]
    (policy,) = [attributes["content"] for tag, attributes in document.elements if "http-equiv" in attributes]
    assert policy is not None
    assert "default-src 'none'" in policy
    for script in (document.unzipped("plotly"), document.scripts["code4"]):
        assert page._csp_hash(script) in policy  # or the browser would not run it


def test_hostile_names_are_inert_and_kept_as_they_are(store: ResultStore, make_result: Make) -> None:
    names = {"method": HOSTILE, "category": "</script><u>x", "dataset": '"><img src=x onerror=alert(1)>'}
    texts = {"notes": HOSTILE, "command": "<!--<script>", "hardware": HOSTILE, "suite": "</title>" + HOSTILE}
    store.append(make_result(**names, **texts))
    store.append(make_result(**names, **texts, seed=1, status="failed", error=f"</pre>{HOSTILE}\u2028"))
    path = render_page(store, suite=texts["suite"])
    document = Document(path.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in document.elements]
    assert tags.count("script") == SCRIPTS
    assert "u" not in tags
    assert not any("onerror" in attributes for _, attributes in document.elements)
    assert not any((attributes.get("src") or "") == "x" for _, attributes in document.elements)
    assert document.model()["entries"][0]["method"] == HOSTILE
    assert document.packed()["runs"]["columns"]["error"].count(f"</pre>{HOSTILE}\u2028") == 1
    assert f"</pre>{HOSTILE}" in document.text  # the failure's full error, as text


def test_packed_runs_equal_the_store(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    store.append(make_result(seed=7, status="failed"))
    document = Document(render_page(store).read_text(encoding="utf-8"))
    table = document.packed()["runs"]
    runs = store.runs().set_index("run_id")
    assert (table["count"], table["total"]) == (5, 5)
    assert set(runs.columns) <= set(table["columns"])
    for row, run_id in enumerate(table["columns"]["run_id"]):
        stored = runs.loc[run_id]
        for name in ("image_auroc", "fit_seconds", "seed", "status", "command"):
            value = table["columns"][name][row]
            assert value is None if stored[name] is None or stored[name] != stored[name] else value == stored[name]


def test_too_many_runs_keep_the_newest_and_say_so(
    store: ResultStore, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, make_result)
    store.append(make_result(run_id="trial", sweep_id="s", started_at=NOW))
    whole = len(zipped(pack_runs(board_of(store), SideFiles())["columns"]))
    monkeypatch.setattr(run_table, "MOST_BYTES", whole * 9 // 10)
    monkeypatch.setattr(run_table, "FIRST_BYTES", whole * 7 // 10)
    document = Document(render_page(store).read_text(encoding="utf-8"))
    kept = document.packed()["runs"]
    runs = store.runs().sort_values("finished_at", ascending=False)
    newest = runs.loc[runs["sweep_id"].isna(), "run_id"].head(3)
    assert (kept["count"], kept["total"]) == (3, 5)
    assert kept["columns"]["run_id"] == newest.tolist()
    assert "holds 3 of 5 runs" in document.text


def test_packed_comparisons_hold_each_pair_of_the_best_once(
    store: ResultStore, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_views, "MOST_PAIRED", 3)
    for method, value in (("a", 0.5), ("b", 0.7), ("c", 0.9), ("d", 0.6)):
        for seed in range(3):
            metrics = {"pixel_ap": value + 0.01 * seed**2, "image_fpr95": value}
            store.append(make_result(method=method, seed=seed, images=(), metrics=metrics))
    packed = Document(render_page(store).read_text(encoding="utf-8")).packed()["comparisons"][0]
    found = packed["pixel_ap"]
    assert found["entries"] == [2, 1, 3, 0]
    assert found["wins"] == [1, 1, 1]
    assert found["losses"] == found["ties"] == [0, 0, 0]
    assert found["difference"] == pytest.approx([0.2, 0.3, 0.1])
    assert found["friedman"] is None  # one category
    assert all(
        low <= value <= high
        for low, value, high in zip(found["low"], found["difference"], found["high"], strict=True)
    )
    constant = packed["image_fpr95"]
    assert constant["entries"] == [0, 3, 1, 2]  # the lower, the better
    assert constant["difference"] == pytest.approx([-0.1, -0.2, -0.1])
    assert constant["p"] == [None] * 3  # no seed varies: nothing to test against


def test_intervals_of_runs_and_cells_are_on_the_page(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    store.append(make_result(method="ckaad", category="gear", seed=1, status="failed"))
    packed = Document(render_page(store).read_text(encoding="utf-8")).packed()
    runs, cells = packed["runs"]["columns"], packed["intervals"]["smoke"]
    for metric in ("image_auroc", "image_ap"):
        for row, status in enumerate(runs["status"]):
            low, high = runs[f"{metric}_low"][row], runs[f"{metric}_high"][row]
            if status == "failed":
                assert low is high is None
                continue
            assert low < runs[metric][row] < high
            place = list(zip(cells[metric]["place"], cells[metric]["entry"], strict=True))
            index = place.index((runs["place"][row], runs["entry"][row]))
            assert (cells[metric]["low"][index], cells[metric]["high"][index]) == (low, high)
        assert set(cells[metric]["kind"]) == {"images"}
    assert cells["pixel_ap"]["low"] == []


def test_gallery_shows_each_case_with_its_score_and_says_where_a_mask_is_missing(
    store: ResultStore, make_result: Make
) -> None:
    store.append(make_result())
    board = board_of(store)
    view = build_gallery(board, store.gallery)
    (row,) = view.datasets["phantom"]["phantom/texture"]
    assert [case.case for case in row.cases] == ["best", "typical", "worst"]
    assert (view.shown, view.left_out) == (3, 0)
    text = Document(render(board, view, SideFiles())).text
    assert "normal: no mask" in text
    for case in row.cases:
        assert f"score {case.score:.4g}" in text


def test_gallery_keeps_to_its_budget_and_counts_what_it_leaves_out(store: ResultStore, make_result: Make) -> None:
    fill(store, make_result)
    board = board_of(store)
    whole = build_gallery(board, store.gallery)
    size = sum(map(len, whole.tiles))
    view = build_gallery(board, store.gallery, budget=size // 2)
    assert sum(map(len, view.tiles)) <= size // 2
    assert view.shown + view.left_out == whole.shown == 12
    assert all(rows for rows in view.datasets["phantom"].values())  # every category keeps something
    assert "are left out" in Document(render(board, view, SideFiles())).text


def test_gallery_has_each_budget_with_categories_that_differ_in_size_alone(
    store: ResultStore, make_result: Make
) -> None:
    store.append(make_result(method="a", budget="smoke", image_size=64))
    store.append(make_result(method="a", budget="full", image_size=128))
    store.append(make_result(method="b", budget="full", image_size=128))
    view = build_gallery(board_of(store), store.gallery)
    rows = view.datasets["phantom"]["phantom/texture"]
    assert sorted((row.method, row.budget) for row in rows) == [("a", "full"), ("a", "smoke"), ("b", "full")]


def test_images_that_methods_share_are_kept_once(store: ResultStore, make_result: Make) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    for method in ("ckaad", "ssae"):
        case = GalleryCase(
            case="best",
            image_id="a",
            label=1,
            defect_type="crack",
            score=1.0,
            image=pixels,
            mask=pixels[..., 0] > 128,
            anomaly_map=np.zeros(pixels.shape[:2], np.float32),
        )
        store.append(make_result(method=method, gallery=Gallery(low=0, high=1, cases=(case,))))
    view = build_gallery(board_of(store), store.gallery)
    assert len(view.tiles) == 3
    first = base64.b64decode(view.tiles[0].split(",")[1])
    assert max(Image.open(io.BytesIO(first)).size) == 128


def test_training_images_are_shown_with_their_maps_of_some_rounds(store: ResultStore, make_result: Make) -> None:
    rng = np.random.default_rng(0)
    ids, images = ("a", "b", "c", "d", "e"), rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    rounds = tuple(
        TrainingMaps(
            name=f"pseudo-labels, round {n}",
            image_ids=ids,
            maps=rng.random((5, 16, 16), dtype=np.float32),
            images=images,
        )
        for n in range(1, 10)
    )
    store.append(replace(make_result(method="kist"), training_maps=rounds))
    store.append(make_result(method="ckaad"))
    board = board_of(store)
    view = build_gallery(board, store.gallery, store.training_maps)
    rows = {row.method: row for row in view.datasets["phantom"]["phantom/texture"]}
    assert rows["ckaad"].learned == ()
    shown = [1, 3, 5, 7, 9]
    for one, image_id in zip(rows["kist"].learned, ids[:3], strict=True):
        assert one.image_id == image_id and list(one.rounds) == [f"pseudo-labels, round {n}" for n in shown]
    assert "pseudo-labels, round 9" in Document(render(board, view, SideFiles())).text
    size = sum(map(len, view.tiles))
    small = build_gallery(board, store.gallery, store.training_maps, budget=size // 2)
    assert sum(map(len, small.tiles)) <= size // 2


def test_one_colour_range_maps_low_and_high_to_the_ends() -> None:
    found = colour(np.array([[-1.0, 2.0], [3.0, np.nan], [4.0, 9.0]], dtype=np.float32), 2.0, 4.0)
    assert found.shape == (3, 2, 3)
    assert (found[0] == COLOUR_MAP[0]).all()
    assert (found[2] == COLOUR_MAP[255]).all()
    assert (found[1, 0] == COLOUR_MAP[128]).all()
    assert (found[1, 1] == COLOUR_MAP[0]).all()
    assert (colour(np.ones((1, 1), np.float32), 1.0, 1.0) == COLOUR_MAP[0]).all()
