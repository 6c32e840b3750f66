"""Miniatures of datasets whose tables say what the images are."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from drawn import draw, save
from mini_mvtec import mvtec_ad

ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def visa(root: Path, objects: tuple[str, ...] = ("candle", "pcb1")) -> Path:
    """OBJECT/Data/{Images/{Normal,Anomaly},Masks/Anomaly} and split_csv/{1cls,2cls_highshot,2cls_fewshot}.csv."""
    rng = np.random.default_rng(1)
    tables: dict[str, list[str]] = {"1cls": [], "2cls_highshot": [], "2cls_fewshot": []}
    for name in objects:
        data = root / name / "Data"
        for number in range(14):
            save(data / "Images" / "Normal" / f"{number:04d}.JPG", draw(rng)[0])
            parts = {"1cls": number < 11, "2cls_highshot": number < 9, "2cls_fewshot": number < 3}
            for table, trained in parts.items():
                part = "train" if trained else "test"
                tables[table].append(f"{name},{part},normal,{name}/Data/Images/Normal/{number:04d}.JPG,")
        for number in range(5):
            image, mask = draw(rng, anomalous=True)
            save(data / "Images" / "Anomaly" / f"{number:03d}.JPG", image)
            save(data / "Masks" / "Anomaly" / f"{number:03d}.png", mask.astype(np.uint8))
            pair = f"{name}/Data/Images/Anomaly/{number:03d}.JPG,{name}/Data/Masks/Anomaly/{number:03d}.png"
            parts = {"1cls": False, "2cls_highshot": number < 3, "2cls_fewshot": number < 1}
            for table, trained in parts.items():
                tables[table].append(f"{name},{'train' if trained else 'test'},anomaly,{pair}")
    for table, lines in tables.items():
        (root / "split_csv").mkdir(exist_ok=True)
        (root / "split_csv" / f"{table}.csv").write_text("\n".join(["object,split,label,image,mask", *lines]) + "\n")
    return root


def real_iad(root: Path, categories: tuple[str, ...] = ("audiojack", "zipper")) -> Path:
    """realiad_1024/CATEGORY/{OK/S*,NG/DEFECT/S*} with two views of each part, and both kinds of tables."""
    rng = np.random.default_rng(2)
    for category in categories:
        base = root / "realiad_1024" / category
        parts: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
        for number in range(10):
            part = "train" if number < 8 else "test"
            for view in (1, 2):
                image = f"OK/S{number:04d}/{category}_{number:04d}_OK_C{view}_2023.jpg"
                save(base / image, draw(rng)[0])
                parts[part].append(_entry(category, "OK", image, None))
        for defect, number in (("BX", 20), ("BX", 21), ("HS", 22)):
            for view in (1, 2):  # The defect shows in one view alone.
                name = f"NG/{defect}/S{number:04d}/{category}_{number:04d}_NG_{defect}_C{view}_2023"
                pixels, mask = draw(rng, anomalous=view == 1)
                save(base / f"{name}.jpg", pixels)
                if view == 1:
                    save(base / f"{name}.png", mask)
                shown = (defect, f"{name}.jpg", f"{name}.png") if view == 1 else ("OK", f"{name}.jpg", None)
                parts["test"].append(_entry(category, *shown))
        for folder, views in (("realiad_jsons", ("_C1_", "_C2_")), ("realiad_jsons_sv", ("_C1_",))):
            chosen = {
                part: [entry for entry in entries if any(view in str(entry["image_path"]) for view in views)]
                for part, entries in parts.items()
            }
            table = {"meta": {"prefix": f"{category}/", "normal_class": "OK"}, **chosen}
            write_json(root / "realiad_jsons" / folder / f"{category}.json", table)
    return root


def isic2018(root: Path) -> Path:
    """ISIC2018_Task3_{Training,Validation,Test}_{Input,GroundTruth} and the lesions of the training set."""
    rng = np.random.default_rng(3)
    number = 24306
    lesions = ["image,lesion_id,diagnosis_confirm_type"]
    sizes: Mapping[str, tuple[int, tuple[str, ...]]] = {
        "Training": (12, ("MEL", "MEL", "BCC")),
        "Validation": (4, ("DF", "MEL")),
        "Test": (5, ("BKL", "VASC", "AKIEC")),
    }
    for part, (normals, others) in sizes.items():
        lines = [",".join(["image", *ISIC_CLASSES])]
        for name in ("NV",) * normals + others:
            image = f"ISIC_{number:07d}"
            pixels = draw(rng, anomalous=name != "NV")[0]
            save(root / f"ISIC2018_Task3_{part}_Input" / f"{image}.jpg", pixels)
            lines.append(",".join([image, *("1.0" if name == other else "0.0" for other in ISIC_CLASSES)]))
            if part == "Training":  # Two pictures of each lesion.
                lesions.append(f"{image},HAM_{number // 2:07d},follow_up")
            number += 1
        folder = root / f"ISIC2018_Task3_{part}_GroundTruth"
        folder.mkdir()
        (folder / f"{folder.name}.csv").write_text("\n".join(lines) + "\n")
        (root / f"ISIC2018_Task3_{part}_Input" / "LICENSE.txt").write_text("-")
    (root / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("\n".join(lesions) + "\n")
    return root


def dtd(root: Path) -> Path:
    """dtd/{images/TEXTURE/TEXTURE_NNNN.jpg,labels/{train,val,test}{1,2}.txt}, with an image that no table lists."""
    rng = np.random.default_rng(8)
    base, textures = root / "dtd", ("banded", "lined", "polka-dotted")
    parts = {"train": range(1, 7), "val": range(7, 10), "test": range(10, 14)}
    (base / "labels").mkdir(parents=True)
    for texture in textures:
        for number in range(1, 15):
            save(base / "images" / texture / f"{texture}_{number:04d}.jpg", draw(rng)[0])
    for part, numbers in parts.items():
        for division in (1, 2):
            names = [f"{t}/{t}_{n + (division == 2):04d}.jpg" for t in textures for n in numbers]
            (base / "labels" / f"{part}{division}.txt").write_text("\n".join(names) + "\n")
    return root


def medianomaly(root: Path, folder: str) -> Path:
    """FOLDER/{images,data.json}, with images in lists that nobody reads."""
    rng = np.random.default_rng(4)
    lists: dict[str, list[str]] = {}
    for what, count in (("train 0", 12), ("unlabeled 0", 2), ("unlabeled 1", 2), ("test 0", 4), ("test 1", 5)):
        lists[what] = [f"{what.replace(' ', '_')}_{number}.png" for number in range(count)]
        for name in lists[what]:
            save(root / folder / "images" / name, draw(rng, anomalous=what.endswith("1"))[0][..., 0])
    unlabeled = {"0": lists["unlabeled 0"], "1": lists["unlabeled 1"]}
    table = {
        "train": {"0": lists["train 0"], "unlabeled": unlabeled},
        "test": {"0": lists["test 0"], "1": lists["test 1"]},
    }
    write_json(root / folder / "data.json", table)
    return root


def listed(root: Path) -> Path:
    """Images of two defects, with a list.csv that names them with masks, splits and patients."""
    mvtec_ad(root, ("img",))
    lines = ["path,label,mask,split,patient"]
    for path in sorted(root.rglob("*.png")):
        part, defect, name = path.relative_to(root / "img").parts
        if part != "ground_truth":
            mask = f"img/ground_truth/{defect}/{path.stem}_mask.png"
            said = f"anomalous,{mask}" if defect != "good" else "good,"
            lines.append(f"img/{part}/{defect}/{name},{said},{part},{part}-{defect}-{path.stem}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


def write_json(path: Path, value: object) -> Path:
    """Write a value, and make the file's folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def _entry(category: str, shown: str, image: str, mask: str | None) -> dict[str, str | None]:
    return {"category": category, "anomaly_class": shown, "image_path": image, "mask_path": mask}
