"""Real-IAD: industrial parts, each photographed from five sides."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found
from adbench.datasets.tables import Row, checked, found_by, inside, read_json

_TABLES = {"all": "realiad_jsons", "single": "realiad_jsons_sv"}
_PARTS: tuple[Role, ...] = ("train", "test")
_CATEGORIES = (
    "audiojack",
    "bottle_cap",
    "button_battery",
    "end_cap",
    "eraser",
    "fire_hood",
    "mint",
    "mounts",
    "pcb",
    "phone_battery",
    "plastic_nut",
    "plastic_plug",
    "porcelain_doll",
    "regulator",
    "rolled_strip_base",
    "sim_card_set",
    "switch",
    "tape",
    "terminalblock",
    "toothbrush",
    "toy",
    "toy_brick",
    "transistor1",
    "u_block",
    "usb",
    "usb_adaptor",
    "vcpill",
    "wooden_beads",
    "woodstick",
    "zipper",
)


class RealIadConfig(FilesConfig):
    """Parameters of Real-IAD."""

    resolution: Literal[256, 512, 1024, "raw"] = Field(
        default=1024, description="which folder of images is read: realiad_256, _512, _1024 or _raw"
    )
    views: Literal["all", "single"] = Field(
        default="all",
        description="all: the five views of each part, by realiad_jsons; single: one, by realiad_jsons_sv",
    )


class RealIad(FilesDataset):
    """Thirty kinds of parts; the tables of the publishers say what each image shows and what is tested."""

    config: RealIadConfig
    config_class = RealIadConfig
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="real_iad",
        title="Real-IAD: industrial parts from five sides",
        modality="industrial",
        home="https://realiad4ad.github.io/Real-IAD/",
        licence="CC BY-NC-SA 4.0",
        citation="Wang et al., Real-IAD, CVPR 2024",
        layout="realiad_{256,512,1024,raw}/CATEGORY/{OK/S*,NG/DEFECT/S*}/*.{jpg,png} and "
        "realiad_jsons/{realiad_jsons,realiad_jsons_sv}/CATEGORY.json (or without the outer folder); 30 categories",
        splits="train and test are those of the tables chosen by dataset.views; val is carved from the training "
        "normals (10 %), part by part",
        masks="beside the images, anomalous where > 127",
        known_problems="labels belong to views: a defective part has normal views, and the official tables may have "
        "views of one part in train and others in test; the tables for noisy training (realiad_jsons_fuiad_*) are "
        "not read; archives have the same names at every resolution, and `adbench data prepare` takes them for those "
        "of 1024 pixels",
        version="2024",
        archives=(
            Archive("realiad_jsons.zip"),
            *(Archive(f"{name}.zip", into="realiad_1024") for name in _CATEGORIES),
        ),
    )

    @property
    def mask_threshold(self) -> int:
        """Half of white."""
        return 127

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders of the chosen resolution that hold OK or NG."""
        images = root / f"realiad_{self.config.resolution}"
        if not images.is_dir():
            if there := sorted(path.name for path in root.glob("realiad_*") if (path / "audiojack").is_dir()):
                raise RequestError(
                    f"dataset 'real_iad': {images} does not exist",
                    allowed=", ".join(there),
                    remedy=f"dataset.resolution={there[0].removeprefix('realiad_')}, or unpack the other images",
                )
            return {}
        return {
            path.name: path for path in sorted(images.iterdir()) if (path / "OK").is_dir() or (path / "NG").is_dir()
        }

    def find(self, category: str, base: Path) -> Found:
        """The rows of the category's table; images that it does not name, such as other views, are left alone."""
        table = self._table(category, base.parent.parent)
        rows = [*_rows(category, table)]
        return found_by(base, rows, [table], _shared_masks(rows))

    def _table(self, category: str, root: Path) -> Path:
        folder = _TABLES[self.config.views]
        places = [root / "realiad_jsons" / folder, root / folder]
        for place in places:
            if (place / f"{category}.json").is_file():
                return place / f"{category}.json"
        raise RequestError(
            f"dataset 'real_iad' has no table of '{category}' with views={self.config.views}",
            allowed=" or ".join(str(place / f"{category}.json") for place in places),
            remedy="unpack realiad_jsons.zip beside the images",
        )


def _rows(category: str, table: Path) -> Iterator[Row]:
    whole = read_json(table)
    meta = checked(whole.get("meta"), dict, f"{table} meta")
    normal = checked(meta.get("normal_class"), str, f"{table} meta.normal_class")
    for part in _PARTS:
        for number, entry in enumerate(checked(whole.get(part), list, f"{table} {part}")):
            yield _row(category, normal, part, f"{table} {part}[{number}]", checked(entry, dict, f"{table} {part}"))


def _shared_masks(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence for each mask that the table gives to a second image: to one of the two it does not belong."""
    first: dict[str, Row] = {}
    for row in rows:
        for mask in row.masks:
            if first.setdefault(mask, row).image != row.image:
                yield f"{row.place} gives {row.image} the mask {mask}, which {first[mask].place} gives another image"


def _row(category: str, normal: str, part: Role, place: str, entry: dict[str, Any]) -> Row:
    shown, image, of = (
        checked(entry.get(name), str, f"{place}.{name}") for name in ("anomaly_class", "image_path", "category")
    )
    mask = checked(entry.get("mask_path") or "", str, f"{place}.mask_path")
    path = inside(image)
    wrong = None if of == category else f"is of the category '{of}', not '{category}'"
    if shown != normal and path.startswith("OK/"):
        wrong = f"says that {path} shows the defect '{shown}', but it lies among the normal images"
    return Row(
        place=place,
        image=path,
        defect="good" if shown == normal else shown,
        role=part,
        group=path.rpartition("/")[0],
        masks=(inside(mask),) if mask and shown != normal else (),
        problem=wrong,
    )
