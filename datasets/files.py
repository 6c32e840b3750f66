"""A dataset whose images are files on disk: what all of them share, whatever their layout."""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from adbench.datasets.base import Dataset, DatasetConfig, Mask, Role, Sample
from adbench.datasets.decode import read_image, read_mask
from adbench.datasets.errors import MissingDataError, RequestError, unknown_name
from adbench.datasets.file_index import FileFacts, content_hash, hash_path, index_files
from adbench.datasets.imageset import index_images
from adbench.datasets.layout import Found

_WRAPPERS = 2
"""Folders that an archive may have put around the dataset's own."""

_MOST_WRAPPERS = 20
"""Folders that are looked into for it."""


class FilesConfig(DatasetConfig):
    """Parameters of a dataset on disk."""

    root: str | None = Field(default=None, description="the folder that holds the dataset (default: data_root/NAME)")
    broken: Literal["fatal", "skip"] = Field(
        default="fatal",
        description="images that cannot be read, or whose mask cannot: refuse the data, or leave them out and say "
        "so in every row",
    )
    tile: int | None = Field(
        default=None,
        ge=16,
        description="for huge images: cut them into tiles of at most so many pixels a side, each an image of its "
        "own, anomalous if the mask marks a pixel of it; all tiles of an image stay in one split, metrics are those "
        "of tiles. Needs masks. null: whole images",
    )


class FilesDataset(Dataset):
    """Images in a folder. Subclasses say where its categories lie (``find_categories``) and what each holds
    (``find``); masks are anomalous where they exceed ``mask_threshold``.

    Archives often wrap all in a folder or two: unless ``wrapped`` is False, the categories may lie so deep.
    """

    config: FilesConfig
    config_class = FilesConfig
    wrapped: ClassVar[bool] = True

    @property
    def mask_threshold(self) -> int:
        """Mask pixels above it (0 to 255) are anomalous."""
        return 0

    def __init__(self, config: FilesConfig) -> None:
        self.config = config
        if config.root is None:
            raise self.missing("it is not in adbench-data, and neither data_root= nor dataset.root= is given")
        self.root = Path(config.root).expanduser().absolute()
        if not self.root.is_dir():
            raise self.missing(f"{self.root} {'is not a folder' if self.root.exists() else 'does not exist'}")
        with _naming_the_unreadable():
            self._bases = self._find_wrapped()
        self._found: dict[str, Found] = {}
        self._known_facts: dict[str, dict[str, FileFacts]] = {}
        self._fingerprints: dict[str, str] = {}

    @abstractmethod
    def find_categories(self, root: Path) -> dict[str, Path]:
        """The folder of each category under ``root``, in the order in which they are shown; none if it is not laid
        out as this dataset."""

    @abstractmethod
    def find(self, category: str, base: Path) -> Found:
        """What the category's folder holds."""

    def missing(self, problem: str) -> RequestError:
        """The error for data that is not where it should be: what it is, where to get it, how to prepare it."""
        record = self.record
        root = None if self.config.root is None else Path(self.config.root)
        place = f" data_root={root.parent}" if root and root.name == record.name else ""
        fetched = "   (or --download: adbench fetches them)" if record.can_be_fetched else ""
        return MissingDataError(
            f"dataset '{record.name}' is not here: {problem}",
            allowed=record.layout,
            remedy=f"get it from {record.home} (licence: {record.licence}), then\n"
            f"           adbench data prepare {record.name} ARCHIVE...{place}{fetched}\n"
            f"           or, if it is unpacked: data_root=FOLDER for FOLDER/{record.name}, or dataset.root=FOLDER",
        )

    def categories(self) -> tuple[str, ...]:
        """Names of the categories."""
        return tuple(self._bases)

    def samples(self, category: str) -> tuple[Sample, ...]:
        """All images of the category, sorted by their path relative to its folder; without those that are skipped."""
        samples, skipped = self.found(category).samples, self.skipped(category)
        return self.chosen([sample for sample in samples if sample.image_id not in skipped])

    def chosen(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """Of a category's samples those that the configuration uses, with the roles that it gives them."""
        return tuple(samples)

    def skipped(self, category: str) -> Mapping[str, str]:
        """Of each image that is left out with ``broken=skip``, by image_id, why it cannot be read."""
        return _broken(self.found(category), self._facts(category)) if self.config.broken == "skip" else {}

    def notes(self, category: str) -> list[str]:
        """Where it is not as published, what was skipped, and of which files only the first image is read."""
        skipped, facts = self.skipped(category), self._facts(category)
        many = [sample.image_id for sample in self.samples(category) if facts[sample.image_id].frames > 1]
        counts = [problem.removeprefix(f"{self.base(category)}: ") for problem in self.count_problems(category)]
        notes = [f"NOT AS PUBLISHED: {'; '.join(counts)}"] if counts else []
        if skipped:
            notes.append(f"SKIPPED: {len(skipped)} broken image(s), such as {next(iter(skipped))}")
        if many:
            notes.append(f"{len(many)} file(s) hold several images, such as {many[0]}: the first of each is used")
        return notes

    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]; RequestError names an unreadable file."""
        return read_image(self.base(category) / sample.image_id)

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """The mask files of an anomalous image, a channel each; None without one."""
        paths = self.found(category).masks.get(sample.image_id, ())
        if not paths or not sample.label:
            return None
        masks = [read_mask(self.base(category) / path, self.mask_threshold) for path in paths]
        if len({mask.shape for mask in masks}) > 1:
            raise RequestError(
                f"the masks of {self.base(category) / sample.image_id} differ in size: {', '.join(paths)}",
                remedy="give them the image's size",
            )
        return Mask(np.stack(masks))

    def has_masks(self, category: str) -> bool:
        """Whether any anomalous image has one."""
        found = self.found(category)
        return any(sample.label and sample.image_id in found.masks for sample in found.samples)

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Height and width of the file's image."""
        facts = self._facts(category)[sample.image_id]
        if facts.error:
            raise RequestError(facts.error, remedy="replace the file by an intact image, or remove it")
        return (facts.height, facts.width)

    def fingerprint(self, category: str) -> str:
        """Hash of all image, mask and table files of the category, of how masks are read and of what is skipped."""
        if category not in self._fingerprints:
            self._fingerprints[category] = self.fingerprint_of(category, self._facts(category))
        return self._fingerprints[category]

    def verify(self, category: str) -> list[str]:
        """Unreadable images and masks, masks of another size or without image, anomalies without mask, images that
        the layout does not know, and what is wrong with the tables."""
        base, found, facts = self.base(category), self.found(category), self._facts(category)
        skipped = self.skipped(category)
        excused = {*skipped, *(mask for image_id in skipped for mask in found.masks.get(image_id, ()))}
        errors = [fact.error for name, fact in facts.items() if fact.error and name not in excused]
        problems = [*found.problems, *errors]
        problems += [f"image that the layout does not know, so left out: {base / path}" for path in found.left_over]
        for image_id, masks in found.masks.items():
            image = facts[image_id]
            for path in masks:
                mask = facts[path]
                if not (image.error or mask.error) and (image.height, image.width) != (mask.height, mask.width):
                    problems.append(
                        f"mask {base / path} is {mask.width}x{mask.height} pixels (width x height), "
                        f"its image {image_id} is {image.width}x{image.height}"
                    )
        if self.has_masks(category):
            problems += [
                f"anomalous image without a mask: {base / sample.image_id}"
                for sample in found.samples
                if sample.label and sample.role != "labelled" and sample.image_id not in found.masks
            ]
        problems += [f"mask without an image: {base / path}" for path in found.unpaired]
        return problems

    def found(self, category: str) -> Found:
        """What the category's folder holds; looked up once."""
        if category not in self._found:
            with _naming_the_unreadable():
                self._found[category] = self.find(category, self.base(category))
        return self._found[category]

    def base(self, category: str) -> Path:
        """The category's folder."""
        if category not in self._bases:
            raise unknown_name(f"category of {self.record.name}", category, self._bases)
        return self._bases[category]

    def count_problems(self, category: str) -> list[str]:
        """Where the category holds another number of images than is published, a sentence each."""
        expected = self.record.counts.get(category, {})
        # As the layout has them: ``samples`` may deal them out differently, or leave some out.
        found = image_counts(self.found(category).samples)
        return [
            f"{self.base(category)}: {found[what]} images are {what}, {count} are published"
            for what, count in expected.items()
            if found[what] != count
        ]

    def unmarked(self, base: Path, paths: Sequence[str]) -> Mapping[str, bool]:
        """Of each mask file, whether it marks nothing."""
        return {path: fact.unmarked for path, fact in index_files(base, paths).items()}

    def _find_wrapped(self) -> dict[str, Path]:
        roots = [self.root]
        for _ in range(_WRAPPERS + 1):
            for root in roots:
                if found := self.find_categories(root):
                    return found
            inner = [path for root in roots for path in sorted(root.iterdir()) if path.is_dir()]
            roots = inner[:_MOST_WRAPPERS] if self.wrapped else []
        seen = ", ".join(sorted(path.name for path in self.root.iterdir())[:8])
        raise self.missing(
            f"{self.root} is not laid out as expected; it holds {seen}" if seen else f"{self.root} is empty"
        )

    def _facts(self, category: str) -> dict[str, FileFacts]:
        if category not in self._known_facts:
            found = self.found(category)
            masks = [path for own in found.masks.values() for path in own]
            images = [sample.image_id for sample in self.chosen(found.samples)]
            unused = {sample.image_id for sample in found.samples} - set(images)
            others = [*sorted(unused), *dict.fromkeys(masks), *found.unpaired]
            self._known_facts[category] = index_images(
                self.base(category), images, others, lambda facts: self.fingerprint_of(category, facts)
            )
        return self._known_facts[category]

    def fingerprint_of(self, category: str, facts: Mapping[str, FileFacts]) -> str:
        """The fingerprint where the category's files are these."""
        whole = f"{content_hash(facts, [*facts])}-{self.mask_threshold}"
        base = self.base(category)
        tables = [f"{Path(table).name} {hash_path(base / table)}" for table in self.found(category).tables]
        if tables:
            whole += f"-{hashlib.sha256(chr(10).join(sorted(tables)).encode()).hexdigest()[:16]}"
        skipped = _broken(self.found(category), facts) if self.config.broken == "skip" else {}
        return f"{whole}-without-{content_hash(facts, [*skipped])}" if skipped else whole


def _broken(found: Found, facts: Mapping[str, FileFacts]) -> dict[str, str]:
    """By image_id, why an image or a mask of it cannot be read."""
    broken = {}
    for sample in found.samples:
        own = (sample.image_id, *found.masks.get(sample.image_id, ()))
        if error := next((facts[name].error for name in own if facts[name].error), None):
            broken[sample.image_id] = error
    return broken


@contextmanager
def _naming_the_unreadable() -> Iterator[None]:
    """A folder or table that may not be read becomes a RequestError."""
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"cannot read {error.filename}: {error.strerror}", remedy="make it readable, or remove it"
        ) from None


def image_counts(samples: Sequence[Sample]) -> Counter[str]:
    """How many images are "train normal", "test anomalous" and so on, as a record's ``counts`` name them."""
    return Counter(f"{_part(sample.role)}{'anomalous' if sample.label else 'normal'}" for sample in samples)


def _part(role: Role | None) -> str:
    """The part of the dataset as its publishers name it: image-labelled anomalies lie in train."""
    return "" if role is None else f"{'train' if role == 'labelled' else role} "
