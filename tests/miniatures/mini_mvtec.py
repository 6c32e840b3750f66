"""Miniatures of MVTec AD, and of what has its layout."""

from pathlib import Path

import numpy as np

from drawn import draw, save


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
