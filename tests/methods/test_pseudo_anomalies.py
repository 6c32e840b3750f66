"""Elastic pseudo-anomalies: one warp an image, repeatable, and as strong at every resolution."""

import pytest
import torch

from adbench.methods.pseudo_anomalies import elastic_anomalies


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(size: int, count: int = 1) -> torch.Tensor:
    """Images whose value is the column's position in [0, 1]: warping shows where a pixel came from."""
    columns = (torch.arange(size) + 0.5) / size
    return columns.expand(count, 3, size, size).contiguous()


def test_each_image_is_warped_by_itself_and_repeatably() -> None:
    images = torch.rand((3, 3, 64, 64), generator=seeded(1))
    images[1] = images[0]
    warped = elastic_anomalies(images, 200.0, 5.0, seeded())
    assert warped.shape == images.shape and warped.dtype == torch.float32
    assert warped.min() >= 0 and warped.max() <= 1
    assert not torch.equal(warped[0], warped[1])
    assert all((warped[n] - images[n]).abs().mean() > 0.02 for n in range(3))
    assert torch.equal(warped, elastic_anomalies(images, 200.0, 5.0, seeded()))
    assert not torch.equal(warped, elastic_anomalies(images, 200.0, 5.0, seeded(2)))


def test_channels_move_together() -> None:
    image = torch.rand((1, 1, 64, 64), generator=seeded(1)).expand(1, 3, 64, 64)
    warped = elastic_anomalies(image, 200.0, 5.0, seeded())
    assert torch.equal(warped[:, 0], warped[:, 1]) and torch.equal(warped[:, 0], warped[:, 2])


def test_a_weak_warp_changes_nothing() -> None:
    images = torch.rand((1, 3, 64, 64), generator=seeded(1))
    torch.testing.assert_close(elastic_anomalies(images, 1e-4, 5.0, seeded()), images, atol=1e-4, rtol=0)


def shift(size: int, alpha: float = 200.0) -> float:
    """Spread of the horizontal displacement as a share of the image, away from the border."""
    images = ramps(size, 8)
    moved = elastic_anomalies(images, alpha, 5.0, seeded()) - images
    edge = size // 4
    return float(moved[:, 0, edge:-edge, edge:-edge].std())


def test_displacement_at_256_pixels_is_as_derived() -> None:
    # White noise of variance 1/3, smoothed by a Gaussian: standard deviation 1 / (2 sqrt(pi) sigma sqrt(3)).
    assert shift(256) * 256 == pytest.approx(200 / (2 * torch.pi**0.5 * 5 * 3**0.5), rel=0.1)


@pytest.mark.parametrize("size", [64, 97, 128])
def test_a_warp_is_as_strong_at_every_resolution(size: int) -> None:
    assert shift(size) == pytest.approx(shift(256), rel=0.25)


def test_alpha_is_the_strength() -> None:
    assert shift(128, 200.0) == pytest.approx(2 * shift(128, 100.0), rel=0.05)


@pytest.mark.parametrize("sigma", [0.1, 50.0])
def test_extreme_smoothness_and_small_images(sigma: float) -> None:
    warped = elastic_anomalies(torch.rand((1, 3, 33, 33), generator=seeded(1)), 200.0, sigma, seeded())
    assert warped.isfinite().all()
