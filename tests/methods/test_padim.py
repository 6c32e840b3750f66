"""PaDiM against NumPy: statistics, distances, joined layers, and what it keeps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from torch import Tensor

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods import padim
from adbench.methods.anomaly_maps import smooth, upsample
from adbench.methods.base import Context, to_unit_tensor
from adbench.methods.chunks import chunks
from adbench.methods.padim import PaDiM, PaDiMConfig, RunningGaussians, draw_channels, join_layers, mahalanobis

Sets = Callable[[int], Any]
CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(size: int = 64, seed: int = 0, **params: Any) -> PaDiM:
    config = validate(PaDiMConfig, {"channels": 20, **params})
    return PaDiM(config, Context(seed=seed, device=CPU, image_size=size, cache=Cache(None)))


def gathered(values: Tensor, sizes: list[int]) -> RunningGaussians:
    gaussians = RunningGaussians(len(values), values.shape[2], CPU)
    for batch in torch.split(values, sizes, dim=1):
        gaussians.update(batch)
    return gaussians


@pytest.mark.parametrize("sizes", [[30], [1, 29], [7, 11, 12], [1] * 30])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_mean_and_covariance_are_numpy_s_however_batched(
    sizes: list[int], offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padim, "_CHUNK_ELEMENTS", 300)
    values = noise(5, 30, 4) + offset
    gaussians = gathered(values, sizes)
    assert gaussians.count == 30
    covariances = gaussians.covariances(slice(0, 5))
    for place in range(5):
        exact = values[place].double().numpy()
        np.testing.assert_allclose(gaussians.means[place].numpy(), exact.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(covariances[place].numpy(), np.cov(exact, rowvar=False), rtol=1e-9, atol=1e-11)


def test_mahalanobis_by_hand() -> None:
    # Covariance diag(6, 0), regularised diag(16, 10); x - mu = (8, 0) and (0, 10): 8 / 4 and 10 / sqrt(10).
    gaussians = gathered(torch.tensor([[[3.0, 7.0], [0.0, 7.0], [-3.0, 7.0], [0.0, 7.0]]]), [2, 2])
    assert gaussians.covariances(slice(0, 1)).tolist() == [[[6.0, 0.0], [0.0, 0.0]]]
    whitening = gaussians.whitening(10.0)
    torch.testing.assert_close(whitening[0], torch.diag(torch.tensor([1 / 4, 10**-0.5])))
    distances = mahalanobis(torch.tensor([[[8.0, 7.0], [0.0, 17.0]]]), gaussians.means.float(), whitening)
    torch.testing.assert_close(distances, torch.tensor([[2.0, 10**0.5]]))


@pytest.mark.parametrize("count", [40, 3])
def test_mahalanobis_is_scipy_s(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with fewer images than channels, where the regularisation alone makes a covariance regular."""
    monkeypatch.setattr(padim, "_CHUNK_ELEMENTS", 100)
    values, queries = 10 * noise(7, count, 6), 10 * noise(7, 4, 6, seed=1)
    gaussians = gathered(values, [count])
    distances = mahalanobis(queries, gaussians.means.float(), gaussians.whitening(0.01))
    for place in range(7):
        normals = values[place].double().numpy()
        inverse = np.linalg.inv(np.cov(normals, rowvar=False) + 0.01 * np.eye(6))
        for image in range(4):
            expected = scipy_mahalanobis(queries[place, image].double().numpy(), normals.mean(axis=0), inverse)
            assert float(distances[place, image]) == pytest.approx(expected, rel=1e-4)


def test_no_temporary_of_the_statistics_exceeds_the_bound() -> None:
    for count, elements in ((4096, 3200), (1000, 2**30), (3, 1)):
        slices = chunks(count, elements, padim._CHUNK_ELEMENTS)
        assert [index for one in slices for index in range(count)[one]] == list(range(count))
        for one in slices:
            rows = one.stop - one.start
            assert rows == 1 or rows * elements <= padim._CHUNK_ELEMENTS


def test_layers_are_joined_as_nearest_neighbours_of_the_largest_map() -> None:
    for sizes in ((8, 4, 2), (25, 13, 7), (3, 12, 6)):
        layers = [noise(2, 3 + n, size, size, seed=n) for n, size in enumerate(sizes)]
        chosen = torch.tensor([0, 2, 3, 5, 8, 11])
        whole = [torch.nn.functional.interpolate(layer, (max(sizes),) * 2, mode="nearest") for layer in layers]
        expected = torch.cat(whole, dim=1)[:, chosen].flatten(2).permute(2, 0, 1)
        assert torch.equal(join_layers(layers, chosen), expected)


def test_channels_are_drawn_by_the_seed_and_never_more_than_there_are() -> None:
    first, other = draw_channels(176, 100, 0), draw_channels(176, 100, 1)
    assert len(set(first.tolist())) == 100 and first.tolist() == sorted(first.tolist())
    assert not torch.equal(first, other) and torch.equal(first, draw_channels(176, 100, 0))
    assert draw_channels(7, 100, 0).tolist() == list(range(7))


@pytest.mark.parametrize("size", [64, 97])
def test_the_map_is_the_mahalanobis_distance_of_every_place(tiny_sets: Sets, size: int) -> None:
    sets, method = tiny_sets(size), built(size, regularisation=0.5)
    method.fit(sets.train, sets.none)
    images = to_unit_tensor(sets.test.pixels(slice(0, 3)), CPU)
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        chosen = method.state_dict()["channels"]
        normals = join_layers(method.backbone(to_unit_tensor(sets.train.pixels(slice(None)), CPU)), chosen).double()
        queries = join_layers(method.backbone(images), chosen).double()
    deviations = queries - normals.mean(dim=1, keepdim=True)
    covariances = torch.stack([torch.cov(place.T) for place in normals]) + 0.5 * torch.eye(20)
    squares = (deviations * torch.linalg.solve(covariances, deviations.mT).mT).sum(dim=-1)
    side = math.isqrt(len(squares))
    expected = smooth(upsample(squares.sqrt().T.reshape(3, side, side).float(), size), 4.0)
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores, expected.amax(dim=(1, 2)), rtol=1e-3, atol=1e-3)


def test_an_unfitted_one_says_so_and_takes_over_what_another_learned(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method, fresh = built(seed=0), built(seed=1, channels=7)
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


def test_statistics_beyond_memory_are_refused() -> None:
    PaDiMConfig().check(1024)  # 256 x 256 places, 100 channels: 7.3 GiB.
    PaDiMConfig(layers=(1, 2, 3), channels=4096).check(256)  # The three layers have but 176.
    with pytest.raises(RequestError, match=r"PaDiM needs 22.7 GiB for 65536 places \(image_size=1024") as caught:
        PaDiMConfig(channels=200).check(1024)
    assert caught.value.allowed == "8 GiB" and "layers without the shallowest" in (caught.value.remedy or "")
    PaDiMConfig(channels=200, layers=(2, 3)).check(1024)


def test_the_full_preset_is_the_paper_s() -> None:
    config = validate(PaDiMConfig, PaDiMConfig.preset("full", "industrial"))
    assert (config.channels, config.regularisation, config.smoothing) == (100, 0.01, 4.0)
    assert config.layers == (1, 2, 3)
