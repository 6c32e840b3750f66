"""Re-scoring: real runs under one metric_version, then definitions that change."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import Result
from PIL import Image
from pyarrow import fs as pafs

from adbench.benchmark_suites.metrics import METRIC_VERSION, METRICS, image_metrics
from adbench.orchestrator import evaluation, plan, rescore
from adbench.orchestrator.cell import Cell, training_of, with_metric_version
from adbench.orchestrator.evaluation import Judge, PixelLevel
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from adbench.reports.entries import sort_runs
from adbench.reports.errors import StoreError
from adbench.reports.schema import EVAL_SPLITS, METRIC_COLUMNS, VAL_METRIC_COLUMNS
from adbench.reports.store import ResultStore

Adbench = Callable[..., Result]
NewVersion = Callable[..., None]
Metrics = dict[str, float | None]
QUICK = ("suite=smoke", "method=brightness", "launcher=inprocess")
FUNCTIONS = ((evaluation, "image_metrics"), (evaluation, "val_threshold_metrics"), (Judge, "_map_metrics"))
PIXEL = [name for name, info in METRICS.items() if info.level == "pixel"]
OF_ONE_EXECUTION = [
    "started_at",
    "finished_at",
    "fit_seconds",
    "predict_ms_per_image",
    "peak_rss_mb",
    "notes",
]

pytestmark = pytest.mark.usefixtures("faulty_methods")


@pytest.fixture
def new_version(monkeypatch: pytest.MonkeyPatch) -> NewVersion:
    """Change the definition of the named metrics to 1 minus what it was, and raise METRIC_VERSION for that."""

    def raise_to(version: int, *changed: str) -> None:
        for module in (plan, rescore):
            monkeypatch.setattr(module, "METRIC_VERSION", version)
        for name in changed:
            monkeypatch.setitem(METRICS, name, dataclasses.replace(METRICS[name], changed_in=version))
        for owner, function in FUNCTIONS:
            monkeypatch.setattr(owner, function, _flipping(getattr(owner, function), set(changed)))

    return raise_to


def _flipping(real: Callable[..., Any], names: set[str]) -> Callable[..., Any]:
    def flip(values: Metrics) -> Metrics:
        return {name: 1 - value if name in names and value is not None else value for name, value in values.items()}

    def flipped(*arguments: Any) -> Any:
        given = real(*arguments)
        if isinstance(given, PixelLevel):
            return dataclasses.replace(given, metrics=flip(given.metrics))
        return flip(given)

    return flipped


def _store(out: str = "adbench-results") -> ResultStore:
    return ResultStore(out)


def _rows(version: int, out: str = "adbench-results") -> pd.DataFrame:
    runs = _store(out).runs()
    return runs[runs["metric_version"] == version].set_index("run_id").sort_index()


def _content(out: str = "adbench-results") -> dict[str, bytes]:
    files = [
        path
        for part in ("runs", "images", "history", "curves", "maps", "splits")
        for path in (Path(out) / part).iterdir()
    ]
    return {str(path): path.read_bytes() for path in files}


def _standing(version: int) -> set[str]:
    runs = sort_runs(_store().runs()).runs
    return set(runs.loc[runs["metric_version"] == version, "standing"])


def test_a_raised_version_says_what_changed() -> None:
    """Else re-scoring would carry values over under a definition that is not theirs."""
    assert max(info.changed_in for info in METRICS.values()) == METRIC_VERSION
    assert min(info.changed_in for info in METRICS.values()) >= 1


def test_the_run_id_of_a_training_differs_in_the_version_alone(plan_of: Callable[..., Plan]) -> None:
    (cell,) = plan_of("suite=smoke", "method=recon", "category=weave").cells
    assert re.fullmatch(rf"[0-9a-f]{{20}}-m{METRIC_VERSION}", cell.run_id)
    later = Cell(**{**cell.model_dump(), "metric_version": 12})
    assert later.run_id == with_metric_version(cell.run_id, 12) != cell.run_id
    assert training_of(later.run_id) == training_of(cell.run_id) == cell.run_id[:20]


@pytest.mark.parametrize("changed", [list(METRICS), PIXEL, ["image_ece", "aupro_005"]], ids=["all", "pixel", "two"])
def test_rescoring_gives_what_a_fresh_run_gives(
    adbench: Adbench, new_version: NewVersion, changed: list[str]
) -> None:
    words = ("run", *QUICK, "category=weave,kit", "maps=all")
    assert adbench(*words).exit_code == 0
    before = _content()
    new_version(2, *changed)
    result = adbench("report", "--rescore")
    assert result.exit_code == 0, result.output
    assert "metric_version 2: 2 run(s) re-scored, 0 already current, 0 left as they are" in result.output
    assert adbench(*words, "out=fresh").exit_code == 0

    old, rescored, fresh = _rows(1), _rows(2), _rows(2, "fresh")
    assert list(rescored.index) == list(fresh.index) == [with_metric_version(run_id, 2) for run_id in old.index]
    pd.testing.assert_frame_equal(
        rescored.drop(columns=OF_ONE_EXECUTION), fresh.drop(columns=OF_ONE_EXECUTION), check_exact=True
    )
    assert set(rescored["pixel_error_bound"]) == {0.0}
    assert rescored.loc[rescored["category"] == "kit", "spro_005"].notna().all()
    times = OF_ONE_EXECUTION[:-1]
    pd.testing.assert_frame_equal(
        rescored[times].reset_index(drop=True), old[times].reset_index(drop=True), check_exact=True
    )
    assert rescored["notes"].str.contains("from its run of metric_version 1: the same run_id, ending in -m1").all()
    for run_id in fresh.index:
        for table in ("images", "history", "curves"):
            own_rows, other_rows = (getattr(_store(out), table)([run_id]) for out in ("adbench-results", "fresh"))
            pd.testing.assert_frame_equal(own_rows, other_rows, check_exact=True)
        for name in (f"{run_id}.npz", *(f"{run_id}-{split}.npz" for split in EVAL_SPLITS)):
            with np.load(f"adbench-results/maps/{name}") as own, np.load(f"fresh/maps/{name}") as other:
                assert sorted(own) == sorted(other)
                assert all(np.array_equal(own[key], other[key]) for key in own)

    assert before.items() <= _content().items()
    again = adbench(*words)
    assert "0 run, 2 already recorded" in again.output
    assert _standing(1) == {"older"}
    assert _standing(2) == {"current"}
    assert "0 run(s) re-scored, 2 already current" in adbench("report", "--rescore").output
    assert len(_store().runs()) == 4


def test_what_changed_is_computed_anew_and_the_rest_carried_over(
    adbench: Adbench, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    adbench("run", *QUICK, "category=weave", "maps=all")
    monkeypatch.setattr(evaluation, "image_metrics", lambda *given: image_metrics(*given) | {"image_auroc": 0.125})
    new_version(2, "image_ap", "image_ece", "pixel_ap")
    assert adbench("report", "--rescore").exit_code == 0
    (old,), (new,) = _rows(1).to_dict("records"), _rows(2).to_dict("records")
    flips = {"image_ap", "val_image_ap", "image_ece", "pixel_ap", "val_pixel_ap"}
    for name in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS):
        if not name.startswith(("spro", "val_spro")):
            assert new[name] == (1 - old[name] if name in flips else old[name]), name

    new_version(3, "image_auroc")
    assert adbench("report", "--rescore").exit_code == 0
    (newest,) = _rows(3).to_dict("records")
    assert newest["image_auroc"] == 1 - 0.125
    assert newest["image_ap"] == new["image_ap"], "from the newest row, not from the first"
    assert [line[-3:] for line in newest["notes"].splitlines()] == ["-m1", "-m2"]
    assert (_standing(1), _standing(2), _standing(3)) == ({"older"}, {"older"}, {"current"})


def test_without_maps_image_metrics_alone_can_be_rescored(adbench: Adbench, new_version: NewVersion) -> None:
    adbench("run", *QUICK)
    new_version(2, "image_auroc", "image_f1_val")
    result = adbench("report", "--rescore")
    assert result.exit_code == 0, result.output
    assert len(_rows(2)) == 2
    before = _content()
    new_version(3, "pixel_ap", "aupro_030")
    result = adbench("report", "--rescore")
    assert result.exit_code == 1
    assert "metric_version 3: 0 run(s) re-scored, 0 already current, 2 left as they are" in result.output
    assert "LEFT 2 run(s): aupro_030, pixel_ap changed, and the maps of their images are not in" in result.output
    assert "to do: run them again with maps=all: `adbench show run ID` prints the command of each" in result.output
    weave, brain = (_rows(2).index[_rows(2)["category"] == name][0][:12] for name in ("weave", "brain"))
    assert f"{weave} brightness phantom/weave seed 0; {brain} brightness phantom/brain seed 0" in result.output
    assert "leaderboard: " in result.output
    assert _content() == before
    assert "2 run, 0 already recorded" in adbench("run", *QUICK, "maps=all").output
    assert adbench("report", "--rescore").exit_code == 0


def test_without_masks_no_maps_are_needed(
    adbench: Adbench, new_version: NewVersion, mvtec_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = mvtec_folder(tmp_path / "part", masks=False)
    adbench("run", *QUICK, "dataset=folder", f"dataset.root={root}")
    new_version(2, "pixel_ap", "image_ap")
    result = adbench("report", "--rescore")
    assert result.exit_code == 0, result.output
    row = _rows(2).iloc[0]
    assert pd.isna(row["pixel_ap"]) and pd.isna(row["pixel_error_bound"])
    assert row["image_ap"] == 1 - _rows(1)["image_ap"].iloc[0]


@pytest.fixture
def part(mvtec_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of images, one of whose masks is empty."""
    root = mvtec_folder(tmp_path / "data" / "line" / "part", test=4, defects={"blob": 4})
    mask = root / "ground_truth" / "blob" / "000_mask.png"
    Image.new("L", Image.open(mask).size).save(mask)
    return root


def test_images_are_needed_where_masks_are_and_may_have_moved(
    adbench: Adbench, new_version: NewVersion, part: Path, tmp_path: Path
) -> None:
    adbench("run", *QUICK, "dataset=folder", f"dataset.root={part}", "maps=all")
    old = _rows(1)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    new_version(2, "image_ap")
    assert adbench("report", "--rescore").exit_code == 0, "image scores suffice"
    new_version(3, "pixel_ap")
    gone = adbench("report", "--rescore")
    assert gone.exit_code == 1
    assert f"folder: dataset.root={part} does not exist" in gone.output
    assert "to do: say in which folder it is now: data_root=FOLDER" in gone.output
    wrong = adbench("report", "--rescore", "data_root=nowhere")
    assert wrong.exit_code == 2
    assert "data_root=nowhere is not a folder" in wrong.output
    assert adbench("report", "data_root=elsewhere").exit_code == 2
    moved = adbench("report", "--rescore", "data_root=elsewhere")
    assert moved.exit_code == 0, moved.output
    new = _rows(3)
    assert list(new["pixel_ap"]) == list(1 - old["pixel_ap"])
    lines = new["notes"].iloc[0].splitlines()
    assert sum("empty masks" in line for line in lines) == 1
    assert set(old["notes"].iloc[0].splitlines()) < set(lines)


def test_other_images_are_refused(adbench: Adbench, new_version: NewVersion, part: Path) -> None:
    adbench("run", *QUICK, "dataset=folder", f"dataset.root={part}", "maps=all")
    mask = part / "ground_truth" / "blob" / "001_mask.png"
    Image.new("L", Image.open(mask).size, 255).save(mask)
    new_version(2, "pixel_ap", "image_ap")
    result = adbench("report", "--rescore")
    assert result.exit_code == 1
    assert "LEFT 1 run(s): the images of folder/part are no longer those of the run (fingerprint)" in result.output
    assert "to do: restore the images, or run again" in result.output
    assert _rows(2).empty


def test_an_interrupted_rescoring_continues(
    adbench: Adbench, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    adbench("run", *QUICK, "maps=all")
    new_version(2, *METRICS)
    append = ResultStore.append_rescored

    def second_is_interrupted(store: ResultStore, *given: Any) -> bool:
        if not _rows(2).empty:
            raise KeyboardInterrupt
        return append(store, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "append_rescored", second_is_interrupted)
        assert adbench("report", "--rescore").exit_code == 130
    assert len(_rows(2)) == 1
    result = adbench("report", "--rescore")
    assert result.exit_code == 0
    assert "1 run(s) re-scored, 1 already current, 0 left" in result.output
    assert {cell.run_id for cell in _store().plans()["smoke"].cells} == set(_rows(2).index)


def test_a_full_disk_ends_it_and_keeps_what_is_recorded(
    adbench: Adbench, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> bool:
        raise StoreError("No space left on device.", "Free some space.")

    adbench("run", *QUICK, "--limit", "1")
    new_version(2, "image_ap")
    monkeypatch.setattr(ResultStore, "append_rescored", full)
    result = adbench("report", "--rescore")
    assert result.exit_code == 2
    assert "No space left" in result.output
    assert "leaderboard" not in result.output


def test_the_bound_of_values_carried_over_holds_still(
    adbench: Adbench, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Judge.pixel_level
    with monkeypatch.context() as patch:
        patch.setattr(Judge, "pixel_level", lambda *given: dataclasses.replace(exact(*given), error_bound=0.25))
        adbench("run", *QUICK, "category=weave", "maps=all")
    for version, changed, bound in ((2, ["image_ap"], 0.25), (3, ["pixel_ap"], 0.25), (4, PIXEL, 0.0)):
        new_version(version, *changed)
        assert adbench("report", "--rescore").exit_code == 0
        assert list(_rows(version)["pixel_error_bound"]) == [bound]


def test_newer_and_failed_runs_are_left_alone(adbench: Adbench, new_version: NewVersion) -> None:
    new_version(3, "image_ap")
    adbench("run", *QUICK)
    new_version(2, "image_ap")
    adbench("run", "suite=smoke", "method=raises", "launcher=inprocess")
    new_version(2)
    before = _content()
    result = adbench("report", "--rescore")
    assert result.exit_code == 1
    assert "0 run(s) re-scored, 0 already current, 2 left as they are" in result.output
    assert "LEFT 2 run(s): recorded under metric_version 3, and this adbench knows 2" in result.output
    assert _content() == before


def test_a_failure_under_the_new_version_gives_way(
    adbench: Adbench, new_version: NewVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    adbench("run", *QUICK, "category=weave")
    new_version(2, "image_ap")
    with monkeypatch.context() as patch:
        patch.setattr("adbench_faulty.Brightness.fit", lambda *_: 1 / 0)
        assert adbench("run", *QUICK, "category=weave").exit_code == 1
    assert list(_rows(2)["status"]) == ["failed"]
    assert adbench("report", "--rescore").exit_code == 0
    assert list(_rows(2)["status"]) == ["ok"]


def test_a_run_that_cannot_be_read_does_not_keep_the_others_from_it(
    adbench: Adbench, new_version: NewVersion, caplog: pytest.LogCaptureFixture
) -> None:
    adbench("run", *QUICK, "maps=all")
    weave, brain = (_rows(1).index[_rows(1)["category"] == name][0] for name in ("weave", "brain"))
    Path(f"adbench-results/maps/{weave}-val.npz").write_bytes(b"damaged")
    new_version(2, "pixel_ap")
    result = adbench("report", "--rescore")
    assert result.exit_code == 1
    assert "1 run(s) re-scored, 0 already current, 1 left" in result.output
    assert "brightness phantom/weave seed 0 cannot be re-scored" in caplog.text
    assert "Traceback" in caplog.text
    assert list(_rows(2).index) == [with_metric_version(brain, 2)]
    Path(f"adbench-results/images/{weave}.parquet").unlink()
    result = adbench("report", "--rescore")
    assert "the scores of their images are not all in the results folder" in result.output


def test_a_suite_can_be_rescored_alone_and_its_plan_follows(
    adbench: Adbench, new_version: NewVersion, tmp_path: Path
) -> None:
    adbench("run", *QUICK)
    smoke = yaml.safe_load(adbench("show", "suite", "smoke").output)
    smoke["datasets"][0]["categories"] = ["weave"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**smoke, "name": "mine", "methods": ["brightness"]}))
    assert "0 run, 1 already recorded" in adbench("run", "suite=mine.yaml", "launcher=inprocess").output
    new_version(2, "image_ap")
    result = adbench("report", "--rescore", "suite=mine")
    assert "1 run(s) re-scored, 0 already current, 0 left" in result.output
    assert list(_rows(2)["category"]) == ["weave"]
    mine, theirs = (_store().plans()[name].cells for name in ("mine", "smoke"))
    assert [cell.run_id[-3:] for cell in mine] == ["-m2"]
    assert sorted(cell.run_id[-3:] for cell in theirs) == ["-m1", "-m2"]
    assert "1 run(s) re-scored, 1 already current, 0 left" in adbench("report", "--rescore").output
    assert adbench("report", "--rescore", "suite=theirs").exit_code == 2


def test_listed_runs_tell_their_version(adbench: Adbench, new_version: NewVersion) -> None:
    adbench("run", *QUICK, "category=weave")
    new_version(12, "image_ap")
    adbench("report", "--rescore")
    first, second = (line.split() for line in adbench("ls", "runs").output.splitlines()[1:])
    assert (first[0], first[6], second[6]) == (second[0], "1", "12")
    assert re.search(r"^metric_version +12$", adbench("show", "run", first[0]).output, re.MULTILINE)
    old = f"{_rows(1).index[0]}"
    assert re.search(r"^metric_version +1$", adbench("show", "run", old).output, re.MULTILINE)
    assert re.search(r"^image_ap +higher +12 ", adbench("ls", "metrics").output, re.MULTILINE)


@pytest.mark.parametrize("kind", ["compacted", "remote"])
def test_every_store_is_rescored(
    kind: str, plan_of: Callable[..., Plan], new_version: NewVersion, tmp_path: Path
) -> None:
    remote = ResultStore("bucket/out", pafs.FileSystem.from_uri("mock://")[0])
    store = remote if kind == "remote" else ResultStore(tmp_path / "out")
    store.prepare()
    cells = plan_of("suite=smoke", "method=brightness").cells
    for cell in cells:
        store.append(run_cell(cell, Surroundings(maps="all")))
    if kind == "compacted":
        assert store.compact(threshold=1) == 8
    new_version(2, *METRICS)
    outcome = rescore.rescore(store)
    assert (outcome.done, outcome.current, outcome.left) == (2, 0, {})
    runs = store.runs().set_index("run_id")
    for cell in cells:
        new = with_metric_version(cell.run_id, 2)
        for name in ("image_auroc", "pixel_auroc", "val_aupro_030"):
            values = runs[name].to_dict()
            assert values[new] == 1 - values[cell.run_id]
        assert store.maps(new, "val") is not None
