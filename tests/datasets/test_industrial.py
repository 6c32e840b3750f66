"""The industrial datasets that are trees of folders: each layout and its variants, and each in broken shapes."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adbench.datasets.base import Dataset, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesDataset
from adbench.datasets.registry import dataset_class, open_dataset
from adbench.datasets.splits import make_split
from miniatures import MINIATURES

NAMES = ("btad", "dagm", "kolektor_sdd", "kolektor_sdd2", "mpdd", "mvtec_ad", "mvtec_ad2", "mvtec_loco")
CONTENT = {
    "btad": {("train", "good"): 10, ("test", "good"): 4, ("test", "ko"): 4},
    "dagm": {
        ("train", "good"): 10,
        ("labelled", "defective"): 5,
        ("test", "good"): 10,
        ("test", "defective"): 5,
    },
    "kolektor_sdd": {(None, "good"): 36, (None, "defective"): 12},
    "kolektor_sdd2": {
        ("train", "good"): 15,
        ("labelled", "defective"): 5,
        ("test", "good"): 6,
        ("test", "defective"): 2,
    },
    "mpdd": {("train", "good"): 12, ("test", "good"): 4, ("test", "broken"): 3, ("test", "stained"): 3},
    "mvtec_ad": {("train", "good"): 12, ("test", "good"): 4, ("test", "broken"): 3, ("test", "stained"): 3},
    "mvtec_ad2": {("train", "good"): 8, ("val", "good"): 3, ("test", "good"): 6, ("test", "bad"): 6},
    "mvtec_loco": {
        ("train", "good"): 8,
        ("val", "good"): 3,
        ("test", "good"): 4,
        ("test", "logical_anomalies"): 3,
        ("test", "structural_anomalies"): 3,
    },
}
"""Images of every category of a miniature by role and defect type."""

PUBLISHED = {
    "btad": {"train normal": 1799, "test normal": 451, "test anomalous": 290},
    "kolektor_sdd": {"normal": 347, "anomalous": 52},
    "kolektor_sdd2": {"train normal": 2085, "train anomalous": 246, "test normal": 894, "test anomalous": 110},
    "mpdd": {"train normal": 888, "test normal": 176, "test anomalous": 282},
    "mvtec_ad": {"train normal": 3629, "test normal": 467, "test anomalous": 1258},
    "mvtec_loco": {"train normal": 1778, "val normal": 305, "test normal": 575, "test anomalous": 432 + 561},
}
"""Images of all categories together, as told apart from those of each."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def opened(name: str, root: Path) -> FilesDataset:
    dataset = open_dataset(name, {"root": str(root)})
    assert isinstance(dataset, FilesDataset)
    return dataset


def written(name: str, root: Path) -> FilesDataset:
    return opened(name, MINIATURES[name](root))


def by_id(dataset: Dataset, category: str) -> dict[str, Sample]:
    return {sample.image_id: sample for sample in dataset.samples(category)}


def blob(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where an anomaly was drawn; JPEG blurs the border."""
    return np.asarray(image.min(axis=2) > 200)


def test_roles_labels_and_defect_types(name: str, tmp_path: Path) -> None:
    dataset = written(name, tmp_path)
    for category in dataset.categories():
        samples = dataset.samples(category)
        assert Counter((sample.role, sample.defect_type) for sample in samples) == CONTENT[name]
        for sample in samples:
            assert sample.label == int(blob(dataset.load_image(category, sample)).any())
            logical = sample.defect_type == "logical_anomalies"
            assert sample.kind == ("logical" if logical else "structural" if sample.label else "good")


def test_each_anomaly_has_the_mask_of_its_own_image(name: str, tmp_path: Path) -> None:
    dataset = written(name, tmp_path)
    for category in dataset.categories():
        for sample in dataset.samples(category):
            mask, shown = dataset.load_mask(category, sample), blob(dataset.load_image(category, sample))
            if not sample.label:
                assert mask is None
                continue
            assert mask is not None
            if name == "dagm":  # An ellipse around the defect.
                assert (mask.union & shown).sum() == shown.sum() < mask.union.sum()
            elif name == "kolektor_sdd":
                assert (mask.union & shown).sum() > 0.8 * (mask.union | shown).sum()
            else:
                np.testing.assert_array_equal(mask.union, shown)


def test_published_counts_add_up_and_are_compared(name: str, tmp_path: Path) -> None:
    counts = dataset_class(name).record.counts
    totals = Counter[str]()
    for of_category in counts.values():
        totals.update(of_category)
    published = PUBLISHED.get(name, {})
    assert {what: totals[what] for what in published} == published
    dataset = written(name, tmp_path)
    assert name == "dagm" or set(dataset.categories()) <= set(counts)
    for category in dataset.categories():
        problems = dataset.count_problems(category)
        assert len(problems) == len(counts.get(category, {}))
        assert all("are published" in problem and str(tmp_path) in problem for problem in problems)


def test_an_archive_may_have_wrapped_all_in_folders(name: str, tmp_path: Path) -> None:
    plain = written(name, tmp_path / "plain")
    wrapped = MINIATURES[name](tmp_path / "wrapped" / "download" / "DATA").parents[1]
    (wrapped / "download" / "license.txt").write_text("-")
    dataset = opened(name, wrapped)
    assert dataset.categories() == plain.categories()
    for category in plain.categories():
        assert dataset.samples(category) == plain.samples(category)
        assert dataset.fingerprint(category) == plain.fingerprint(category)


def test_another_folder_is_refused_with_the_layout_and_where_to_get_the_data(name: str, tmp_path: Path) -> None:
    (tmp_path / "holidays").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "holidays" / "beach.png")
    with pytest.raises(RequestError, match=f"dataset '{name}' is not here.*holds holidays") as caught:
        opened(name, tmp_path)
    record = dataset_class(name).record
    assert caught.value.allowed == record.layout and record.home in str(caught.value.remedy)


ANOMALY = {
    "btad": ("01", "test/ko/0001.bmp", "ground_truth/ko/0001.png"),
    "dagm": ("Class1", "Test/0003.PNG", "Test/Label/0003_label.PNG"),
    "kolektor_sdd": ("kolektor_sdd", "kos04/Part2.jpg", "kos04/Part2_label.bmp"),
    "kolektor_sdd2": ("kolektor_sdd2", "test/20004.png", "test/20004_GT.png"),
    "mpdd": ("tubes", "test/broken/001.png", "ground_truth/broken/001_mask.png"),
    "mvtec_ad": ("carpet", "test/broken/001.png", "ground_truth/broken/001_mask.png"),
    "mvtec_ad2": (
        "rice",
        "test_public/bad/001_shift_1.png",
        "test_public/ground_truth/bad/001_shift_1_mask.png",
    ),
    "mvtec_loco": (
        "pushpins",
        "test/logical_anomalies/000.png",
        "ground_truth/logical_anomalies/000/000.png",
    ),
}
"""Of each miniature a category, an anomalous image and its mask."""


def broken(name: str, root: Path, damage: Callable[[Path, Path], None]) -> tuple[FilesDataset, str]:
    """The miniature after ``damage`` to the image and the mask of one anomaly."""
    category, image, mask = ANOMALY[name]
    base = written(name, root).base(category)
    damage(base / image, base / mask)
    return opened(name, root), category


def test_a_missing_mask_is_named(name: str, tmp_path: Path) -> None:
    dataset, category = broken(name, tmp_path, lambda image, mask: mask.unlink())
    problems, image = dataset.verify(category), ANOMALY[name][1]
    assert len(problems) == 1 and "mask" in problems[0]
    assert (ANOMALY[name][2] if name == "dagm" else image) in problems[0]
    if name == "dagm" or name.startswith("kolektor"):
        assert image not in by_id(dataset, category)  # It must not pass for a normal one.
    else:
        assert dataset.load_mask(category, by_id(dataset, category)[image]) is None


def test_a_missing_image_is_named_by_its_mask(name: str, tmp_path: Path) -> None:
    dataset, category = broken(name, tmp_path, lambda image, mask: image.unlink())
    problems = dataset.verify(category)
    assert len(problems) == 1 and "mask without an image" in problems[0] and ANOMALY[name][2] in problems[0]


def test_a_mask_of_another_size_is_named(name: str, tmp_path: Path) -> None:
    def shrink(image: Path, mask: Path) -> None:
        Image.open(mask).resize((8, 6), Image.Resampling.NEAREST).save(mask)

    dataset, category = broken(name, tmp_path, shrink)
    problems = dataset.verify(category)
    assert len(problems) == 1 and ANOMALY[name][2] in problems[0] and "is 8x6 pixels" in problems[0]


@pytest.mark.parametrize("which", [1, 2])
def test_a_truncated_file_is_named(name: str, tmp_path: Path, which: int) -> None:
    def truncate(*paths: Path) -> None:
        path = paths[which - 1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    dataset, category = broken(name, tmp_path, truncate)
    problems = dataset.verify(category)
    assert len(problems) == 1 and "cannot read image" in problems[0] and ANOMALY[name][which] in problems[0]
    sample = by_id(dataset, category)[ANOMALY[name][1]]
    with pytest.raises(RequestError, match="cannot read image"):
        (dataset.load_image if which == 1 else dataset.load_mask)(category, sample)


STRAYS = {
    "btad": "test/0001.bmp",
    "dagm": "Test/Label/notes.PNG",
    "kolektor_sdd": "overview.jpg",
    "kolektor_sdd2": "test/more/1.png",
    "mpdd": "test/loose.png",
    "mvtec_ad": "train/loose.png",
    "mvtec_ad2": "test_public/ground_truth/bad/001_shift_1.png",
    "mvtec_loco": "test/loose.png",
}


def test_a_stray_image_is_named_and_left_out(name: str, tmp_path: Path) -> None:
    def add(image: Path, mask: Path) -> None:
        base = Path(str(image).removesuffix(ANOMALY[name][1]))
        (base / STRAYS[name]).parent.mkdir(exist_ok=True)
        shutil.copy(image, base / STRAYS[name])

    dataset, category = broken(name, tmp_path, add)
    problems = dataset.verify(category)
    assert len(problems) == 1 and "that the layout does not know" in problems[0] and STRAYS[name] in problems[0]
    assert STRAYS[name] not in by_id(dataset, category)
    assert Counter((s.role, s.defect_type) for s in dataset.samples(category)) == CONTENT[name]


@pytest.mark.parametrize("name", ["btad", "mpdd", "mvtec_ad", "mvtec_ad2", "mvtec_loco"])
def test_test_anomalies_may_be_labelled_instead(name: str, tmp_path: Path) -> None:
    root = MINIATURES[name](tmp_path)
    for share in (0.0, 0.5):
        dataset = open_dataset(name, {"root": str(root), "labelled_from_test": share})
        for category in dataset.categories():
            samples = dataset.samples(category)
            split = make_split(samples, category, 0, dataset.split_rule())
            anomalies = sum(sample.label for sample in samples)
            assert sum(sample.label for sample in split.test) == anomalies * (1 - share)
            assert len(split.labelled) + sum(sample.label for sample in split.val) == anomalies * share


def test_mvtec_ad2_keeps_a_test_scene_together_and_leaves_the_private_parts_out(tmp_path: Path) -> None:
    dataset = written("mvtec_ad2", tmp_path)
    samples = dataset.samples("can")
    assert not any("private" in sample.image_id for sample in samples)
    assert Counter(sample.group for sample in samples if sample.role != "test") == {None: 11}
    assert Counter(sample.group for sample in samples if sample.role == "test") == {
        f"test_public/{kind}/{number:03d}": 3 for kind in ("good", "bad") for number in (0, 1)
    }


def test_dagm_says_that_its_masks_are_coarse(tmp_path: Path) -> None:
    assert written("dagm", tmp_path).notes("Class1") == [
        "masks are coarse ellipses: pixel metrics judge against these"
    ]


def test_dagm_without_its_table_goes_by_the_masks_alone(tmp_path: Path) -> None:
    before = written("dagm", tmp_path).samples("Class10")
    table = tmp_path / "Class10" / "Test" / "Label" / "Labels.txt"
    table.write_text(table.read_text().replace("0001.PNG\t0\t0", "0001.PNG\t0\t0001_label.PNG"))
    assert opened("dagm", tmp_path).samples("Class10") == before  # That line says that it is not defective.
    for table in tmp_path.rglob("Labels.txt"):
        table.unlink()
    assert opened("dagm", tmp_path).samples("Class10") == before
    (tmp_path / "Class10" / "Train" / "Label" / "0003_label.PNG").unlink()
    without = by_id(opened("dagm", tmp_path), "Class10")["Train/0003.PNG"]
    assert (without.label, without.role) == (0, "train")  # Nothing else says that it is defective.


def test_btad_finds_masks_of_any_type(tmp_path: Path) -> None:
    dataset = written("btad", tmp_path)
    assert dataset.categories() == ("01", "02", "03")
    for path in (tmp_path / "01").rglob("*.bmp"):  # As a popular loader rewrites them.
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    again = opened("btad", tmp_path)
    assert again.verify("01") == []
    assert [s.label for s in again.samples("01")] == [s.label for s in dataset.samples("01")]


def test_btad_keeps_anomalies_whose_mask_is_empty(tmp_path: Path) -> None:
    def empty(image: Path, mask: Path) -> None:
        Image.new("L", Image.open(mask).size).save(mask)

    dataset, category = broken("btad", tmp_path, empty)
    sample = by_id(dataset, category)[ANOMALY["btad"][1]]
    mask = dataset.load_mask(category, sample)
    assert sample.label == 1 and mask is not None and not mask.union.any() and dataset.verify(category) == []


def test_kolektor_sdd_trains_on_the_other_sides_of_defective_items(tmp_path: Path) -> None:
    dataset = written("kolektor_sdd", tmp_path)
    samples = dataset.samples("kolektor_sdd")
    assert {sample.group for sample in samples} == {f"kos{n:02d}" for n in range(1, 13)}
    split = make_split(samples, "kolektor_sdd", 0, dataset.split_rule())
    assert {sample.group for sample in split.train} == {sample.group for sample in split.labelled}
    assert (len(split.train), len(split.labelled)) == (18, 6)
    assert sum(map(len, (split.train, split.labelled, split.val, split.test))) == len(samples)


def test_kolektor_sdd2_leaves_the_copies_out_without_complaint(tmp_path: Path) -> None:
    dataset = written("kolektor_sdd2", tmp_path)
    assert (tmp_path / "train" / "10301 (copy).png").is_file()
    assert not any("copy" in sample.image_id for sample in dataset.samples("kolektor_sdd2"))
    assert dataset.verify("kolektor_sdd2") == []
    shutil.copy(tmp_path / "train" / "10001.png", tmp_path / "train" / "10001 (copy).png")
    again = opened("kolektor_sdd2", tmp_path)
    assert ["10001 (copy).png" in problem for problem in again.verify("kolektor_sdd2")] == [True]


def test_kolektor_sdd2_labels_are_those_of_the_mask_pixels(tmp_path: Path) -> None:
    written("kolektor_sdd2", tmp_path)
    one_pixel = np.zeros((24, 32), np.uint8)
    one_pixel[3, 4] = 1
    Image.fromarray(one_pixel).save(tmp_path / "train" / "10001_GT.png")
    sample = by_id(opened("kolektor_sdd2", tmp_path), "kolektor_sdd2")["train/10001.png"]
    assert (sample.label, sample.role, sample.defect_type) == (1, "labelled", "defective")
