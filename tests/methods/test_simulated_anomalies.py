"""Simulated anomalies: the noise by hand, what a mask leaves alone, and what an image's numbers decide."""

import math

import pytest
import torch
from torch import Tensor

from adbench.methods.simulated_anomalies import (
    LEAST_PIXELS,
    ROLLS,
    Branch,
    Recipe,
    perlin_noise,
    scar_content,
    shuffled_tiles,
    simulate,
)

BRANCH, BETA, FLIP_X, FLIP_Y = range(4)  # The first columns of rolls.


def rolls_of(count: int, seed: int = 0) -> Tensor:
    return torch.rand((count, ROLLS), generator=torch.Generator().manual_seed(seed))


def images_of(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(seed))


def white(chosen: Tensor) -> Tensor:
    return torch.ones(len(chosen), 3, 1, 1)


def test_perlin_noise_by_hand() -> None:
    # One cell; gradients (sin, cos) of the corners: down at the upper two, right at the lower two.
    rolls = torch.zeros(1, 2 + 81)
    corners = rolls[:, 2:].view(9, 9)
    corners[0, :2] = 0.25
    noise = perlin_noise(4, rolls, torch.tensor([3.0]))
    for y in range(4):
        for x in range(4):
            v, u = (y + 0.5) / 4, (x + 0.5) / 4
            fade_v, fade_u = (t**3 * (10 - 15 * t + 6 * t * t) for t in (v, u))
            upper = (1 - fade_u) * v + fade_u * v
            lower = (1 - fade_u) * u + fade_u * (u - 1)
            expected = math.sqrt(2) * ((1 - fade_v) * upper + fade_v * lower)
            assert noise[0, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_perlin_noise_is_zero_at_the_corners_of_its_cells() -> None:
    """Which shows how many cells there are: 2^i of i uniform in 0..octaves, for each axis by itself."""
    rolls = torch.zeros(1, 2 + 81)
    for roll, octaves, cells in ((0.0, 3, 1), (0.24, 3, 1), (0.26, 3, 2), (0.5, 3, 4), (0.99, 3, 8), (0.99, 2, 4)):
        rolls[0, 0], rolls[0, 1] = roll, 0.0
        rolls[0, 2:] = 0.25  # Every gradient points down.
        column = perlin_noise(1024, rolls, torch.tensor([float(octaves)]))[0, :, 0].abs()
        corners = torch.arange(cells) * (1024 // cells)
        assert (column[corners] < 0.02).all()
        assert (column[corners + 256 // cells] > 0.1).all()


def test_perlin_noise_is_centred_and_fills_its_range() -> None:
    noise = perlin_noise(32, rolls_of(400)[:, : 2 + 81], torch.full((400,), 3.0))
    assert noise.mean().abs() < 0.05 and 0.2 < noise.std() < 0.6
    assert noise.abs().max() < 1.5


@pytest.mark.parametrize("size", [48, 97])
def test_pixels_outside_the_mask_are_untouched_and_those_inside_are_blended(size: int) -> None:
    images, rolls = images_of(6, size), rolls_of(6)
    rolls[:, BRANCH] = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.9, 0.1])
    asked: list[int] = []

    def textures(chosen: Tensor) -> Tensor:
        asked.extend(chosen.tolist())
        return torch.ones(len(chosen), 3, size, size)

    simulated, masks = simulate(images, rolls, textures, Recipe(p_scar=0.5))
    assert asked == [0, 2, 4], "textures are asked for where they are needed"
    assert masks.dtype == torch.bool and simulated.shape == images.shape
    outside = ~masks[:, None].expand_as(images)
    assert torch.equal(simulated[outside], images[outside])
    for row in range(6):
        if row % 2 == 0:
            beta, content = 0.9 * rolls[row, BETA], torch.ones_like(images[row])
        else:
            beta = 0.25 * rolls[row, BETA]
            content = scar_content(images[row : row + 1], rolls[row : row + 1, 2:8], rolls[row : row + 1, 8:40])[0]
        expected = beta * images[row] + (1 - beta) * content
        inside = masks[row].expand_as(images[row])
        torch.testing.assert_close(simulated[row][inside], expected[inside])
        assert masks[row].any() and not torch.equal(simulated[row], images[row])
    assert simulated.min() >= 0 and simulated.max() <= 1


def test_an_image_s_anomaly_depends_on_its_own_numbers_alone() -> None:
    images, rolls = images_of(8, 64), rolls_of(8)
    given = images.clone()
    together, masks = simulate(images, rolls, white, Recipe())
    again, _ = simulate(images, rolls, white, Recipe())
    assert torch.equal(again, together) and torch.equal(images, given)
    for row in range(8):
        alone, mask = simulate(images[row : row + 1], rolls[row : row + 1], white, Recipe())
        assert torch.equal(alone[0], together[row]) and torch.equal(mask[0], masks[row])
    _, others = simulate(images, rolls_of(8, seed=1), white, Recipe())
    assert not any(torch.equal(mask, other) for mask, other in zip(masks, others, strict=True))


@pytest.mark.parametrize(("size", "least"), [(256, LEAST_PIXELS), (128, 13), (64, 4)])
def test_small_masks_are_redrawn(size: int, least: int) -> None:
    count = 64
    _, masks = simulate(torch.rand(count, 3, size, size), rolls_of(count), white, Recipe(p_scar=0.0))
    areas = masks.flatten(1).sum(1)
    assert areas.min() >= least
    # So high a threshold that hardly a try has enough: the others get just enough, where the noise is largest.
    high = Branch(3, 1.3, 0.0)
    simulated, masks = simulate(torch.zeros(count, 3, size, size), rolls_of(count), white, Recipe(high, high, 0.0))
    areas = masks.flatten(1).sum(1)
    assert areas.min() == least and (areas == least).float().mean() > 0.9
    assert torch.equal(simulated[:, 0] > 0, masks)


def test_a_mask_that_is_large_enough_at_once_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rolls = rolls_of(32)
    octaves = torch.full((32,), 3.0)
    _, masks = simulate(images_of(32, 64), rolls, white, Recipe(p_scar=0.0))
    tries = rolls[:, 40:].reshape(-1, 8, 83)
    for row in range(32):
        by_try = [perlin_noise(64, tries[row : row + 1, turn], octaves[:1])[0] > 0.5 for turn in range(8)]
        assert torch.equal(masks[row], next(mask for mask in by_try if mask.sum() >= 4))


def test_branches_are_chosen_by_their_share_with_thresholds_of_their_own() -> None:
    count = 400
    asked: list[int] = []

    def textures(chosen: Tensor) -> Tensor:
        asked.extend(chosen.tolist())
        return white(chosen)

    _, masks = simulate(images_of(count, 48), rolls_of(count), textures, Recipe())
    assert 1 - len(asked) / count == pytest.approx(0.58, abs=0.07)
    scarred = torch.ones(count, dtype=torch.bool)
    scarred[asked] = False
    areas = masks.float().mean(dim=(1, 2))
    assert areas[scarred].mean() > areas[~scarred].mean(), "a lower threshold makes larger masks"
    for p_scar, wanted in ((0.0, count), (1.0, 0)):
        asked.clear()
        simulate(images_of(count, 48), rolls_of(count), textures, Recipe(p_scar=p_scar))
        assert len(asked) == wanted


def test_nothing_is_coloured_on_an_image_without_colour() -> None:
    images = images_of(4, 48)
    images[:2] = images[:2, :1]
    rolls = rolls_of(4)
    rolls[:, BRANCH] = torch.tensor([0.1, 0.9, 0.1, 0.9])

    def red(chosen: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(len(chosen), 3, 48, 48)

    simulated, masks = simulate(images, rolls, red, Recipe(p_scar=0.5))
    coloured = (simulated.amax(1) - simulated.amin(1)) > 1e-6
    assert masks.any(2).any(1).all()
    assert not coloured[:2].any() and (coloured[2:] & masks[2:]).any(2).any(1).all()


def test_shuffled_tiles_by_hand() -> None:
    # Rows of two tiles of 1 x 2 pixels; the fifth column fills no tile.
    image = torch.tensor([[0.0, 1.0, 2.0, 3.0, 9.0], [4.0, 5.0, 6.0, 7.0, 8.0]]).expand(1, 3, 2, 5)
    shuffled = shuffled_tiles(image, torch.tensor([[3, 0, 2, 1]]), (2, 2))
    expected = torch.tensor([[6.0, 7.0, 0.0, 1.0, 9.0], [4.0, 5.0, 2.0, 3.0, 8.0]])
    assert torch.equal(shuffled, expected.expand(1, 3, 2, 5))
    unchanged = shuffled_tiles(image, torch.arange(4)[None], (2, 2))
    assert torch.equal(unchanged, image)


def test_a_scar_is_made_of_the_image_s_own_parts() -> None:
    """Flipped as its numbers say, shuffled on 4 x 8 tiles, its colours changed by a factor each."""
    images, rolls = images_of(1, 32), torch.zeros(1, 6)
    order = torch.arange(32.0)[None] / 32
    rolls[0] = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.5, 0.5])
    torch.testing.assert_close(scar_content(images, rolls, order), images)
    rolls[0, 0] = 0.1
    torch.testing.assert_close(scar_content(images, rolls, order), images.flip(-1))
    rolls[0, 1] = 0.1
    torch.testing.assert_close(scar_content(images, rolls, order), images.flip(-1).flip(-2))
    rolls[0] = torch.tensor([0.9, 0.9, 1.0, 0.0, 0.5, 1.0])
    factors = 1.2 * torch.tensor([0.9, 1.0, 1.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(scar_content(images, rolls, order), (images * factors).clamp(0, 1))
    rolls[0] = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.5, 0.5])
    swapped = scar_content(images, rolls, order.flip(1))
    torch.testing.assert_close(swapped[..., :8, :4], images[..., 24:, 28:])  # Tiles are 8 x 4 pixels.
    assert swapped.flatten(2).sort(dim=2).values.allclose(images.flatten(2).sort(dim=2).values)
