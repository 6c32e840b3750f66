"""folder: a user's own images in the MVTec AD layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from adbench.datasets.base import Dataset, DatasetConfig, DatasetRecord, Mask, Modality, Role, Sample, SplitRule
from adbench.datasets.decode import IMAGE_SUFFIXES, read_image, read_mask
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.file_index import FileFacts, content_hash, index_files

LAYOUT = (
    "ROOT/[CATEGORY/]train/good/*.png, test/good/*.png, test/DEFECT/*.png and, where masks exist, "
    "ground_truth/DEFECT/NAME_mask.png; optional validation/good and train/DEFECT (image-labelled anomalies)"
)
_ROLE_FOLDERS: tuple[tuple[str, Role], ...] = (
    ("train", "train"),
    ("validation", "val"),
    ("val", "val"),
    ("test", "test"),
)


class FolderConfig(DatasetConfig):
    """Parameters of a folder."""

    root: str | None = Field(default=None, description="the folder that holds the images")
    labelled_from_test: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="share of the test anomalies that leave the test split to be image-labelled anomalies",
    )
    modality: Modality = Field(default="industrial", description="what methods take their defaults from")
    mask_threshold: int = Field(default=0, ge=0, le=254, description="mask pixels above this are anomalous")


class Folder(Dataset):
    """Images on disk; every sub-folder that holds ``train/good`` is a category, or the root itself is one."""

    config_class = FolderConfig
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="folder",
        title="Your own images in the MVTec AD layout",
        modality="industrial",
        home="-",
        licence="yours",
        citation="-",
        layout=LAYOUT,
        splits="yours; val is carved from the training normals (10 %) where there is no validation folder; "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/DEFECT/NAME_mask.* or NAME.*, anomalous where > dataset.mask_threshold; without masks "
        "pixel metrics are null",
        known_problems="-",
        version="yours",
    )

    def __init__(self, config: FolderConfig) -> None:
        if config.root is None:
            raise RequestError(
                "dataset 'folder' needs to know where the images are",
                allowed=LAYOUT,
                remedy="adbench run suite=... dataset=folder dataset.root=PATH",
            )
        self.config: FolderConfig = config
        self._root = Path(config.root).expanduser().absolute()
        self._category_folders = self._find_categories()
        self._known_samples: dict[str, tuple[Sample, ...]] = {}
        self._known_facts: dict[str, dict[str, FileFacts]] = {}

    def categories(self) -> tuple[str, ...]:
        """Names of the category folders, sorted."""
        return tuple(self._category_folders)

    def samples(self, category: str) -> tuple[Sample, ...]:
        """All images under the category, sorted by their path relative to it."""
        if category not in self._known_samples:
            base = self._base(category)
            found = [sample for folder, role in _ROLE_FOLDERS for sample in _samples_in(base, folder, role)]
            self._known_samples[category] = tuple(sorted(found, key=lambda sample: sample.image_id))
        return self._known_samples[category]

    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]; RequestError names an unreadable file."""
        return read_image(self._base(category) / sample.image_id)

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """The mask file of an anomalous image, paired by its stem; None without one."""
        path = self._mask_paths(category).get(sample.image_id)
        if path is None:
            return None
        return Mask(read_mask(self._base(category) / path, self.config.mask_threshold)[None])

    def has_masks(self, category: str) -> bool:
        """Whether a ground_truth folder exists."""
        return (self._base(category) / "ground_truth").is_dir()

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Height and width of the file's image."""
        facts = self._facts(category)[sample.image_id]
        if facts.error:
            raise RequestError(facts.error, remedy="replace the file by an intact image, or remove it")
        return (facts.height, facts.width)

    def fingerprint(self, category: str) -> str:
        """Hash of all image and mask files and of how masks are read."""
        names = [*self._facts(category)]
        return f"{content_hash(self._facts(category), names)}-{self.config.mask_threshold}"

    def modality(self, category: str) -> Modality:
        """As configured."""
        return self.config.modality

    def split_rule(self) -> SplitRule:
        """The folder's own roles, with what the configuration moves."""
        return SplitRule(labelled_from_test=self.config.labelled_from_test)

    def verify(self, category: str) -> list[str]:
        """Unreadable images and masks, masks of another size or without image, anomalies without mask, images
        that lie beside good/ and the defect folders."""
        facts = self._facts(category)
        masks = self._mask_paths(category)
        problems = [fact.error for fact in facts.values() if fact.error]
        base = self._base(category)
        problems += [
            f"image neither in good/ nor in a defect's folder, so left out: {path}"
            for folder, _ in _ROLE_FOLDERS
            for path in _entries(base / folder)
            if _is_image(path)
        ]
        for image_id, mask_path in masks.items():
            image, mask = facts[image_id], facts[mask_path]
            if not (image.error or mask.error) and (image.height, image.width) != (mask.height, mask.width):
                problems.append(
                    f"mask {base / mask_path} is {mask.width}x{mask.height} pixels (width x height), "
                    f"its image {image_id} is {image.width}x{image.height}"
                )
        if self.has_masks(category):
            problems += [
                f"anomalous image without a mask in ground_truth: {base / sample.image_id}"
                for sample in self.samples(category)
                if sample.role == "test" and sample.label and sample.image_id not in masks
            ]
            paired = set(masks.values())
            problems += [
                f"mask without an image: {base / name}" for name in self._mask_files(category) if name not in paired
            ]
        return problems

    def _facts(self, category: str) -> dict[str, FileFacts]:
        if category not in self._known_facts:
            names = [sample.image_id for sample in self.samples(category)] + self._mask_files(category)
            self._known_facts[category] = index_files(self._base(category), names)
        return self._known_facts[category]

    def _base(self, category: str) -> Path:
        if category not in self._category_folders:
            raise unknown_name(f"category of {self._root}", category, self._category_folders)
        return self._category_folders[category]

    def _find_categories(self) -> dict[str, Path]:
        if not self._root.is_dir():
            reason = "is not a folder" if self._root.exists() else "does not exist"
            raise RequestError(f"dataset.root={self._root} {reason}", allowed=LAYOUT, remedy="give the right path")
        if (self._root / "train" / "good").is_dir():
            found = {self._root.name: self._root}
        else:
            found = {path.name: path for path in sorted(self._root.iterdir()) if (path / "train" / "good").is_dir()}
        if not found:
            seen = ", ".join(sorted(path.name for path in self._root.iterdir())[:8]) or "nothing: it is empty"
            raise RequestError(
                f"no category with train/good in dataset.root={self._root}; found {seen}",
                allowed=LAYOUT,
                remedy="arrange the images in this layout",
            )
        for name, path in found.items():
            if not any(_images(path / "train" / "good")):
                raise RequestError(
                    f"category '{name}': {path / 'train' / 'good'} holds no images",
                    allowed="files ending in " + " ".join(sorted(IMAGE_SUFFIXES)),
                    remedy="put normal images there",
                )
        return found

    def _mask_files(self, category: str) -> list[str]:
        base = self._base(category)
        return [path.relative_to(base).as_posix() for path in _images(base / "ground_truth")]

    def _mask_paths(self, category: str) -> dict[str, str]:
        """Mask by image_id; pairs DEFECT/NAME with DEFECT/NAME_mask or DEFECT/NAME, never by position."""
        by_image = {}
        for name in self._mask_files(category):
            mask = Path(name).relative_to("ground_truth")
            by_image[mask.with_name(mask.stem.removesuffix("_mask"))] = name
        pairs = {}
        for sample in self.samples(category):
            # Only test has masks: an image of the same name in train/DEFECT is another one.
            if sample.role == "test" and sample.label:
                image = Path(sample.image_id).relative_to("test")
                if mask_path := by_image.get(image.with_name(image.stem)):
                    pairs[sample.image_id] = mask_path
        return pairs


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden entries (such as .ipynb_checkpoints)."""
    return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _images(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.is_dir():
            yield from _images(path)
        elif _is_image(path):
            yield path


def _samples_in(base: Path, folder: str, role: Role) -> Iterator[Sample]:
    for defect_folder in _entries(base / folder):
        defect = defect_folder.name
        label = int(defect != "good")
        for path in _images(defect_folder):
            yield Sample(
                image_id=_checked_name(path.relative_to(base).as_posix()),
                label=label,
                defect_type=defect,
                kind="structural" if label else "good",
                role="labelled" if role == "train" and label else role,
            )


def _checked_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # Bytes that are no UTF-8, as old archives leave them: no table or page can hold them.
        raise RequestError(f"file name is not UTF-8: {name!a}", remedy="rename the file") from None
    return name
