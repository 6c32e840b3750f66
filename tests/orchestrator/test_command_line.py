"""Commands and flags in this process, with the in-process launcher; real Parquet, real page."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import Result
from PIL import Image

from adbench.reports.errors import StoreError
from adbench.reports.schema import EVAL_SPLITS, RunResult
from adbench.reports.store import ResultStore

Adbench = Callable[..., Result]
QUICK = ("suite=smoke", "method=brightness", "launcher=inprocess")


def _runs(out: str = "adbench-results") -> pd.DataFrame:
    return pd.read_parquet(Path(out) / "runs")


def test_run_then_run_again(adbench: Adbench, faulty_methods: Path) -> None:
    first = adbench("run", *QUICK)
    assert first.exit_code == 0, first.output
    assert "2 run, 0 already recorded, 0 failed" in first.output
    assert Path("adbench-results/report/index.html").stat().st_size > 100_000
    before = _runs()
    assert list(before["status"]) == ["ok", "ok"]
    assert sorted(path.name for path in Path("adbench-results/splits").iterdir())
    assert "brightness phantom/weave seed 0" in Path("adbench-results/logs/adbench.log").read_text()

    second = adbench("run", *QUICK)
    assert second.exit_code == 0
    assert "0 run, 2 already recorded" in second.output
    pd.testing.assert_frame_equal(before, _runs())


def test_limit_dry_run_and_continue(adbench: Adbench, faulty_methods: Path) -> None:
    assert adbench("run", *QUICK, "--limit", "1").exit_code == 0
    assert len(_runs()) == 1
    dry = adbench("run", *QUICK, "--dry-run")
    assert "2 cells: 1 to run, 1 already recorded" in dry.output
    assert len(_runs()) == 1
    assert "1 run, 1 already recorded" in adbench("run", *QUICK).output
    lines = [json.loads(line) for line in adbench("run", *QUICK, "--dry-run", "--json").output.splitlines()]
    assert [line["state"] for line in lines] == ["recorded", "recorded"]


def test_failures_are_listed_and_do_not_stop_the_others(adbench: Adbench, faulty_methods: Path) -> None:
    result = adbench("run", "suite=smoke", "method=raises,brightness", "launcher=inprocess")
    assert result.exit_code == 1
    assert "2 run, 0 already recorded, 2 failed" in result.output
    assert "FAILED raises phantom/weave seed 0: RuntimeError: deliberate failure" in result.output
    runs = _runs()
    assert sorted(runs["status"]) == ["failed", "failed", "ok", "ok"]
    assert runs[runs["status"] == "failed"]["error"].str.contains("Traceback").all()
    # A failure is a row, but never counts as done.
    assert "2 cells: 2 to run, 0 already recorded" in adbench("run", *QUICK[:1], "method=raises", "--dry-run").output


def test_a_suite_s_claims_are_judged_at_the_end(adbench: Adbench, faulty_methods: Path) -> None:
    data = {"name": "phantom", "categories": ["weave"], "params": {"size": 32, "n_train": 4, "n_labelled": 2}}
    sides = {"better": {"method": "brightness"}, "than": {"method": "padim"}}
    claim = {"text": "brightness is enough", "metrics": ["image_auroc", "pixel_auroc"], **sides}
    suite = {"methods": ["brightness", "padim"], "datasets": [data], "seeds": [0, 1, 2], "budget": "smoke"}
    Path("mine.yaml").write_text(yaml.safe_dump({**suite, "claims": [claim]}))
    first = adbench("run", "suite=mine.yaml", "launcher=inprocess", "image_size=32")
    assert first.exit_code == 0, first.output
    runs = _runs().groupby("method")["image_auroc"].mean()
    gain = f"{runs['brightness'] - runs['padim']:+.3f}"
    assert f"claim: brightness is enough: image_auroc {gain} [" in first.output
    assert "over 1 categories, 3 seed(s): " in first.output
    lines = adbench("run", "suite=mine.yaml", "launcher=inprocess", "image_size=32", "--json").stdout.splitlines()
    judged = json.loads(lines[-1])["claims"]
    assert [verdict["metric"] for verdict in judged] == ["image_auroc", "pixel_auroc"]
    assert judged[0]["low"] <= judged[0]["difference"] <= judged[0]["high"]
    alone = adbench("run", "suite=mine.yaml", "method=padim", "launcher=inprocess", "image_size=32")
    assert "brightness is enough: image_auroc not measured" in alone.output


def test_a_claim_whose_sides_are_mixtures_is_refused(adbench: Adbench) -> None:
    claim = {
        "text": "r helps",
        "better": {"method": "ckaad"},
        "than": {"method": "recon"},
        "metrics": ["image_auroc"],
    }
    methods = ["recon", "ckaad", {"name": "ckaad", "params": {"gamma": 0.1}}]
    suite = {"methods": methods, "datasets": ["phantom"], "claims": [claim]}
    Path("mine.yaml").write_text(yaml.safe_dump(suite))
    refused = adbench("run", "suite=mine.yaml", "category=weave", "--dry-run")
    assert refused.exit_code == 2
    assert "claim 'r helps': several cells of ckaad {} in one category and seed" in refused.output
    claim["metrics"] = ["speed"]
    Path("mine.yaml").write_text(yaml.safe_dump(suite))
    refused = adbench("run", "suite=mine.yaml", "--dry-run")
    assert refused.exit_code == 2 and "'speed' is no metric" in refused.output


def test_fail_fast(adbench: Adbench, faulty_methods: Path) -> None:
    result = adbench("run", "suite=smoke", "method=raises,brightness", "launcher=inprocess", "--fail-fast")
    assert result.exit_code == 1
    assert "3 not run" in result.output
    assert len(_runs()) == 1


def test_quiet_and_json(adbench: Adbench, faulty_methods: Path) -> None:
    assert adbench("run", *QUICK, "--quiet", "--limit", "1").output == ""
    lines = [json.loads(line) for line in adbench("run", *QUICK, "--json").stdout.splitlines()]
    kinds = [line["event"] for line in lines]
    assert kinds == ["Message", "CellStarted", "CellProgress", "CellFinished", "Done"]
    assert lines[3]["metrics"]["image_auroc"] is not None
    assert (lines[-1]["ok"], lines[-1]["already_recorded"], lines[-1]["failed"]) == (1, 1, [])


def test_maps_are_kept_on_request(adbench: Adbench, faulty_methods: Path) -> None:
    assert adbench("run", *QUICK, "maps=all", "--limit", "1").exit_code == 0
    store = ResultStore("adbench-results")
    scores = store.images()
    for split, count in zip(EVAL_SPLITS, (10, 16), strict=True):
        kept = store.maps(_runs()["run_id"][0], split)
        assert kept is not None
        assert kept.maps.shape == (count, 64, 64)
        assert list(kept.image_ids) == list(scores[scores["split"] == split]["image_id"])
    assert adbench("run", *QUICK, "maps=none", "out=bare", "--limit", "1").exit_code == 0
    assert not list(Path("bare/maps").iterdir())


def test_doubts_about_the_data_are_told(
    adbench: Adbench, faulty_methods: Path, mvtec_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = mvtec_folder(tmp_path / "part", train=12)
    (root / "test" / "good" / "copy.png").write_bytes((root / "train" / "good" / "000.png").read_bytes())
    mask = root / "ground_truth" / "blob" / "000_mask.png"
    Image.new("L", Image.open(mask).size).save(mask)
    result = adbench("run", *QUICK, "dataset=folder", f"dataset.root={root}", "dataset.modality=medical")
    assert result.exit_code == 0, result.output
    assert "LEAK: 1 test image(s) are copies of training images, such as test/good/copy.png" in result.output
    assert "1 anomalous image(s) have empty masks" in result.output
    assert list(_runs()["modality"]) == ["medical"]
    assert "LEAK" in _runs()["notes"][0]


def test_a_suite_of_cells_that_another_recorded_can_be_reported(
    adbench: Adbench, faulty_methods: Path, tmp_path: Path
) -> None:
    adbench("run", *QUICK)
    smoke = yaml.safe_load(adbench("show", "suite", "smoke").output)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**smoke, "name": "mine", "methods": ["brightness"]}))
    assert "0 run, 2 already recorded" in adbench("run", "suite=mine.yaml", "launcher=inprocess").output
    assert adbench("report", "suite=mine").exit_code == 0


def test_grids_say_what_differs(adbench: Adbench) -> None:
    shown = adbench("run", "suite=smoke", "method.gamma=0.1,0.5", "category=weave", "--dry-run").output
    assert "gamma=0.1" in shown
    assert "gamma=0.5" in shown


def test_limit_is_told(adbench: Adbench, faulty_methods: Path) -> None:
    assert "1 run, 0 already recorded, 0 failed, 1 not run" in adbench("run", *QUICK, "--limit", "1").output
    assert "beyond --limit" in adbench("run", *QUICK, "out=other", "--dry-run", "--limit", "1").output


def test_no_cache_leaves_the_cache_alone(adbench: Adbench, faulty_methods: Path, tmp_path: Path) -> None:
    arguments = ("run", *QUICK, f"cache_dir={tmp_path / 'unused'}")
    assert adbench(*arguments, "--no-cache", "--limit", "1").exit_code == 0
    assert not (tmp_path / "unused").exists()
    assert adbench(*arguments).exit_code == 0
    assert list((tmp_path / "unused").iterdir())
    assert "images" in adbench("cache", "ls", f"cache_dir={tmp_path / 'unused'}").output
    assert "freed" in adbench("cache", "clear", f"cache_dir={tmp_path / 'unused'}").output
    assert "0.0 MiB" in adbench("cache", "ls", f"cache_dir={tmp_path / 'unused'}").output


def test_configuration_is_yaml_that_runs_again(adbench: Adbench, tmp_path: Path) -> None:
    shown = yaml.safe_load(adbench("run", "suite=smoke", "method.gamma=0.3", "seed=0,1", "--cfg").stdout)
    assert shown["seeds"] == [0, 1]
    assert {params["gamma"] for params in shown["resolved_methods"]["ckaad"]} == {0.3}
    assert shown["resolved_methods"]["recon"][0]["anomaly_ratio"] == 0.0


def test_report_show_and_ls_of_results(adbench: Adbench, faulty_methods: Path) -> None:
    adbench("run", *QUICK)
    Path("adbench-results/report/index.html").unlink()
    assert "index.html" in adbench("report", "suite=smoke").output
    assert Path("adbench-results/report/index.html").exists()
    refused = adbench("report", "suite=smoky")
    assert refused.exit_code == 2
    assert "did you mean 'smoke'" in refused.output
    listed = adbench("ls", "runs").output
    assert "phantom/weave" in listed
    run_id = _runs()["run_id"][0]
    assert run_id in adbench("show", "run", run_id[:8]).output
    assert adbench("show", "run", "zzz").exit_code == 2
    adbench("run", "suite=smoke", "method=raises", "launcher=inprocess", "--limit", "1")
    failed = _runs().set_index("status").loc["failed", "run_id"]
    assert "deliberate failure" in adbench("show", "run", failed).output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ls", "methods"], ["ckaad", "recon"]),
        (["ls", "datasets"], ["elpv", "folder", "phantom", "CC BY-NC-SA 4.0"]),
        (["ls", "suites"], ["quickstart", "smoke"]),
        (["ls", "metrics"], ["image_auroc", "aupro_030", "spro_005"]),
        (
            ["show", "method", "ckaad"],
            [
                "gamma",
                "above 0, at most 1",
                "0.05 .. 1",
                "a list such as [a whole number, ...]",
                "arXiv 2412.12850",
                "Reconstructed",
            ],
        ),
        (["show", "method", "recon"], ["0.0 (fixed)"]),
        (
            ["show", "dataset", "elpv"],
            ["mono (industrial), poly (industrial)", "CC BY-NC-SA 4.0", "dataset.doubtful"],
        ),
        (["show", "dataset", "folder"], ["ROOT/[CATEGORY/]train/good", "dataset.root"]),
        (["show", "dataset", "phantom"], ["weave", "dataset.contrast"]),
        (
            ["show", "dataset", "mvtec_ad"],
            ["5,354 in 15 categories", "adbench data prepare mvtec_ad mvtec_anomaly_detection.tar.xz", "null"],
        ),
        (["show", "dataset", "oct2017"], ["adbench data prepare oct2017 --download", "oct2017 does not exist"]),
        (["show", "dataset", "real_iad"], ["prepare real_iad realiad_jsons.zip audiojack.zip bottle_cap.zip ...\n"]),
        (["show", "dataset", "mpdd"], ["its archives from the home page", "prepare mpdd ARCHIVE..."]),
        (["show", "suite", "quickstart"], ["methods:", "elpv"]),
        (["--help"], ["run", "report", "export", "compare", "index", "ls", "show", "doctor"]),
        (["run", "--help"], ["--dry-run", "--fail-fast", "method.gamma=0.3", "Exit codes"]),
        (["sweep", "--help"], ["search.trials=32", "search.hours=null", "nsgaii", "search.space.NAME=RANGE"]),
        (["--version"], ["adbench"]),
    ],
)
def test_pages_of_text(arguments: list[str], expected: list[str], adbench: Adbench) -> None:
    result = adbench(*arguments)
    assert result.exit_code == 0, result.output
    for text in expected:
        assert text in result.output


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["ls", "methods"], ["ls", "datasets"], ["ls", "suites"]]
)
def test_quick_commands_import_neither_torch_nor_ray(arguments: list[str]) -> None:
    code = (
        "import sys; from adbench.orchestrator.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'ray', 'timm', 'pandas', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_full_disk_ends_the_run_and_keeps_what_is_recorded(
    adbench: Adbench, faulty_methods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ResultStore.append

    def second_fails(store: ResultStore, result: RunResult) -> bool:
        if store.done():
            raise StoreError("No space left on device.", "Free some space.")
        return append(store, result)

    monkeypatch.setattr(ResultStore, "append", second_fails)
    result = adbench("run", *QUICK)
    assert result.exit_code == 1
    assert "No space left" in result.output
    assert "the same command continues" in result.output
    assert len(_runs()) == 1


@pytest.mark.slow
def test_doctor_finds_this_machine_healthy(adbench: Adbench) -> None:
    result = adbench("doctor")
    assert result.exit_code == 0, result.output
    for text in ("bundled backbone: efficientnet_lite0 gives [(40, 8, 8), (112, 4, 4)]", "Ray: a local Ray started"):
        assert text in result.output
    assert "FAIL" not in result.output
