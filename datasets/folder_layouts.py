"""The layouts in which a user's own folder is read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Role
from adbench.datasets.decode import IMAGE_SUFFIXES
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.layout import Found, Images, Layout, Listing, find
from adbench.datasets.tables import Line, Row, divided_groups, found_by, inside, read_csv, unknown_value
from adbench.datasets.visa import find_visa, visa_objects

MVTEC = Layout(
    (
        Images("train/{defect}/{stem}", "train"),
        Images("validation/{defect}/{stem}", "val"),
        Images("val/{defect}/{stem}", "val"),
        Images(
            "test/{defect}/{stem}",
            "test",
            masks=("ground_truth/{defect}/{stem}_mask", "ground_truth/{defect}/{stem}"),
        ),
    )
)
VISA = Layout(
    (
        Images("Data/Images/Normal/{stem}", defect="good"),
        Images("Data/Images/Anomaly/{stem}", defect="anomaly", masks=("Data/Masks/Anomaly/{stem}",)),
    )
)
_ROLES: Mapping[str, Role | None] = {
    "": None,
    "train": "train",
    "labelled": "labelled",
    "val": "val",
    "validation": "val",
    "test": "test",
}
_LABELS: Mapping[str, bool] = {
    "0": False,
    "normal": False,
    "good": False,
    "1": True,
    "anomalous": True,
    "anomaly": True,
    "bad": True,
}


class Arrangement(ABC):
    """How a folder is arranged: where its categories lie and what each holds."""

    layout: ClassVar[str]
    """The arrangement in words, for messages."""

    @abstractmethod
    def categories(self, root: Path) -> dict[str, Path]:
        """The folder of each category; none if ``root`` is not arranged so."""

    @abstractmethod
    def find(self, category: str, base: Path) -> Found:
        """What the category's folder holds."""


class ByMvtec(Arrangement):
    """Every sub-folder that holds ``train/good`` is a category, or the root itself is one."""

    layout = (
        "ROOT/[CATEGORY/]train/good/*.png, test/good/*.png, test/DEFECT/*.png and, where masks exist, "
        "ground_truth/DEFECT/NAME_mask.png; optional validation/good and train/DEFECT (image-labelled anomalies)"
    )

    def categories(self, root: Path) -> dict[str, Path]:
        """The root, or its sub-folders, that hold train/good; each must have images there."""
        if (root / "train" / "good").is_dir():
            found = {root.name: root}
        else:
            found = {path.name: path for path in sorted(root.iterdir()) if (path / "train" / "good").is_dir()}
        if not found and (root / "train").is_dir():
            seen = ", ".join(sorted(path.name for path in (root / "train").iterdir())[:8]) or "nothing"
            raise RequestError(
                f"dataset.root={root}: its train has no folder good, which holds the normal images; it holds {seen}",
                allowed=self.layout,
                remedy="name the folder of normal images good, or choose another dataset.layout (visa, classes, csv)",
            )
        for name, path in found.items():
            if not Listing(path / "train" / "good").paths:
                raise RequestError(
                    f"category '{name}': {path / 'train' / 'good'} holds no images",
                    allowed="files ending in " + " ".join(sorted(IMAGE_SUFFIXES)),
                    remedy="put normal images there",
                )
        return found

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        return find(base, MVTEC, _all_mark)


class ByVisa(Arrangement):
    """Every sub-folder that holds ``Data/Images`` is a category; ``table`` says the split, if there is one."""

    layout = (
        "ROOT/OBJECT/Data/Images/{Normal,Anomaly}/*.jpg, Data/Masks/Anomaly/*.png and, for a split of your own, "
        "ROOT/split_csv/1cls.csv (or dataset.table) with the columns object,split,label,image,mask"
    )

    def __init__(self, table: str | None) -> None:
        self._table = table

    def categories(self, root: Path) -> dict[str, Path]:
        """Sub-folders that hold Data/Images."""
        return visa_objects(root)

    def find(self, category: str, base: Path) -> Found:
        """The table's rows, or all images, without a split."""
        table = base.parent / (self._table or "split_csv/1cls.csv")
        if self._table is None and not table.is_file():
            return find(base, VISA, _all_mark)
        return find_visa(category, base, table)


class ByClass(Arrangement):
    """The root is the category; its sub-folders, or those of its train and test, are classes, some ``normal``."""

    layout = (
        "ROOT/CLASS/*.png, or ROOT/{train,test}/CLASS/*.png with an optional val or validation beside them; "
        "dataset.normal=NAME or [NAME,NAME] says which classes are normal"
    )

    def __init__(self, normal: Sequence[str]) -> None:
        self._normal = normal
        self._divided = False

    def categories(self, root: Path) -> dict[str, Path]:
        """The root, if it has folders; every normal class must be one of them."""
        parts = [root / name for name in ("train", "val", "validation", "test") if (root / name).is_dir()]
        plain, divided = _folders(root), sorted({name for part in parts for name in _folders(part)})
        self._divided = bool(divided) and not set(self._normal) & set(plain)
        classes = divided if self._divided else plain
        if not classes:
            return {}
        if not self._normal:
            raise RequestError(
                f"dataset.normal is missing: which classes of {root} are normal?",
                allowed=", ".join(classes),
                remedy="dataset.normal=NAME, or dataset.normal=[NAME,NAME]",
            )
        for name in self._normal:
            if name not in classes:
                raise unknown_name(f"class of {root} in dataset.normal", name, classes)
        if "good" in classes and "good" not in self._normal:
            raise RequestError(
                f"the class good of {root} is not normal, but results call normal images so",
                remedy="add good to dataset.normal, or rename the folder",
            )
        return {root.name: root}

    def find(self, category: str, base: Path) -> Found:
        """Every image by the folder that it lies in; those in none are left over."""
        roles: tuple[tuple[str, Role], ...] = (
            ("train", "train"),
            ("val", "val"),
            ("validation", "val"),
            ("test", "test"),
        )
        divided = tuple(Images(f"{part}/{{defect}}/{{stem}}", role) for part, role in roles)
        images = divided if self._divided else (Images("{defect}/{stem}"),)
        found = find(base, Layout(images, normal=frozenset(self._normal)), _all_mark)
        if self._divided:
            return found
        known = {sample.image_id for sample in found.samples}
        return replace(found, left_over=tuple(path for path in Listing(base).paths if path not in known))


class ByCsv(Arrangement):
    """A table names the images and says what they are; the root is the folder of every category."""

    layout = (
        "dataset.table=FILE.csv with the columns path and label (0, normal, good; 1, anomalous, anomaly, bad) and, "
        "where you have them, mask, split (train, labelled, val, test; empty: adbench deals), category, patient, "
        "defect; path and mask are relative to ROOT, or absolute within it"
    )
    _optional = ("mask", "split", "category", "patient", "defect")

    def __init__(self, table: str | None) -> None:
        if table is None:
            raise RequestError("layout=csv needs a table", allowed=self.layout, remedy="dataset.table=FILE.csv")
        self._table = table
        self._lines: dict[str, list[Line]] = {}
        self._first: dict[str, str] = {}

    def categories(self, root: Path) -> dict[str, Path]:
        """Those of the column category in their order, or one of the root's name."""
        for line in read_csv(root / Path(self._table).expanduser(), ("path", "label"), self._optional):
            self._lines.setdefault(line.cells.get("category") or root.name, []).append(line)
            self._first.setdefault(_relative(line.cells["path"], root), line.place)
        return dict.fromkeys(self._lines, root)

    def find(self, category: str, base: Path) -> Found:
        """The category's lines; other images in the folder are left alone."""
        rows = [self._once(_row(line, base)) for line in self._lines[category]]
        table = base / Path(self._table).expanduser()
        return found_by(base, rows, [table], divided_groups(rows))

    def _once(self, row: Row) -> Row:
        """The row, with a problem if an earlier one, perhaps of another category, has its image."""
        first = self._first[row.image]
        return (
            row
            if first == row.place or not row.image
            else replace(row, problem=f"lists {row.image} again, after {first}")
        )


def _row(line: Line, base: Path) -> Row:
    cells = line.cells
    label, split = cells["label"].lower(), cells.get("split", "").lower()
    anomalous, defect = _LABELS.get(label, False), cells.get("defect", "")
    wrong = None
    if label not in _LABELS:
        wrong = unknown_value("label", cells["label"], _LABELS)
    elif split not in _ROLES:
        wrong = unknown_value("split", cells["split"], filter(None, _ROLES))
    elif (defect not in ("", "good")) > anomalous or (anomalous and defect == "good"):
        wrong = f"has the label '{cells['label']}' and the defect '{defect}'"
    elif split == "labelled" and not anomalous:
        wrong = "has a normal image in the split 'labelled', which is for anomalous ones"
    mask = _relative(cells.get("mask", ""), base)
    return Row(
        place=line.place,
        image=_relative(cells["path"], base),
        defect=(defect or "anomalous") if anomalous else "good",
        role=_ROLES.get(split),
        group=cells.get("patient") or None,
        masks=(mask,) if mask else (),
        problem=wrong,
    )


def _relative(text: str, base: Path) -> str:
    """A path of the table relative to the root, where it lies within it."""
    path = Path(text) if text else None
    if path is not None and path.is_absolute() and path.is_relative_to(base):
        return path.relative_to(base).as_posix()
    return inside(text)


def _folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _all_mark(paths: Sequence[str]) -> Mapping[str, bool]:
    """For layouts whose folders tell labels: nobody looks whether masks mark anything."""
    return dict.fromkeys(paths, False)
