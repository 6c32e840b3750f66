"""VisA, Real-IAD, ISIC 2018 and MedIAnomaly's sets: what their tables say, and what is wrong with broken ones."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.base import Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesDataset
from adbench.datasets.registry import dataset_class, open_dataset
from adbench.datasets.splits import make_split
from mini_tables import write_json
from miniatures import MINIATURES

Counts = Counter[tuple[str | None, str]]


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A fresh miniature of the dataset that the test is about."""
    return MINIATURES[request.param](tmp_path / "data")


def opened(name: str, root: Path, **params: Any) -> FilesDataset:
    dataset = open_dataset(name, {"root": str(root), **params})
    assert isinstance(dataset, FilesDataset)
    return dataset


def counts(dataset: FilesDataset, category: str) -> Counts:
    return Counter((sample.role, sample.defect_type) for sample in dataset.samples(category))


def sample_of(dataset: FilesDataset, category: str, image_id: str) -> Sample:
    return next(sample for sample in dataset.samples(category) if sample.image_id == image_id)


def replaced(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


def problems(dataset: FilesDataset, category: str, *expected: str) -> None:
    """Check that verify says these sentences (parts of them), in their order, and nothing else."""
    found = dataset.verify(category)
    assert len(found) == len(expected), found
    for problem, part in zip(found, expected, strict=True):
        assert part in problem


@pytest.mark.parametrize("root", ["visa"], indirect=True)
def test_visa_splits_by_each_table(root: Path) -> None:
    dataset = opened("visa", root)
    assert dataset.categories() == ("candle", "pcb1")
    assert counts(dataset, "candle") == {("train", "good"): 11, ("test", "good"): 3, ("test", "anomaly"): 5}
    assert counts(opened("visa", root, split="2cls_highshot"), "pcb1") == {
        ("train", "good"): 9,
        ("test", "good"): 5,
        ("labelled", "anomaly"): 3,
        ("test", "anomaly"): 2,
    }
    assert counts(opened("visa", root, split="2cls_fewshot"), "pcb1")["labelled", "anomaly"] == 1
    sample = sample_of(dataset, "candle", "Data/Images/Anomaly/002.JPG")
    mask = dataset.load_mask("candle", sample)
    truth = np.asarray(Image.open(root / "candle" / "Data" / "Masks" / "Anomaly" / "002.png"))
    assert mask is not None and truth.max() == 1  # Masks hold class numbers, not 255.
    np.testing.assert_array_equal(mask.union, truth > 0)


@pytest.mark.parametrize("root", ["visa"], indirect=True)
def test_visa_fingerprints_tell_tables_apart(root: Path) -> None:
    before = opened("visa", root).fingerprint("candle")
    assert opened("visa", root, split="2cls_fewshot").fingerprint("candle") != before
    moved = root.rename(root.parent / "VisA_20220922")
    assert opened("visa", moved.parent).fingerprint("candle") == before  # Wrapped by its archive, elsewhere.
    replaced(moved / "split_csv" / "1cls.csv", ("candle,train", "candle,test"))
    assert opened("visa", moved).fingerprint("candle") != before


def test_visa_counts_are_those_published() -> None:
    every = [dataset_class("visa").record.counts[name] for name in dataset_class("visa").record.counts]
    assert len(every) == 12
    assert sum(one["train normal"] for one in every) == 8659
    assert sum(one["test normal"] + one["test anomalous"] for one in every) == 2162


@pytest.mark.parametrize("root", ["visa"], indirect=True)
def test_visa_counts_are_compared_with_those_of_its_own_table(root: Path) -> None:
    assert opened("visa", root).count_problems("candle") == [
        f"{root / 'candle'}: 11 images are train normal, 900 are published",
        f"{root / 'candle'}: 3 images are test normal, 100 are published",
        f"{root / 'candle'}: 5 images are test anomalous, 100 are published",
    ]
    assert opened("visa", root, split="2cls_fewshot").count_problems("candle") == []


@pytest.mark.parametrize("root", ["visa"], indirect=True)
def test_visa_broken(root: Path) -> None:
    data, table = root / "candle" / "Data", root / "split_csv" / "1cls.csv"
    (data / "Images" / "Normal" / "0000.JPG").unlink()
    (data / "Masks" / "Anomaly" / "000.png").unlink()
    Image.new("L", (5, 6)).save(data / "Masks" / "Anomaly" / "001.png")
    whole = (data / "Images" / "Normal" / "0003.JPG").read_bytes()
    (data / "Images" / "Normal" / "0003.JPG").write_bytes(whole[: len(whole) // 2])
    shutil.copy(data / "Images" / "Normal" / "0004.JPG", data / "Images" / "Normal" / "stray.JPG")
    replaced(
        table,
        ("candle,train,normal,candle/Data/Images/Normal/0005", "candle,dev,normal,candle/Data/Images/Normal/0005"),
        ("candle,train,normal,candle/Data/Images/Normal/0006", "candle,train,good,candle/Data/Images/Normal/0006"),
        ("candle/Data/Images/Normal/0007", "pcb1/Data/Images/Normal/0007"),
        ("candle/Data/Images/Normal/0008", "candle/Data/Images/Normal/0009"),
        ("candle/Data/Masks/Anomaly/002.png", ""),
    )
    problems(
        opened("visa", root),
        "candle",
        f"{table} line 2 names {data / 'Images' / 'Normal' / '0000.JPG'}, which does not exist",
        "line 7 has the split 'dev' (allowed: train, test)",
        "line 8 has the label 'good' (allowed: normal, anomaly)",
        "line 9 names ../pcb1/Data/Images/Normal/0007.JPG, which is outside of",
        "line 11 lists Data/Images/Normal/0009.JPG again, after",
        f"line 16 names {data / 'Masks' / 'Anomaly' / '000.png'}, which does not exist",
        "cannot read image",
        "the layout does not know, so left out: " + str(data / "Images" / "Normal" / "0007.JPG"),
        "the layout does not know, so left out: " + str(data / "Images" / "Normal" / "0008.JPG"),
        "the layout does not know, so left out: " + str(data / "Images" / "Normal" / "stray.JPG"),
        "the layout does not know, so left out: " + str(data / "Masks" / "Anomaly" / "002.png"),
        "001.png is 5x6 pixels (width x height), its image Data/Images/Anomaly/001.JPG is 32x24",
        "anomalous image without a mask: " + str(data / "Images" / "Anomaly" / "002.JPG"),
    )
    problems(opened("visa", root), "pcb1")
    table.unlink()
    with pytest.raises(RequestError, match=r"cannot read .*1cls\.csv: No such file"):
        opened("visa", root).samples("candle")


@pytest.mark.parametrize("root", ["real_iad"], indirect=True)
def test_real_iad_reads_labels_of_views_and_groups_of_parts(root: Path) -> None:
    dataset = opened("real_iad", root)
    assert dataset.categories() == ("audiojack", "zipper")
    assert counts(dataset, "zipper") == {
        ("train", "good"): 16,
        ("test", "good"): 7,
        ("test", "BX"): 2,
        ("test", "HS"): 1,
    }
    name = "NG/BX/S0020/zipper_0020_NG_BX_C{}_2023.jpg"
    defective, normal = (sample_of(dataset, "zipper", name.format(view)) for view in (1, 2))
    assert defective.group == normal.group == "NG/BX/S0020" and (defective.label, normal.label) == (1, 0)
    mask = dataset.load_mask("zipper", defective)
    assert mask is not None and mask.union.any() and dataset.load_mask("zipper", normal) is None
    split = make_split(dataset.samples("zipper"), "zipper", 0, dataset.split_rule())
    groups = [{sample.group for sample in split.of(role)} for role in ("train", "val", "test")]
    assert all(groups) and len(set.union(*groups)) == sum(map(len, groups))


@pytest.mark.parametrize("root", ["real_iad"], indirect=True)
def test_real_iad_masks_are_cut_at_half(root: Path) -> None:
    path = root / "realiad_1024" / "zipper" / "NG" / "BX" / "S0020" / "zipper_0020_NG_BX_C1_2023.png"
    ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    Image.fromarray(ramp).save(path)
    dataset = opened("real_iad", root)
    sample = sample_of(dataset, "zipper", "NG/BX/S0020/zipper_0020_NG_BX_C1_2023.jpg")
    mask = dataset.load_mask("zipper", sample)
    assert mask is not None
    np.testing.assert_array_equal(mask.union, ramp > 127)


@pytest.mark.parametrize("root", ["real_iad"], indirect=True)
def test_real_iad_in_other_resolutions_views_and_folders(root: Path) -> None:
    single = opened("real_iad", root, views="single")
    assert counts(single, "zipper") == {
        ("train", "good"): 8,
        ("test", "good"): 2,
        ("test", "BX"): 2,
        ("test", "HS"): 1,
    }
    assert single.verify("zipper") == [] and single.fingerprint("zipper") != opened("real_iad", root).fingerprint(
        "zipper"
    )
    for folder in ("realiad_jsons_sv", "realiad_jsons"):  # Without the outer folder.
        shutil.copytree(root / "realiad_jsons" / folder, root / "flat" / folder)
    (root / "realiad_1024").rename(root / "flat" / "realiad_256")
    flat = opened("real_iad", root / "flat", resolution=256)
    assert counts(flat, "zipper")["train", "good"] == 16
    assert opened("real_iad", root / "flat", resolution=256, views="single").samples("zipper") == single.samples(
        "zipper"
    )
    with pytest.raises(RequestError, match=r"realiad_1024 does not exist\n  allowed: realiad_256"):
        opened("real_iad", root / "flat")
    with pytest.raises(RequestError, match=r"dataset\.resolution=333 is not allowed"):
        opened("real_iad", root, resolution=333)


@pytest.mark.parametrize("root", ["real_iad"], indirect=True)
def test_real_iad_broken(root: Path) -> None:
    base, table = root / "realiad_1024" / "zipper", root / "realiad_jsons" / "realiad_jsons" / "zipper.json"
    whole = json.loads(table.read_text())
    whole["train"][3]["category"] = "audiojack"
    whole["train"][4]["image_path"] = "../audiojack/OK/S0002/audiojack_0002_OK_C1_2023.jpg"
    whole["test"][1]["image_path"] = whole["test"][0]["image_path"]
    whole["train"][6]["anomaly_class"] = "OI"
    (base / whole["test"][2]["image_path"]).unlink()
    (base / "NG" / "BX" / "S0021" / "zipper_0021_NG_BX_C1_2023.png").unlink()
    (base / "NG" / "HS" / "S0022" / "zipper_0022_NG_HS_C1_2023.jpg").write_bytes(b"")
    write_json(table, whole)
    problems(
        opened("real_iad", root),
        "zipper",
        f"{table} train[3] is of the category 'audiojack', not 'zipper'",
        "train[4] names ../audiojack/OK/S0002/audiojack_0002_OK_C1_2023.jpg, which is outside of",
        f"train[6] says that {whole['train'][6]['image_path']} shows the defect 'OI', but it lies among the normal",
        f"test[1] lists {whole['test'][0]['image_path']} again, after {table} test[0]",
        f"test[2] names {base / whole['test'][2]['image_path']}, which does not exist",
        "zipper_0021_NG_BX_C1_2023.png, which does not exist",
        "cannot read image",
    )
    for part, value, message in (
        ("train", None, r"zipper\.json train is missing"),
        ("test", [3], r"zipper\.json test is 3"),
        ("meta", {}, r"zipper\.json meta\.normal_class is missing"),
        ("test", [{"anomaly_class": "OK"}], r"zipper\.json test\[0\]\.image_path is missing"),
    ):
        write_json(table, {**whole, part: value})
        with pytest.raises(RequestError, match=message):
            opened("real_iad", root).samples("zipper")
    table.unlink()
    with pytest.raises(RequestError, match=r"no table of 'zipper' with views=all\n  allowed: .*zipper\.json or "):
        opened("real_iad", root).samples("zipper")


@pytest.mark.parametrize("root", ["isic2018"], indirect=True)
def test_isic_protocols(root: Path) -> None:
    train: Counts = Counter({("train", "good"): 12, ("labelled", "MEL"): 2, ("labelled", "BCC"): 1})
    validation = {"good": 4, "DF": 1, "MEL": 1}
    test = Counter({("test", "good"): 5, ("test", "BKL"): 1, ("test", "VASC"): 1, ("test", "AKIEC"): 1})
    for protocol, rest in {
        "official": test + Counter({("val", defect): count for defect, count in validation.items()}),
        "ckaad": Counter({("test", defect): count for defect, count in validation.items()}),
        "medianomaly": test,
    }.items():
        dataset = opened("isic2018", root, protocol=protocol)
        assert counts(dataset, "skin") == train + rest
        assert dataset.verify("skin") == [] and not dataset.has_masks("skin")
    assert opened("isic2018", root).modality("skin") == "medical"


@pytest.mark.parametrize("root", ["isic2018"], indirect=True)
def test_isic_lesions_stay_together(root: Path) -> None:
    dataset = opened("isic2018", root, protocol="ckaad")
    train = [sample for sample in dataset.samples("skin") if sample.role in ("train", "labelled")]
    assert train[0].group == "HAM_0012153" and Counter(sample.group for sample in train).most_common(1)[0][1] == 2
    split = make_split(dataset.samples("skin"), "skin", 0, dataset.split_rule())
    carved = {sample.group for sample in split.val} - {None}
    assert carved and not carved & {sample.group for sample in (*split.train, *split.labelled)}
    before = dataset.fingerprint("skin")
    (root / "ISIC2018_Task3_Training_LesionGroupings.csv").unlink()
    without = opened("isic2018", root, protocol="ckaad")
    assert {sample.group for sample in without.samples("skin")} == {None} and without.fingerprint("skin") != before


@pytest.mark.parametrize("root", ["isic2018"], indirect=True)
def test_isic_as_archives_and_people_unpack_it(root: Path) -> None:
    known = opened("isic2018", root).samples("skin")
    for part in ("Training", "Validation", "Test"):
        folder = root / f"ISIC2018_Task3_{part}_GroundTruth"
        (folder / f"{folder.name}.csv").rename(root / f"{folder.name}.csv")
        folder.rmdir()
    assert opened("isic2018", root).samples("skin") == known
    inner = root / "ISIC2018_Task3_Test_Input"
    inner.rename(root / "inner")
    inner.mkdir()
    (root / "inner").rename(inner / inner.name)
    nested = opened("isic2018", root)
    assert nested.verify("skin") == [] and counts(nested, "skin")["test", "good"] == 5


@pytest.mark.parametrize("root", ["isic2018"], indirect=True)
def test_isic_broken(root: Path) -> None:
    images = root / "ISIC2018_Task3_Validation_Input"
    first = min(images.glob("*.jpg"))
    table = root / "ISIC2018_Task3_Validation_GroundTruth" / "ISIC2018_Task3_Validation_GroundTruth.csv"
    lines = table.read_text().splitlines()
    lines[2] = lines[2].replace("0.0", "1.0", 1)
    lines[3] = lines[3].replace("0.0", "maybe", 1)
    lines.append(lines[4])
    table.write_text("\n".join(lines))
    first.write_bytes(first.read_bytes()[:100])
    shutil.copy(images / f"{lines[5].split(',')[0]}.jpg", images / "stray.jpg")
    (images / f"{lines[6].split(',')[0]}.jpg").unlink()
    problems(
        opened("isic2018", root, protocol="ckaad"),
        "skin",
        f"{table} line 3 must have one 1 and zeros in MEL,NV,BCC,AKIEC,BKL,DF,VASC",
        "line 4 must have one 1",
        f"line 7 names {images}",
        "line 8 lists ISIC2018_Task3_Validation_Input/",
        f"cannot read image {first}",
        f"left out: {images / 'stray.jpg'}",
    )
    shutil.rmtree(root / "ISIC2018_Task3_Test_Input")
    with pytest.raises(RequestError, match=r"protocol=official needs the folder ISIC2018_Task3_Test_Input in"):
        opened("isic2018", root).samples("skin")
    replaced(table, ("NV,", "nevus,"))
    with pytest.raises(RequestError, match=r"has no column NV; its first line is: image,MEL,nevus"):
        opened("isic2018", root, protocol="ckaad").samples("skin")


@pytest.mark.parametrize(
    ("root", "name", "category"),
    [
        ("rsna", "rsna", "chest"),
        ("vincxr", "vincxr", "chest"),
        ("braintumor", "braintumor", "brain"),
        ("lag", "lag", "fundus"),
    ],
    indirect=["root"],
)
def test_medianomaly_reads_the_lists(root: Path, name: str, category: str) -> None:
    dataset = opened(name, root)
    assert dataset.categories() == (category,)
    assert counts(dataset, category) == {("train", "good"): 12, ("test", "good"): 4, ("test", "abnormal"): 5}
    folder = next(root.iterdir())
    assert opened(name, folder).samples(category) == dataset.samples(category)
    assert opened(name, root.parent).samples(category) == dataset.samples(category)  # Wrapped once more.


@pytest.mark.parametrize("root", ["lag"], indirect=True)
def test_medianomaly_does_not_take_one_set_for_another(root: Path) -> None:
    with pytest.raises(RequestError, match=r"dataset 'rsna' is not here: .* it holds LAG"):
        opened("rsna", root)
    MINIATURES["rsna"](root)
    assert opened("lag", root).base("fundus").name == "LAG" and opened("rsna", root).base("chest").name == "RSNA"


@pytest.mark.parametrize("root", ["lag"], indirect=True)
def test_medianomaly_broken(root: Path) -> None:
    images, table = root / "LAG" / "images", root / "LAG" / "data.json"
    whole = json.loads(table.read_text())
    (images / "train_0_3.png").unlink()
    (images / "test_1_0.png").write_bytes(b"")
    whole["test"]["0"] += ["train_0_0.png", "../data.json"]
    write_json(table, whole)
    problems(
        opened("lag", root),
        "fundus",
        f"{table} train.0[3] names {images / 'train_0_3.png'}, which does not exist",
        "test.0[4] lists images/train_0_0.png again, after",
        "test.0[5] names images/../data.json, which is outside of",
        f"cannot read image {images / 'test_1_0.png'}",
    )
    for tests, message in (
        ({"0": []}, r"data\.json test\.1 is missing"),
        ({"0": [], "1": [3]}, r"data\.json test\.1\[0\] is 3\n  allowed: a text"),
    ):
        write_json(table, {**whole, "test": tests})
        with pytest.raises(RequestError, match=message):
            opened("lag", root).samples("fundus")
