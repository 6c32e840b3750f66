"""The multi-class protocol: one model is trained on all categories of a dataset and judged on each of them."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.datasets.base import Role, Sample
from adbench.datasets.imageset import ImageSet
from adbench.datasets.splits import Split


def trained_together(splits: Mapping[str, Split], category: str) -> Split:
    """The split of a category whose model is trained on the training images, and labelled anomalies, of all."""

    def united(role: Role) -> tuple[Sample, ...]:
        return tuple(_of(name, sample) for name in sorted(splits) for sample in splits[name].of(role))

    own = splits[category]
    return Split(united("train"), united("labelled"), own.val, own.test)


class UnitedImageSet(ImageSet):
    """The images of several categories as one set, one category after the other by name.

    The id of an image begins with the name of its category.
    """

    def __init__(self, parts: Mapping[str, ImageSet]) -> None:
        """``parts`` are the images of each category, all of one size; at least one."""
        self._parts = [parts[name] for name in sorted(parts)]
        self.samples = tuple(_of(name, sample) for name in sorted(parts) for sample in parts[name].samples)
        (self.size,) = {part.size for part in self._parts}
        self.fingerprint = hashlib.sha256(" ".join(part.fingerprint for part in self._parts).encode()).hexdigest()[
            :32
        ]

    def pixels(self, indices: Sequence[int] | NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """The chosen images as uint8 [n, size, size, 3]."""
        chosen = np.arange(len(self))[indices]
        found = np.empty((len(chosen), self.size, self.size, 3), np.uint8)
        for part, places, inside in self._by_part(chosen):
            found[places] = part.pixels(inside)
        return found

    def masks(self, indices: Sequence[int]) -> NDArray[np.bool_]:
        """Ground truth of the chosen images, as ``ImageSet.masks`` gives it."""
        chosen = np.asarray(indices, dtype=np.int64)
        found = np.zeros((len(chosen), self.size, self.size), np.bool_)
        for part, places, inside in self._by_part(chosen):
            found[places] = part.masks(inside.tolist())
        return found

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A hash of the pixels of each image, [N]."""
        return np.concatenate([part.digests for part in self._parts])

    @property
    def content_key(self) -> dict[str, Any]:
        """What identifies these images in a cache key."""
        return {"united": [part.content_key for part in self._parts]}

    def _by_part(self, chosen: NDArray[np.int64]) -> Iterator[tuple[ImageSet, NDArray[np.int64], NDArray[np.int64]]]:
        """Of each part that has any of them: which of the chosen images these are, and their indices in the part."""
        start = 0
        for part in self._parts:
            places = np.flatnonzero((chosen >= start) & (chosen < start + len(part)))
            if len(places):
                yield part, places, chosen[places] - start
            start += len(part)


def _of(category: str, sample: Sample) -> Sample:
    return dataclasses.replace(sample, image_id=f"{category}/{sample.image_id}")
