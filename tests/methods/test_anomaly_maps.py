"""Maps and scores scale with resolution as the papers' 256-pixel settings do."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from adbench.methods.anomaly_maps import smooth, top_mean, upsample


def noise(size: int, count: int = 2) -> torch.Tensor:
    return torch.rand((count, size, size), generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize(("size", "sigma"), [(256, 4.0), (97, 4.0), (64, 8.0), (33, 1.0)])
def test_smoothing_is_a_gaussian_of_scaled_width(size: int, sigma: float) -> None:
    maps = noise(size)
    smoothed = smooth(maps, sigma)
    assert smoothed.shape == maps.shape and smoothed.dtype == torch.float32
    scaled = sigma * size / 256
    expected = [gaussian_filter(m.numpy(), scaled, mode="mirror", radius=max(1, round(4 * scaled))) for m in maps]
    np.testing.assert_allclose(smoothed.numpy(), np.stack(expected), atol=2e-5)


def test_what_a_prediction_left_serves_a_training() -> None:
    with torch.inference_mode():
        smooth(noise(41), 5.5)
    maps = noise(41).requires_grad_()
    (gradient,) = torch.autograd.grad(smooth(maps, 5.5).sum(), maps)
    assert gradient.isfinite().all()


def test_no_smoothing_at_zero() -> None:
    maps = noise(16)
    assert smooth(maps, 0.0) is maps


@given(size=st.integers(2, 80), sigma=st.floats(0.0, 64.0))
def test_smoothing_keeps_constants_and_bounds(size: int, sigma: float) -> None:
    constant = torch.full((1, size, size), 0.7)
    torch.testing.assert_close(smooth(constant, sigma), constant, atol=1e-4, rtol=0)
    maps = noise(size)
    smoothed = smooth(maps, sigma)
    assert smoothed.min() >= maps.min() - 1e-4 and smoothed.max() <= maps.max() + 1e-4


def test_upsampling_is_bilinear() -> None:
    maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    up = upsample(maps, 4)
    assert up.shape == (1, 4, 4)
    torch.testing.assert_close(up[0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    torch.testing.assert_close(up[0, :, 0], torch.tensor([0.0, 0.5, 1.5, 2.0]))
    torch.testing.assert_close(upsample(maps, 2), maps)


@pytest.mark.parametrize(("size", "count"), [(256, 100), (128, 25), (512, 400), (97, 14), (8, 1)])
def test_top_mean_takes_the_same_share_of_the_image(size: int, count: int) -> None:
    maps = noise(size, 3)
    expected = np.sort(maps.flatten(1).numpy(), axis=1)[:, -count:].mean(axis=1)
    np.testing.assert_allclose(top_mean(maps, 100).numpy(), expected, rtol=1e-6)


def test_top_mean_of_more_pixels_than_there_are() -> None:
    maps = noise(8)
    torch.testing.assert_close(top_mean(maps, 10**6), maps.mean(dim=(1, 2)))
