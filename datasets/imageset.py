"""The images of one split as a method sees them: an indexed view on the decoded-image cache."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.datasets.base import Dataset, Sample
from adbench.datasets.cache import Cache
from adbench.datasets.decode import Picture, resize, resize_mask
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import FileFacts, index_files, keeping


class ImageSet:
    """Images of some samples of a category, square at ``size`` pixels.

    The category's images are decoded once into the cache; all splits and methods of a node share that array.
    """

    def __init__(self, dataset: Dataset, category: str, samples: Sequence[Sample], size: int, cache: Cache) -> None:
        self.samples = tuple(samples)
        self.size = size
        self._dataset = dataset
        self._category = category
        self._cache = cache
        self.fingerprint = dataset.fingerprint(category)
        everything = dataset.samples(category)
        row_of = {sample.image_id: row for row, sample in enumerate(everything)}
        self._rows = np.array([row_of[sample.image_id] for sample in samples], dtype=np.int64)

        def decode(array: NDArray[Any]) -> None:
            def one(row: int) -> None:
                array[row] = resize(dataset.load_image(category, everything[row]), size)

            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
                list(pool.map(one, range(len(everything))))

        self._pixels = cache.array(
            _images_key(self.fingerprint, size),
            (len(everything), size, size, 3),
            np.uint8,
            decode,
        )

    def __len__(self) -> int:
        return len(self.samples)

    def pixels(self, indices: Sequence[int] | NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """The chosen images as uint8 [n, size, size, 3]."""
        return np.asarray(self._pixels[self._rows[indices]])

    def masks(self, indices: Sequence[int]) -> NDArray[np.bool_]:
        """Ground truth of the chosen images, bool [n, size, size], for controls that train on it; empty for normal
        images. Raises RequestError where an anomalous image has none."""
        found = np.zeros((len(indices), self.size, self.size), np.bool_)
        for row, index in enumerate(indices):
            sample = self.samples[index]
            if sample.label == 0:
                continue
            mask = self._dataset.load_mask(self._category, sample)
            if mask is None:
                raise RequestError(
                    f"{self._category}/{sample.image_id} has no mask", remedy="take data that has masks"
                )
            found[row] = resize_mask(mask.union, self.size)
        return found

    @property
    def ids(self) -> tuple[str, ...]:
        """image_id of each image."""
        return tuple(sample.image_id for sample in self.samples)

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 (normal) or 1 (anomalous), [N]."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A hash of the pixels of each image, [N]: equal images are equal, whatever their names."""

        def fill(array: NDArray[Any]) -> None:
            for row, pixels in enumerate(self._pixels):
                array[row] = int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "little")

        key = {"what": "digests", "fingerprint": self.fingerprint, "size": self.size}
        every = self._cache.array(key, (len(self._pixels),), np.uint64, fill)
        return np.asarray(every[self._rows], dtype=np.uint64)

    @property
    def content_key(self) -> dict[str, Any]:
        """What identifies these images in a cache key: content, selection and size."""
        ids = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:32]
        return {"fingerprint": self.fingerprint, "ids": ids, "size": self.size}


def index_images(
    root: Path,
    images: Sequence[str],
    others: Sequence[str],
    fingerprint: Callable[[Mapping[str, FileFacts]], str],
) -> dict[str, FileFacts]:
    """Facts of images and other files (masks) under ``root``, by relative path, as ``index_files`` gives them.

    Where ``kept_in`` says at what size images will be wanted, and all of them had to be decoded, they enter the cache
    of the category whose ``fingerprint`` (of the facts) this is: an ``ImageSet`` decodes nothing again.
    """
    names = [*images, *others]
    kept = keeping()
    if kept.folder is None or kept.image_size is None or not images:
        return index_files(root, names)
    size = kept.image_size
    row_of = {name: row for row, name in enumerate(images)}
    draft = Cache(kept.folder).draft((len(images), size, size, 3), np.uint8)

    def keep(name: str, picture: Picture) -> None:
        if name in row_of:
            draft.put(row_of[name], picture.pixels(size))

    facts = index_files(root, names, keep)
    draft.publish(_images_key(fingerprint(facts), size))
    return facts


def _images_key(fingerprint: str, size: int) -> dict[str, Any]:
    return {"what": "images", "fingerprint": fingerprint, "size": size, "colour": "rgb8", "resize": "bilinear"}
