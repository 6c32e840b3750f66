"""PatchCore against brute force: neighbours, re-weighting, patches, the memory bound, and what it keeps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods import patchcore
from adbench.methods.anomaly_maps import smooth, upsample
from adbench.methods.base import Context, to_unit_tensor
from adbench.methods.patchcore import MemoryBank, PatchCore, PatchCoreConfig, patch_features, patches_per_image

Sets = Callable[[int], Any]
CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distinct(rows: Tensor) -> int:
    return len(np.unique(rows.numpy(), axis=0))


def built(size: int = 64, seed: int = 0, **params: Any) -> PatchCore:
    config = validate(PatchCoreConfig, {"coreset_ratio": 0.05, **params})
    return PatchCore(config, Context(seed=seed, device=CPU, image_size=size, cache=Cache(None)))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("queries", "bank"), [(1, 1), (70, 3), (50, 300)])
def test_the_nearest_are_those_of_brute_force(
    offset: float, queries: int, bank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patchcore, "_CHUNK_ELEMENTS", 1000)
    patches, asked = noise(bank, 40) + offset, noise(queries, 40, seed=1) + offset
    distances, indices = MemoryBank(patches).nearest(asked)
    exact = torch.cdist(asked.double(), patches.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(distances.double(), exact.amin(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exact.gather(1, indices[:, None])[:, 0], exact.amin(dim=1), rtol=1e-5, atol=1e-5)


def test_what_is_in_the_bank_is_at_no_distance() -> None:
    patches = noise(200, 30) + 50
    distances, indices = MemoryBank(patches).nearest(patches)
    assert (distances == 0).all() and indices.tolist() == list(range(200))


def test_no_temporary_of_a_search_exceeds_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchcore, "_CHUNK_ELEMENTS", 5000)
    bank, sizes = MemoryBank(noise(400, 10)), list[int]()
    ranks = bank._ranks

    def watched(queries: Tensor) -> Tensor:
        found = ranks(queries)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(bank, "_ranks", watched)
    bank.nearest(noise(100, 10))
    bank.weights(noise(100, 10), torch.zeros(100, dtype=torch.int64), torch.ones(100), 9)
    assert max(sizes) <= 5000 and sum(sizes) == 2 * 400 * 100


def test_re_weighting_by_hand() -> None:
    # m* = 0; its two nearest are itself and 1; from q = -2 these are 2 and 3 away.
    bank = MemoryBank(torch.tensor([[0.0], [1.0], [5.0], [-9.0]]))
    query = torch.tensor([[-2.0]])
    distances, indices = bank.nearest(query)
    assert (distances.tolist(), indices.tolist()) == ([2.0], [0])
    weight = bank.weights(query, indices, distances, 2)
    assert float(weight) == pytest.approx(1 - math.exp(2) / (math.exp(2) + math.exp(3)), rel=1e-5)
    weight = bank.weights(query, indices, distances, 3)
    assert float(weight) == pytest.approx(1 - 1 / (1 + math.exp(1) + math.exp(5)), rel=1e-5)
    everything = bank.weights(query, indices, distances, 9)
    assert float(everything) == pytest.approx(1 - 1 / (1 + math.exp(1) + math.exp(5) + math.exp(5)), rel=1e-5)


def test_re_weighting_survives_large_distances() -> None:
    bank = MemoryBank(1000 * noise(20, 8))
    queries = 5000 * noise(6, 8, seed=1)
    distances, indices = bank.nearest(queries)
    weights = bank.weights(queries, indices, distances, 9)
    assert weights.isfinite().all() and (weights >= 0).all() and (weights <= 1).all()


def test_patches_are_averages_over_their_surroundings() -> None:
    fine = torch.arange(16.0).reshape(1, 1, 4, 4)
    coarse = torch.full((1, 2, 2, 2), 3.0)
    patches = patch_features([fine, coarse], channels=1024)
    assert patches.shape == (1, 16, 3)
    inner, corner = patches[0, 5], patches[0, 0]
    assert inner.tolist() == [5.0, 3.0, 3.0]
    assert corner.tolist() == [(0 + 1 + 4 + 5) / 4, 3.0, 3.0], "the border takes what places there are"


def test_channels_are_pooled_only_where_there_are_more() -> None:
    layer = torch.arange(6.0)[None, :, None, None].expand(1, 6, 2, 2)
    assert patch_features([layer], channels=3)[0, 0].tolist() == [0.5, 2.5, 4.5]
    assert patch_features([layer], channels=7)[0, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [64, 97])
def test_the_map_and_score_are_distances_to_the_whole_of_a_full_bank(tiny_sets: Sets, size: int) -> None:
    sets, method = tiny_sets(size), built(size, coreset_ratio=1.0, neighbours=0)
    method.fit(sets.train, sets.none)
    images = to_unit_tensor(sets.test.pixels(slice(0, 3)), CPU)
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        normals = patch_features(method.backbone(to_unit_tensor(sets.train.pixels(slice(None)), CPU)), 1024)
        queries = patch_features(method.backbone(images), 1024)
    exact = torch.cdist(queries.double(), normals.flatten(0, 1).double()).amin(dim=2).float()
    side = math.isqrt(exact.shape[1])
    torch.testing.assert_close(maps, smooth(upsample(exact.reshape(3, side, side), size), 4.0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, exact.amax(dim=1), rtol=1e-4, atol=1e-4)


def test_scores_are_re_weighted_one_by_one(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    plain, weighted = built(neighbours=0), built(neighbours=9)
    plain.fit(sets.train, sets.none)
    weighted.load_state_dict(plain.state_dict())
    bank = MemoryBank(plain.state_dict()["bank"])
    images = to_unit_tensor(sets.test.pixels(slice(0, 4)), CPU)
    with torch.inference_mode():
        for number, (before, after) in enumerate(
            zip(plain.predict_batch(images)[0], weighted.predict_batch(images)[0], strict=True)
        ):
            patches = patch_features(plain.backbone(images[number : number + 1]), 1024)[0]
            distances, indices = bank.nearest(patches)
            worst = distances.argmax()
            own = bank.patches[indices[worst]]
            around = (bank.patches - own).norm(dim=1).argsort()[:9]
            apart = (bank.patches[around] - patches[worst]).norm(dim=1).double()
            weight = 1 - math.exp(distances[worst] - apart.max()) / float((apart - apart.max()).exp().sum())
            assert float(after) == pytest.approx(weight * float(before), rel=1e-3)


@pytest.mark.parametrize(
    ("images", "memory_mb", "expected"), [(10, 1, 64), (100, 1, 26), (1000, 1, 2), (10**6, 1, 1), (1000, 100, 64)]
)
def test_how_many_patches_of_an_image_fit(images: int, memory_mb: int, expected: int) -> None:
    kept = patches_per_image(images, places=64, numbers=100, memory_mb=memory_mb)
    assert kept == expected
    assert kept == 1 or images * kept * 100 * 4 <= memory_mb * 2**20


def test_patches_beyond_the_memory_bound_are_thinned_with_a_note(tiny_sets: Sets) -> None:
    sets = tiny_sets(97)
    bounded, free = built(97, memory_mb=1), built(97)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        patches, projected = bounded._collect(sets.train, generator)
        everything, _ = free._collect(sets.train, torch.Generator())
    assert len(everything) == 12 * 13 * 13 and free.context.notes == []
    assert len(patches) % 12 == 0 and 0 < len(patches) < len(everything)
    assert 4 * (patches.numel() + 3 * projected.numel()) <= 2**20
    assert "random patches of the 169 of each image" in bounded.context.notes[0]
    # Each is one of its own image's patches, and none is taken twice.
    per_image = len(patches) // 12
    for image in range(12):
        own, whole = patches[image * per_image :][:per_image], everything[image * 169 :][:169]
        matches = (own[:, None] == whole).all(dim=2)
        assert (matches.sum(dim=1) >= 1).all() and distinct(own) == min(per_image, distinct(whole))


def test_the_bank_is_a_share_of_the_patches_but_holds_the_neighbours(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    for ratio, expected in ((0.1, math.ceil(0.1 * 12 * 64)), (0.001, 9), (1.0, 12 * 64)):
        method = built(coreset_ratio=ratio)
        method.fit(sets.train, sets.none)
        assert len(method.state_dict()["bank"]) == expected


def test_an_unfitted_one_says_so_and_takes_over_what_another_learned(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method, fresh = built(seed=0), built(seed=1, coreset_ratio=0.5)
    for unfitted in (lambda: fresh.predict(sets.test), fresh.state_dict):
        with pytest.raises(RuntimeError, match="not fitted"):
            unfitted()
    method.fit(sets.train, sets.none)
    fresh.load_state_dict(method.state_dict())
    first, second = method.predict(sets.test), fresh.predict(sets.test)
    assert np.array_equal(first.scores, second.scores) and np.array_equal(first.maps, second.maps)


def test_it_is_not_fitted_to_nothing(tiny_sets: Sets) -> None:
    with pytest.raises(ValueError, match="empty image set"):
        built().fit(tiny_sets(64).none, tiny_sets(64).none)


def test_a_single_neighbour_is_refused() -> None:
    with pytest.raises(RequestError, match="compare a patch with itself"):
        validate(PatchCoreConfig, {"neighbours": 1}).check(128)


def test_the_full_preset_is_the_paper_s() -> None:
    config = validate(PatchCoreConfig, PatchCoreConfig.preset("full", "industrial"))
    assert (config.coreset_ratio, config.projection, config.neighbours, config.smoothing) == (0.1, 128, 9, 4.0)
    assert (config.layers, config.channels) == ((2, 3), 1024)
