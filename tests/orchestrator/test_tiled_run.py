"""Tiles from the command's parameter to the row: judged at full resolution, as whole images would be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from adbench.datasets.registry import open_dataset
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell


def test_pixel_metrics_of_tiles_are_those_of_the_images(
    tmp_path: Path, mvtec_folder: Callable[..., Path], plan_of: Callable[..., Plan], faulty_methods: Path
) -> None:
    base = mvtec_folder(tmp_path / "c", size=(128, 192), validation=2)
    rng = np.random.default_rng(0)
    for path in base.glob("test/blob/*.png"):  # Not all of the defect is brighter than all around it.
        noisy = np.asarray(Image.open(path)) // 2 + rng.integers(0, 128, (128, 192, 1))
        Image.fromarray(noisy.astype(np.uint8)).save(path)
    (cell,) = plan_of(
        "suite=smoke", "dataset=folder", f"dataset.root={base}", "dataset.tile=64", "method=brightness"
    ).cells
    assert "dataset.tile=64" in cell.command and cell.image_size == 64
    record = run_cell(cell, Surroundings(cache_dir=str(tmp_path / "cache"))).record
    assert record.status == "ok", record.error
    assert (record.n_train, record.n_val, record.n_test) == (24, 12, 24)
    assert "TILES: every image is a tile of at most 64 pixels a side" in (record.notes or "")
    whole = open_dataset("folder", {"root": str(base)})
    scores, truth = [], []
    for sample in whole.samples("c"):
        if sample.role == "test":
            image, mask = whole.load_image("c", sample), whole.load_mask("c", sample)
            scores.append((image.astype(np.float32) / 255).mean(axis=2))
            truth.append(np.zeros(image.shape[:2], np.bool_) if mask is None else mask.union)
    expected = roc_auc_score(np.concatenate(truth).ravel(), np.concatenate(scores).ravel())
    assert 0.5 < expected < 1
    assert record.metrics["pixel_auroc"] == pytest.approx(expected, abs=1e-6)
