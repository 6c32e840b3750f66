"""Miniatures of BTAD, DAGM and the datasets of Kolektor."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawn import SIZE, draw, save


def btad(root: Path) -> Path:
    """{01,02,03}/{train/ok,test/{ok,ko},ground_truth/ko}: the types of images and masks differ by product."""
    rng = np.random.default_rng(3)
    for product, image_type, mask_type in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        base = root / product
        for part, count in (("train", 10), ("test", 4)):
            for number in range(count):
                save(base / part / "ok" / f"{number:04d}.{image_type}", draw(rng)[0])
        for number in range(4):
            image, mask = draw(rng, anomalous=True)
            save(base / "test" / "ko" / f"{number:04d}.{image_type}", image)
            # One product's masks count 0 and 1, the others' 0 and 255.
            save(
                base / "ground_truth" / "ko" / f"{number:04d}.{mask_type}",
                mask.astype(np.uint8) if product == "02" else mask,
            )
    return root


def dagm(root: Path) -> Path:
    """ClassN/{Train,Test}/{NNNN.PNG,Label/{NNNN_label.PNG,Labels.txt}}: every third image is defective, with an
    ellipse as its mask."""
    rng = np.random.default_rng(4)
    for number in (1, 10):
        for part in ("Train", "Test"):
            base = root / f"Class{number}" / part
            lines = ["1"]
            for image_number in range(1, 16):
                image, mask = draw(rng, anomalous=image_number % 3 == 0)
                save(base / f"{image_number:04d}.PNG", image[..., 0])
                listed = "0"
                if mask.any():
                    listed = save(base / "Label" / f"{image_number:04d}_label.PNG", _around(mask)).name
                lines.append(f"{image_number}\t{int(mask.any())}\t{image_number:04d}.PNG\t0\t{listed}")
            (base / "Label" / "Labels.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


def kolektor_sdd(root: Path) -> Path:
    """kosNN/{PartM.jpg,PartM_label.bmp}: every item has one defect, on its part 2."""
    rng = np.random.default_rng(5)
    for item in range(1, 13):
        for part in range(4):
            image, mask = draw(rng, anomalous=part == 2)
            save(root / f"kos{item:02d}" / f"Part{part}.jpg", image[..., 0])
            save(root / f"kos{item:02d}" / f"Part{part}_label.bmp", mask)
    return root


def kolektor_sdd2(root: Path) -> Path:
    """{train,test}/{ID.png,ID_GT.png}: every fourth image has a defect; two files lie in train by mistake."""
    rng = np.random.default_rng(6)
    for part, first, count in (("train", 10000, 20), ("test", 20000, 8)):
        for number in range(first, first + count):
            image, mask = draw(rng, anomalous=number % 4 == 0)
            save(root / part / f"{number}.png", image)
            save(root / part / f"{number}_GT.png", mask)
    image, mask = draw(rng)
    save(root / "train" / "10301 (copy).png", image)
    save(root / "train" / "10301_GT (copy).png", mask)
    return root


def _around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An ellipse around the mask."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    rows, columns = np.nonzero(mask)
    centre = rows.mean(), columns.mean()
    reach = np.ptp(rows), np.ptp(columns) * 1.2
    return np.asarray(((y - centre[0]) / reach[0]) ** 2 + ((x - centre[1]) / reach[1]) ** 2 <= 1)
