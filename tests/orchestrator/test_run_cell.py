"""One cell without Ray: a full row, the same bits twice, and failures that are rows."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from adbench.datasets.errors import RequestError
from adbench.methods.ckaad import CKAAD
from adbench.methods.fuzzy_rules import rules_path
from adbench.orchestrator.cell import Cell, Watch
from adbench.orchestrator.errors import CellStoppedError
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from adbench.reports.schema import RunResult

PlanOf = Callable[..., Plan]
SMALL = ("suite=smoke", "method=ckaad", "category=weave")


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return Surroundings(cache_dir=str(tmp_path / "cache"), scratch=str(tmp_path / "checkpoints"))


def _scores(result: RunResult) -> dict[str, bytes]:
    return {scores.split: scores.scores.tobytes() for scores in result.images}


def _trial(cell: Cell, *shares: float, metric: str = "val_image_auroc", test: bool = False) -> Cell:
    return Cell(**{**cell.model_dump(), "watch": Watch(metric=metric, shares=shares, test=test), "sweep_id": "s"})


@pytest.mark.slow
def test_a_trial_sees_val_alone(plan_of: PlanOf, here: Surroundings) -> None:
    (cell,) = plan_of(*SMALL).cells
    result, whole = run_cell(_trial(cell), here), run_cell(cell, here)
    assert result.record.status == "ok", result.record.error
    metrics = {name: value for name, value in result.record.metrics.items() if value is not None}
    assert metrics and all(name.startswith("val_") for name in metrics)
    assert metrics == {name: whole.record.metrics[name] for name in metrics}
    assert [scores.split for scores in result.images] == ["val"] and result.gallery is None
    assert not result.curves
    assert (result.record.sweep_id, result.record.selection) == ("s", "none")
    insisting = run_cell(_trial(cell, metric="image_auroc", test=True), here)
    assert insisting.record.metrics["image_auroc"] == whole.record.metrics["image_auroc"]
    assert not insisting.curves


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "test"), [("val_image_auroc", False), ("val_pixel_auroc", False), ("image_auroc", True)]
)
def test_a_trial_reports_what_it_has_reached_at_watched_shares(
    metric: str, test: bool, plan_of: PlanOf, here: Surroundings
) -> None:
    (cell,) = plan_of(*SMALL, "method.epochs=9").cells
    reports: list[dict[str, float]] = []
    result = run_cell(
        _trial(cell, 1 / 9, 0.4, metric=metric, test=test), here, lambda _, values: reports.append(dict(values))
    )
    assert result.record.status == "ok", result.record.error
    reached = {index + 1: values for index, values in enumerate(reports) if metric in values}
    assert set(reached) == {1, 4}
    assert [values["share"] for values in reached.values()] == [pytest.approx(1 / 9), pytest.approx(4 / 9)]
    assert all(0 <= values[metric] <= 1 for values in reached.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["recon", "ckaad", "kist", "ssae", "slsg"])
def test_looking_amid_the_training_changes_nothing(method: str, plan_of: PlanOf, here: Surroundings) -> None:
    (cell,) = plan_of("suite=smoke", f"method={method}", "category=weave").cells
    params = {name: 3 * value if name in ("epochs", "iterations") else value for name, value in cell.params.items()}
    longer = Cell(**{**cell.model_dump(), "params": params})
    reports: list[Mapping[str, float]] = []
    watched = run_cell(_trial(longer, 0.2, 0.5, 0.8), here, lambda _, values: reports.append(values))
    alone = run_cell(longer, here)
    assert watched.record.status == alone.record.status == "ok", watched.record.error
    assert sum("share" in values for values in reports) >= 2
    assert _scores(watched)["val"] == _scores(alone)["val"]


@pytest.mark.slow
def test_row_is_complete_and_repeats_bit_for_bit(plan_of: PlanOf, here: Surroundings, tmp_path: Path) -> None:
    (cell,) = plan_of(*SMALL).cells
    steps: list[int] = []
    first = run_cell(cell, here, lambda step, values: steps.append(step))
    record = first.record
    assert record.status == "ok", record.error
    assert steps == [1]
    assert (record.n_train, record.n_labelled, record.n_val, record.n_test) == (12, 1, 10, 16)
    assert record.metrics["image_auroc"] is not None
    assert record.metrics["aupro_030"] is not None
    assert record.metrics["val_pixel_auroc"] is not None
    assert record.metrics.get("spro_005") is None
    assert record.fit_seconds and record.predict_ms_per_image and record.peak_rss_mb
    assert record.command.startswith("adbench run suite=smoke")
    assert json.loads(record.params)["gamma"] == 0.5
    assert {name for _, name, _ in first.history} == {"loss", "reconstruction", "energy", "discriminator"}
    assert first.gallery is not None
    assert {(case.case, case.label) for case in first.gallery.cases} == {
        (case, label) for case in ("best", "typical", "worst") for label in (0, 1)
    }
    assert not list((tmp_path / "checkpoints").glob("*"))

    warm = run_cell(cell, here)
    cold = run_cell(cell, replace(here, cache_dir=None))
    assert _scores(first) == _scores(warm) == _scores(cold)
    assert first.record.metrics == warm.record.metrics == cold.record.metrics
    assert first.curves == warm.curves == cold.curves
    assert {(curve.split, curve.name) for curve in first.curves} == {("test", "pixel_roc"), ("test", "pro")}


@pytest.mark.slow
def test_another_seed_gives_other_scores(plan_of: PlanOf, here: Surroundings) -> None:
    one, two = (run_cell(cell, here) for cell in plan_of(*SMALL, "seed=0,1").cells)
    assert _scores(one) != _scores(two)
    assert one.record.split_hash == two.record.split_hash


@pytest.mark.slow
def test_logical_anomalies_get_spro(plan_of: PlanOf, here: Surroundings) -> None:
    (cell,) = plan_of("suite=smoke", "method=recon", "dataset=phantom", "category=kit").cells
    result = run_cell(cell, replace(here, maps="none"))
    record = result.record
    assert record.status == "ok", record.error
    assert 0 <= (record.metrics["spro_005"] or -1) <= 1
    limits = {"pixel_roc": {"pixel_auroc": 1.0}, "pro": {"aupro_030": 0.3, "aupro_005": 0.05}}
    for curve in result.curves:
        x, y = np.array(curve.x), np.array(curve.y)
        for name, limit in limits.get(curve.name, {"spro_005": 0.05, "spro_030": 0.3, "spro_100": 1.0}).items():
            area = float(np.trapezoid(y[x <= limit], x[x <= limit])) / limit
            assert area == pytest.approx(record.metrics[name], abs=0.01), name
    assert {curve.name for curve in result.curves} == {"pixel_roc", "pro", "spro"}


def test_pseudo_labels_of_every_round_are_kept(plan_of: PlanOf, here: Surroundings) -> None:
    (cell,) = plan_of("suite=smoke", "method=kist", "category=weave").cells
    assert cell.params["rules"] == "phantom-weave" and set(cell.files) == {"rules"}
    result = run_cell(cell, here)
    assert result.record.status == "ok", result.record.error
    assert [kept.name for kept in result.training_maps] == ["pseudo-labels, round 1", "pseudo-labels, round 2"]
    assert all(kept.maps.shape == (len(kept.image_ids), 64, 64) for kept in result.training_maps)
    assert not run_cell(cell, replace(here, maps="none")).training_maps


def test_rules_that_changed_after_the_plan_are_a_failed_row(
    plan_of: PlanOf, here: Surroundings, tmp_path: Path
) -> None:
    mine = tmp_path / "my rules.yaml"
    mine.write_text(rules_path("elpv").read_text())
    (cell,) = plan_of("suite=smoke", "method=kist", "category=weave", f"method.rules={mine}").cells
    mine.write_text(mine.read_text().replace("weight: 1.0", "weight: 0.5"))
    record = run_cell(cell, here).record
    assert record.status == "failed" and "my rules.yaml is not as it was when the plan" in (record.error or "")
    (other,) = plan_of("suite=smoke", "method=kist", "category=weave", f"method.rules={mine}").cells
    assert other.run_id != cell.run_id


def test_a_raising_method_is_a_failed_row(plan_of: PlanOf, here: Surroundings, faulty_methods: Path) -> None:
    (cell,) = plan_of("suite=smoke", "method=raises", "category=weave").cells
    result = run_cell(cell, here)
    assert result.record.status == "failed"
    assert "RuntimeError: deliberate failure" in (result.record.error or "")
    assert "Traceback" in (result.record.error or "")
    assert result.record.n_train == 12
    assert result.images == ()


def test_a_diverging_loss_is_a_failed_row(
    plan_of: PlanOf, here: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan_step(self: CKAAD, batch: object) -> Mapping[str, Tensor]:
        return {"loss": Tensor([math.nan]).squeeze()}

    monkeypatch.setattr(CKAAD, "train_step", nan_step)
    (cell,) = plan_of(*SMALL).cells
    result = run_cell(cell, here)
    assert result.record.status == "failed"
    assert "diverged" in (result.record.error or "")


def test_a_time_limit_is_a_failed_row(plan_of: PlanOf, here: Surroundings, faulty_methods: Path) -> None:
    (cell,) = plan_of("suite=smoke", "method=slow", "category=weave").cells
    result = run_cell(cell, replace(here, timeout=0.5))
    assert result.record.status == "failed"
    assert "cell_timeout=0.5 s" in (result.record.error or "")
    assert 1 < len(result.history) < 50


def test_a_stopped_cell_leaves_no_row(plan_of: PlanOf, here: Surroundings, faulty_methods: Path) -> None:
    (cell,) = plan_of("suite=smoke", "method=slow", "category=weave").cells

    def stop(step: int, values: Mapping[str, float]) -> None:
        raise CellStoppedError

    with pytest.raises(CellStoppedError):
        run_cell(cell, here, stop)


def test_changed_images_are_refused(plan_of: PlanOf, here: Surroundings, faulty_methods: Path) -> None:
    (cell,) = plan_of("suite=smoke", "method=brightness", "category=weave").cells
    result = run_cell(cell.model_copy(update={"fingerprint": "other"}), here)
    assert result.record.status == "failed"
    assert "fingerprint" in (result.record.error or "")


def test_another_number_of_workers_than_planned_is_refused(
    plan_of: PlanOf, here: Surroundings, faulty_methods: Path
) -> None:
    (cell,) = plan_of("suite=smoke", "method=brightness", "category=weave", "workers_per_lane=2").cells
    record = run_cell(cell, here).record
    assert record.status == "failed"
    assert "planned for 2 worker(s) and run by 1" in (record.error or "")


def test_without_masks_pixel_metrics_are_null_not_zero(
    plan_of: PlanOf, here: Surroundings, faulty_methods: Path
) -> None:
    pytest.importorskip("elpv_dataset", reason="elpv-dataset is not installed (extra elpv)")
    (cell,) = plan_of("suite=quickstart", "method=brightness", "category=mono", "seed=0", "image_size=64").cells
    record = run_cell(cell, here).record
    assert record.status == "ok", record.error
    assert record.metrics["image_auroc"] is not None
    assert all(value is None for name, value in record.metrics.items() if "pixel" in name or "pro" in name)


def test_maps_are_judged_at_the_resolution_of_the_masks(
    plan_of: PlanOf, here: Surroundings, faulty_methods: Path
) -> None:
    """Bright defects on an 80 x 60 picture, seen by the method at 64 x 64."""
    (cell,) = plan_of("suite=smoke", "method=brightness", "category=weave", "dataset.size=97").cells
    result = run_cell(cell, here)
    assert result.record.status == "ok", result.record.error
    assert result.record.metrics["pixel_auroc"] is not None
    assert result.gallery is not None
    assert all(
        np.isfinite(case.anomaly_map).all() and case.image.shape == (64, 64, 3) for case in result.gallery.cases
    )


def test_run_cell_needs_no_ray() -> None:
    code = "import sys, adbench.orchestrator.run_cell; sys.exit(any(m.split('.')[0] == 'ray' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_skipped_images_are_counted_in_the_row(
    plan_of: PlanOf, here: Surroundings, tmp_path: Path, mvtec_folder: Callable[..., Path]
) -> None:
    base = mvtec_folder(tmp_path / "c", train=12, test=4)
    (base / "train" / "good" / "003.png").write_bytes(b"broken")
    folder = ("suite=smoke", "method=recon", "dataset=folder", f"dataset.root={base}")
    with pytest.raises(RequestError, match=r"train/good/003\.png"):
        plan_of(*folder)
    (cell,) = plan_of(*folder, "dataset.broken=skip").cells
    record = run_cell(cell, here).record
    assert record.status == "ok", record.error
    assert record.notes is not None and "SKIPPED: 1 broken image(s), such as train/good/003.png" in record.notes
