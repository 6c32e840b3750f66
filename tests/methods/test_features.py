"""Features are computed once, and are those of the backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adbench.datasets.cache import Cache
from adbench.methods.backbone import BUNDLED, Backbone
from adbench.methods.base import to_unit_tensor
from adbench.methods.features import FeatureSet, cached_features

CPU = torch.device("cpu")
Sets = Callable[[int], Any]


class Counting(Backbone):
    """A backbone that counts the images it sees."""

    seen = 0

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.seen += len(images)
        return super().forward(images)


@pytest.fixture
def backbone() -> Counting:
    return Counting(BUNDLED, (2, 3))


@pytest.mark.parametrize("size", [64, 97])
def test_features_are_those_of_the_backbone(tiny_sets: Sets, backbone: Counting, tmp_path: Path, size: int) -> None:
    images = tiny_sets(size).train
    with torch.inference_mode():
        expected = backbone(to_unit_tensor(images.pixels(slice(None)), CPU))
    for cache in (Cache(tmp_path), Cache(tmp_path), Cache(None)):
        features = cached_features(backbone, images, cache, CPU)
        assert len(features) == len(images) == 12
        for layer, wanted in zip(features.layers, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(layer), wanted.numpy())


def test_every_image_is_seen_once(tiny_sets: Sets, backbone: Counting, tmp_path: Path) -> None:
    sets = tiny_sets(64)
    cached_features(backbone, sets.train, Cache(tmp_path), CPU)
    assert backbone.seen == 12 + 1  # one to learn the shapes
    cached_features(backbone, sets.train, Cache(tmp_path), CPU)
    assert backbone.seen == 12 + 2
    cached_features(backbone, sets.test, Cache(tmp_path), CPU)
    assert backbone.seen == 12 + 2 + 16 + 1


def test_other_images_sizes_weights_or_layers_are_other_entries(tiny_sets: Sets, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    backbone, changed = Backbone(BUNDLED, (2, 3)), Backbone(BUNDLED, (2, 3))
    next(changed.network.parameters()).data *= 1.01
    for network, images in (
        (backbone, tiny_sets(64).train),
        (backbone, tiny_sets(64).backwards),
        (backbone, tiny_sets(97).train),
        (changed, tiny_sets(64).train),
    ):
        cached_features(network, images, cache, CPU)
    assert len(list(cache.entries())) == 4 * 2
    cached_features(Backbone(BUNDLED, (2, 3)), tiny_sets(64).train, cache, CPU)
    assert len(list(cache.entries())) == 4 * 2


def test_features_of_no_images_are_refused(tiny_sets: Sets, backbone: Counting) -> None:
    with pytest.raises(ValueError, match="empty image set"):
        cached_features(backbone, tiny_sets(64).none, Cache(None), CPU)


def test_a_batch_is_the_chosen_images_from_arrays_and_from_tensors() -> None:
    array = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
    indices = torch.tensor([5, 0, 5])
    for layer in (array, torch.from_numpy(array)):
        (batch,) = FeatureSet([layer]).batch(indices, CPU)
        np.testing.assert_array_equal(batch.numpy(), array[[5, 0, 5]])
        batch += 1
    assert array[0, 0, 0, 0] == 0
