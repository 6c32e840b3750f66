"""Huge images in tiles: each tile is an image of its own, judged by its own part of the mask."""

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adbench.datasets.base import Dataset, Mask, Modality, Sample, SplitRule
from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import keeping
from adbench.datasets.files import FilesDataset


class _Tile(NamedTuple):
    """A part of an image: its rows and columns."""

    whole: Sample
    rows: slice
    columns: slice


class Tiled(Dataset):
    """A dataset on disk whose images are cut into tiles of at most ``config.tile`` pixels a side.

    An image of H x W pixels is cut into ceil(H / tile) x ceil(W / tile) parts as equal as can be: they cover it and
    do not overlap. All tiles of an image are of one group, so that it is in one split. A tile of an anomalous image
    is anomalous if its part of the mask marks a pixel, and normal if not. Where nothing of an anomalous image is
    marked, nobody knows which of its tiles are anomalous: it is left out.
    """

    def __init__(self, dataset: FilesDataset) -> None:
        """Raises RequestError where defects must not be cut."""
        self.config = dataset.config
        self.record = dataset.record  # type: ignore[misc]
        self._tile = dataset.config.tile or 0
        self._whole = dataset
        self._tiles: dict[str, dict[str, tuple[Sample, _Tile]]] = {}
        self._unmarked: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._last: tuple[str, NDArray[np.uint8]] | None = None
        if any(map(dataset.saturation_defined, dataset.categories())):
            raise RequestError(
                f"dataset.tile={self._tile} cannot be used with '{self.record.name}': its defects count as found "
                "from a certain area on, which a part of one does not have",
                remedy="leave dataset.tile away",
            )

    def categories(self) -> tuple[str, ...]:
        """Those of the whole images."""
        return self._whole.categories()

    def samples(self, category: str) -> tuple[Sample, ...]:
        """The tiles ``IMAGE_ID/yTOPxLEFT``, in pixels, of all images but those that are left out."""
        return tuple(sample for sample, _ in self._cut(category).values())

    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """The tile as uint8 [h, w, 3]. The last image is kept, for its tiles are asked for one after the other."""
        whole, rows, columns = self._cut(category)[sample.image_id][1]
        place = f"{category}/{whole.image_id}"
        with self._lock:  # Other threads want tiles of the same image.
            if self._last is None or self._last[0] != place:
                self._last = (place, self._whole.load_image(category, whole))
            return self._last[1][rows, columns]

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """The tile's part of the mask; None for a normal tile."""
        whole, rows, columns = self._cut(category)[sample.image_id][1]
        mask = self._whole.load_mask(category, whole) if sample.label else None
        return None if mask is None else Mask(mask.channels[:, rows, columns])

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Height and width of the tile."""
        _, rows, columns = self._cut(category)[sample.image_id][1]
        return (rows.stop - rows.start, columns.stop - columns.start)

    def fingerprint(self, category: str) -> str:
        """That of the whole images, and how they are cut."""
        return f"{self._whole.fingerprint(category)}-tile{self._tile}"

    def verify(self, category: str) -> list[str]:
        """What is wrong with the whole images, and that there are no masks where there are anomalies."""
        problems = self._whole.verify(category)
        if not self._whole.has_masks(category) and any(sample.label for sample in self._whole.samples(category)):
            problems.append(
                f"{self._whole.base(category)} has no masks, which would say what tiles are anomalous: leave "
                "dataset.tile away"
            )
        return problems

    def notes(self, category: str) -> list[str]:
        """What is said of the whole images, that metrics are those of tiles, and what is left out."""
        self._cut(category)
        unmarked = self._unmarked[category]
        notes = [f"TILES: every image is a tile of at most {self._tile} pixels a side"]
        if unmarked:
            notes.append(
                f"{len(unmarked)} anomalous image(s) in which no mask marks anything are left out, such as "
                f"{unmarked[0]}"
            )
        return [*self._whole.notes(category), *notes]

    def split_rule(self) -> SplitRule:
        """That of the whole images."""
        return self._whole.split_rule()

    def modality(self, category: str) -> Modality:
        """That of the whole images."""
        return self._whole.modality(category)

    def has_masks(self, category: str) -> bool:
        """As the whole images."""
        return self._whole.has_masks(category)

    def _cut(self, category: str) -> dict[str, tuple[Sample, _Tile]]:
        """The tiles by their image_id, sorted by it."""
        if category not in self._tiles:
            cut = [[*self._parts(category, whole)] for whole in self._whole.samples(category)]
            marked = self._marked(category, [tiles for tiles in cut if tiles[0].whole.label])
            found, unmarked = [], []
            for tiles in cut:
                whole = tiles[0].whole
                if whole.label and not any(marked[whole.image_id]):
                    unmarked.append(whole.image_id)
                    continue
                labels = marked.get(whole.image_id, [False] * len(tiles))
                found += [(_sample(tile, label), tile) for tile, label in zip(tiles, labels, strict=True)]
            self._unmarked[category] = unmarked
            self._tiles[category] = {
                pair[0].image_id: pair for pair in sorted(found, key=lambda pair: pair[0].image_id)
            }
        return self._tiles[category]

    def _parts(self, category: str, whole: Sample) -> Iterator[_Tile]:
        height, width = self._whole.image_size(category, whole)
        for rows in _cuts(height, self._tile):
            for columns in _cuts(width, self._tile):
                yield _Tile(whole, rows, columns)

    def _marked(self, category: str, cut: Sequence[Sequence[_Tile]]) -> dict[str, list[bool]]:
        """By image_id, which tiles of each anomalous image have a marked pixel; masks are read once, then cached."""
        key = {"what": "marked tiles", "fingerprint": self.fingerprint(category)}
        ends = np.cumsum([len(tiles) for tiles in cut])

        def fill(array: NDArray[np.bool_]) -> None:
            with ThreadPoolExecutor() as pool:
                array[:] = [
                    mark for marks in pool.map(lambda tiles: self._marks(category, tiles), cut) for mark in marks
                ]

        marks = Cache(keeping().folder).array(key, (int(ends[-1]) if len(cut) else 0,), np.bool_, fill)
        parts = np.split(marks, ends[:-1]) if cut else []
        return {tiles[0].whole.image_id: part.tolist() for tiles, part in zip(cut, parts, strict=True)}

    def _marks(self, category: str, tiles: Sequence[_Tile]) -> list[bool]:
        mask = self._whole.load_mask(category, tiles[0].whole)
        union = None if mask is None else mask.union
        return [union is not None and bool(union[tile.rows, tile.columns].any()) for tile in tiles]


def _cuts(length: int, tile: int) -> Iterator[slice]:
    """The parts of ``length`` pixels, as equal as can be, none longer than ``tile``."""
    count = math.ceil(length / tile)
    for part in range(count):
        yield slice(part * length // count, (part + 1) * length // count)


def _sample(tile: _Tile, marked: bool) -> Sample:
    whole = tile.whole
    return replace(
        whole,
        image_id=f"{whole.image_id}/y{tile.rows.start:05d}x{tile.columns.start:05d}",
        label=int(marked),
        defect_type=whole.defect_type if marked else "good",
        kind=whole.kind if marked else "good",
        group=whole.image_id if whole.group is None else whole.group,
    )
