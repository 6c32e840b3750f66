"""MVTec LOCO from files on disk to the result row: every defect's channel and saturation reaches sPRO intact."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from drawn import save

HEIGHT, WIDTH = 60, 72
DEFECTS = (
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 90, "relative_saturation": False},
    {"defect_name": "swapped", "pixel_value": 254, "saturation_threshold": 5000, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 253, "saturation_threshold": 1.0, "relative_saturation": True},
    {"defect_name": "stain", "pixel_value": 252, "saturation_threshold": 0.37, "relative_saturation": True},
)
Box = tuple[int, int, int, int]
"""Top, left, height and width."""
ANOMALIES: dict[str, list[tuple[int, Box]]] = {
    "logical_anomalies/000": [(255, (5, 5, 20, 30))],
    "logical_anomalies/001": [(255, (5, 5, 20, 30)), (254, (15, 20, 25, 25)), (252, (0, 0, 7, 9))],  # overlapping
    "logical_anomalies/002": [(254, (30, 40, 20, 20)), (254, (10, 10, 3, 3))],  # of one kind, far apart
    "structural_anomalies/000": [(253, (20, 20, 4, 33))],
    "structural_anomalies/001": [(252, (40, 10, 15, 15)), (253, (45, 15, 15, 15))],  # overlapping
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One category in which defects are brighter than the noise around them, not all of them and not everywhere."""
    rng, base = np.random.default_rng(0), tmp_path / "loco" / "pushpins"
    for part, count in (("train", 4), ("validation", 2), ("test", 3)):
        for number in range(count):
            save(base / part / "good" / f"{number:03d}.png", noise(rng))
    for name, defects in ANOMALIES.items():
        image = noise(rng)
        for index, (value, box) in enumerate(defects):
            mask = inside(box)
            image[mask] += rng.integers(0, 60, (int(mask.sum()), 1)).astype(np.uint8)
            save(base / "ground_truth" / name / f"{index:03d}.png", mask.astype(np.uint8) * np.uint8(value))
        save(base / "test" / f"{name}.png", image)
    (base / "defects_config.json").write_text(json.dumps(DEFECTS))
    return base.parent


def noise(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def inside(box: Box) -> NDArray[np.bool_]:
    top, left, height, width = box
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def test_channels_and_saturations_reach_spro(
    root: Path, tmp_path: Path, plan_of: Callable[..., Plan], faulty_methods: Path
) -> None:
    (cell,) = plan_of("suite=smoke", "dataset=mvtec_loco", f"dataset.root={root}", "method=brightness").cells
    result = run_cell(cell, Surroundings(cache_dir=str(tmp_path / "cache"), maps="all"))
    assert result.record.status == "ok", result.record.error
    (kept,) = [maps for maps in result.maps if maps.split == "test"]
    maps = dict(zip(kept.image_ids, map(full_size, kept.maps), strict=True))
    assert len(maps) == 8
    for limit, name in ((0.05, "spro_005"), (0.3, "spro_030")):
        expected = np.mean([spro(root / "pushpins", maps, kind, limit) for kind in ("logical", "structural")])
        assert 0.05 < expected < 0.95  # Neither end would show a lost channel or saturation.
        assert result.record.metrics[name] == pytest.approx(expected, abs=1e-6)


def full_size(anomaly_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map at the resolution of the image."""
    size = (HEIGHT, WIDTH)
    return torch.nn.functional.interpolate(torch.from_numpy(anomaly_map)[None, None], size, mode="bilinear")[
        0, 0
    ].numpy()


def spro(base: Path, maps: dict[str, NDArray[np.float32]], kind: str, limit: float) -> float:
    """Area under sPRO over the false positive rate up to the limit, one threshold after the other, from the files."""
    rules = {rule["pixel_value"]: rule for rule in json.loads((base / "defects_config.json").read_text())}
    normal: list[NDArray[np.float32]] = []
    defects: list[tuple[NDArray[np.float32], float]] = []
    for image_id, anomaly_map in maps.items():
        _, folder, name = image_id.split("/")
        if folder not in ("good", f"{kind}_anomalies"):
            continue
        union = np.zeros((HEIGHT, WIDTH), np.bool_)
        for path in sorted((base / "ground_truth" / folder / name.removesuffix(".png")).glob("*.png")):
            values = np.asarray(Image.open(path))
            rule, area = rules[int(values.max())], int((values > 0).sum())
            wanted = rule["saturation_threshold"]
            saturation = int(wanted * area) if rule["relative_saturation"] else min(wanted, area)
            defects.append((anomaly_map[values > 0], saturation))
            union |= values > 0
        normal.append(anomaly_map[~union])
    outside = np.concatenate(normal)
    thresholds = np.unique(np.concatenate([outside, *(scores for scores, _ in defects)]))[::-1]
    rates, overlaps = [0.0], [0.0]
    for threshold in thresholds:
        rates.append(float(np.mean(outside >= threshold)))
        overlaps.append(np.mean([min(1.0, (scores >= threshold).sum() / enough) for scores, enough in defects]))
    at_limit = float(np.interp(limit, rates, overlaps))
    within = [(rate, overlap) for rate, overlap in zip(rates, overlaps, strict=True) if rate < limit]
    x, y = zip(*within, (limit, at_limit), strict=True)
    return float(np.trapezoid(y, x)) / limit
