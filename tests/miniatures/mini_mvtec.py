"""Miniatures of the datasets of MVTec, and of MPDD, which has the layout of one."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawn import draw, save

LOCO_DEFECTS = (
    {"defect_name": "missing_pin", "pixel_value": 251, "saturation_threshold": 12, "relative_saturation": False},
    {"defect_name": "extra_pin", "pixel_value": 252, "saturation_threshold": 1.0, "relative_saturation": True},
    {"defect_name": "scratch", "pixel_value": 253, "saturation_threshold": 0.5, "relative_saturation": True},
)
LIGHTINGS = ("regular", "overexposed", "shift_1")


def mvtec_ad(root: Path, categories: tuple[str, ...] = ("bottle", "carpet")) -> Path:
    """CATEGORY/{train/good,test/{good,DEFECT},ground_truth/DEFECT/NNN_mask.png}."""
    rng = np.random.default_rng(0)
    for category in categories:
        base = root / category
        for part, count in (("train", 12), ("test", 4)):
            for number in range(count):
                save(base / part / "good" / f"{number:03d}.png", draw(rng)[0])
        for defect in ("broken", "stained"):
            for number in range(3):
                image, mask = draw(rng, anomalous=True)
                save(base / "test" / defect / f"{number:03d}.png", image)
                save(base / "ground_truth" / defect / f"{number:03d}_mask.png", mask)
    return root


def mpdd(root: Path) -> Path:
    """The layout of MVTec AD."""
    return mvtec_ad(root, ("connector", "tubes"))


def mvtec_ad2(root: Path) -> Path:
    """CATEGORY/{train/good,validation/good,test_public/{good,bad,ground_truth/bad}}: test scenes in all lightings."""
    rng = np.random.default_rng(1)
    for category in ("can", "rice"):
        base = root / category
        for part, count in (("train", 8), ("validation", 3)):
            for number in range(count):
                save(base / part / "good" / f"{number:03d}_regular.png", draw(rng)[0])
        for lighting in LIGHTINGS:
            for number in range(2):
                name = f"{number:03d}_{lighting}"
                save(base / "test_public" / "good" / f"{name}.png", draw(rng)[0])
                image, mask = draw(rng, anomalous=True)
                save(base / "test_public" / "bad" / f"{name}.png", image)
                save(base / "test_public" / "ground_truth" / "bad" / f"{name}_mask.png", mask)
        for part, lighting in (("test_private", "regular"), ("test_private_mixed", "shift_1")):
            save(base / part / f"000_{lighting}.png", draw(rng)[0])
    return root


def mvtec_loco(root: Path) -> Path:
    """CATEGORY/{train/good,validation/good,test/TYPE,ground_truth/TYPE/NNN/MMM.png,defects_config.json}: the second
    image of each type has two defects."""
    rng = np.random.default_rng(2)
    for category in ("pushpins", "screw_bag"):
        base = root / category
        for part, count in (("train", 8), ("validation", 3), ("test", 4)):
            for number in range(count):
                save(base / part / "good" / f"{number:03d}.png", draw(rng)[0])
        for kind, values in (("logical_anomalies", (251, 252)), ("structural_anomalies", (253, 253))):
            for number in range(3):
                image, blob = draw(rng, anomalous=True)
                save(base / "test" / kind / f"{number:03d}.png", image)
                regions = _halves(blob) if number == 1 else (blob,)
                for index, (region, value) in enumerate(zip(regions, values, strict=False)):
                    truth = region.astype(np.uint8) * np.uint8(value)
                    save(base / "ground_truth" / kind / f"{number:03d}" / f"{index:03d}.png", truth)
        (base / "defects_config.json").write_text(json.dumps(LOCO_DEFECTS), encoding="utf-8")
    return root


def _halves(blob: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The upper and the lower half of a blob."""
    rows = np.flatnonzero(blob.any(axis=1))
    upper = blob.copy()
    upper[rows[len(rows) // 2] :] = False
    return upper, blob & ~upper
