"""Miniatures of the medical datasets that are trees of folders."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from drawn import SIZE, draw, save


def _write(
    root: Path, normal: Iterable[str], anomalous: Iterable[str], masks: Mapping[str, str] | None = None, seed: int = 0
) -> Path:
    """Images at these paths below ``root``, and masks of anomalous ones at the paths that ``masks`` gives."""
    rng = np.random.default_rng(seed)
    for path in normal:
        save(root / path, draw(rng)[0])
    for path in anomalous:
        image, mask = draw(rng, anomalous=True)
        save(root / path, image)
        if masks is not None and path in masks:
            save(root / masks[path], mask)
    return root


def br35h(root: Path, count: int = 15) -> Path:
    """{no,yes}/*.jpg, and the archive's other folders."""
    normal = [f"no/no{number}.jpg" for number in range(count)]
    tumours = [f"yes/y{number}.jpg" for number in range(count)]
    others = ["pred/pred0.jpg", "Br35H-Mask-RCNN/TRAIN/y1.jpg"]
    return _write(root, normal, [*tumours, *others])


def oct2017(root: Path) -> Path:
    """{train,test}/{NORMAL,CNV,DME,DRUSEN}/CLASS-PATIENT-N.jpeg.

    Patients 11, 21, 31 and 41 are in train and test; patient 15 has normal and anomalous training images.
    """
    normal = [f"train/NORMAL/NORMAL-{patient}-{number}.jpeg" for patient in range(11, 20) for number in (1, 2)]
    normal += [f"test/NORMAL/NORMAL-{patient}-3.jpeg" for patient in (11, 50, 51)]
    anomalous = ["train/CNV/CNV-15-3.jpeg"]
    for tens, name in ((2, "CNV"), (3, "DME"), (4, "DRUSEN")):
        patients = range(10 * tens + 1, 10 * tens + 6)
        anomalous += [f"train/{name}/{name}-{patient}-{number}.jpeg" for patient in patients for number in (1, 2)]
        anomalous += [f"test/{name}/{name}-{patient}-3.jpeg" for patient in (10 * tens + 1, 50 + tens)]
    return _write(root, normal, anomalous)


def chest_xray2017(root: Path) -> Path:
    """chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg.

    person1 is in train and test, with a virus and bacteria; IM-0020 of train and NORMAL2-IM-0020 of test may be one.
    """
    normal = [f"train/NORMAL/IM-{patient:04d}-0001.jpeg" for patient in range(115, 125)]
    normal += ["train/NORMAL/IM-0115-0001-0002.jpeg", "train/NORMAL/IM-0020-0001.jpeg"]
    normal += [f"train/NORMAL/NORMAL2-IM-{patient:04d}-0001.jpeg" for patient in range(500, 505)]
    normal += ["test/NORMAL/IM-0001-0001.jpeg", "test/NORMAL/NORMAL2-IM-0020-0001.jpeg"]
    anomalous = [f"train/PNEUMONIA/person{patient}_bacteria_{patient + 40}.jpeg" for patient in range(2, 9)]
    anomalous += [f"train/PNEUMONIA/person{patient}_virus_{patient + 90}.jpeg" for patient in range(6, 13)]
    anomalous += ["train/PNEUMONIA/person1_bacteria_1.jpeg"]
    anomalous += ["test/PNEUMONIA/person1_virus_6.jpeg", "test/PNEUMONIA/person100_bacteria_475.jpeg"]
    _write(root / "chest_xray", normal, anomalous)
    return root


def bmad(root: Path) -> Path:
    """CATEGORY/{train/good,{valid,test}/{good,Ungood}/{img,label}}/*.png; Histopathology has no img, nor masks."""
    names = {"Brain": "{:05d}_60.png", "Retina_OCT2017": "NORMAL-{}-1.png"}
    categories = ("Brain", "Liver", "Retina_RESC", "Retina_OCT2017", "Chest", "Histopathology")
    for seed, category in enumerate(categories):
        name = names.get(category, "{}.png")
        image = "" if category == "Histopathology" else "img/"
        normal = [f"train/good/{name.format(number)}" for number in range(9)]
        normal += [f"valid/good/{image}{name.format(number)}" for number in range(10, 12)]
        normal += [f"test/good/{image}{name.format(number)}" for number in range(20, 23)]
        anomalous = [f"valid/Ungood/{image}{name.format(number)}" for number in range(30, 32)]
        anomalous += [f"test/Ungood/{image}{name.format(number)}" for number in range(40, 46)]
        masks = {path: path.replace("/img/", "/label/") for path in anomalous} if seed < 3 else None
        _write(root / category, normal, anomalous, masks, seed)
    for path in ("test/good/label/00020_60.png", "valid/good/label/00010_60.png"):  # Normal images of some have them.
        save(root / "Brain" / path, np.zeros(SIZE, np.bool_))
    return root


def camelyon16(root: Path) -> Path:
    """{train/good,test/{good,Ungood}}/*.png."""
    normal = [f"train/good/{number}.png" for number in range(12)] + [f"test/good/{number}.png" for number in range(4)]
    return _write(root, normal, [f"test/Ungood/{number}.png" for number in range(6)])


def brats2021(root: Path) -> Path:
    """{train,test/{normal,tumor,annotation}}/*.png, several slices of each patient."""
    normal = [f"train/BraTS2021_{case:05d}_flair_{z}.png" for case in range(8) for z in (60, 70)]
    normal += [f"test/normal/BraTS2021_{case:05d}_flair_60.png" for case in range(20, 24)]
    anomalous = [f"test/tumor/BraTS2021_{case:05d}_flair_{z}.png" for case in range(22, 28) for z in (80, 90)]
    masks = {path: path.replace("tumor", "annotation").replace("flair", "seg") for path in anomalous}
    return _write(root, normal, anomalous, masks)
