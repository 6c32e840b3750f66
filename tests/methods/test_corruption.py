"""The corruption model: untouched where M = 0, areas within their bounds, a function of the image's seed alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adbench.methods.base import Search
from adbench.methods.corruption import CONTENTS, REGIONS, Content, CorruptionLaw, corrupted, donors, region_masks
from adbench.methods.ssae import SSAEConfig

CPU = torch.device("cpu")
SEEDS = torch.arange(60) * 7919 + 2**50


def noise_images(count: int, size: int = 64, seed: int = 0, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, channels, size, size), generator=generator).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("size", [48, 97, 128])
def test_areas_are_within_their_bounds(size: int) -> None:
    masks = region_masks(SEEDS, size, CorruptionLaw(), CPU)
    assert masks.shape == (60, REGIONS, size, size) and masks.min() >= 0 and masks.max() <= 1
    present = masks.amax(dim=(2, 3)) > 0
    numbers = present.sum(dim=1).bincount(minlength=4)
    assert numbers[0] == 0 and (numbers[1:] >= 10).all(), "one to three regions, each number as often"
    areas = (masks >= 0.5).float().mean(dim=(2, 3))[present]
    # Half a place of the grid and the pixels of an edge are what an area may miss its bounds by.
    assert areas.min() > 0.005 - 0.0025 and areas.max() < 0.15 + 0.01
    assert areas.quantile(0.2) < 0.015 and areas.quantile(0.9) > 0.08, "small ones as well as large ones"


@pytest.mark.parametrize("area", [0.01, 0.05, 0.3])
def test_an_area_is_met(area: float) -> None:
    law = CorruptionLaw(min_area=area, max_area=area)
    masks = region_masks(SEEDS, 128, law, CPU)
    areas = (masks >= 0.5).float().mean(dim=(2, 3))[masks.amax(dim=(2, 3)) > 0]
    torch.testing.assert_close(areas, torch.full_like(areas, area), atol=0.004, rtol=0.12)


def test_the_least_area_that_is_searched_can_be_drawn() -> None:
    (search,) = (each for each in SSAEConfig.model_fields["min_area"].metadata if isinstance(each, Search))
    masks = region_masks(SEEDS, 128, CorruptionLaw(min_area=search.low, max_area=search.low), CPU).flatten(0, 1)
    areas = (masks >= 0.5).float().mean(dim=(1, 2))[masks.amax(dim=(1, 2)) > 0]
    assert areas.min() > 0.5 * search.low and areas.max() < 1.5 * search.low


def test_edges_are_soft_and_shapes_differ() -> None:
    masks = region_masks(SEEDS, 128, CorruptionLaw(min_area=0.05), CPU).flatten(0, 1)
    masks = masks[masks.amax(dim=(1, 2)) > 0]
    partly = ((masks > 0) & (masks < 1)).float().mean(dim=(1, 2)) / (masks >= 0.5).float().mean(dim=(1, 2))
    assert partly.min() > 0.02 and partly.median() < 1.5
    # The spread about the centre of mass against that of a disc of the same area: 1 for a disc.
    at = (torch.arange(128) + 0.5) / 128
    total = masks.sum(dim=(1, 2))
    y, x = (masks.sum(2) * at).sum(1) / total, (masks.sum(1) * at).sum(1) / total
    apart = (at[:, None] - y[:, None, None]).square() + (at - x[:, None, None]).square()
    spread = (masks * apart).sum(dim=(1, 2)) / total / (total / 128**2 / (2 * torch.pi))
    assert spread.min() > 0.95 and spread.max() > 1.8


def test_the_image_is_untouched_where_the_mask_is_0() -> None:
    images, others = noise_images(60), noise_images(60, seed=1)
    changed, masks = corrupted(images, others, SEEDS, CorruptionLaw())
    assert changed.shape == images.shape and masks.shape == (60, 1, 64, 64)
    assert masks.min() >= 0 and masks.max() <= 1 and changed.min() >= 0 and changed.max() <= 1 + 1e-6
    outside = (masks == 0).expand_as(images)
    assert outside.float().mean() > 0.5
    assert torch.equal(changed[outside], images[outside])
    inside = (masks > 0.5).expand_as(images)
    assert ((changed - images)[inside] != 0).float().mean() > 0.95


def test_it_depends_on_the_image_s_seed_alone() -> None:
    images, others = noise_images(12), noise_images(12, seed=1)
    seeds = SEEDS[:12]
    changed, masks = corrupted(images, others, seeds, CorruptionLaw())
    again = corrupted(images, others, seeds, CorruptionLaw())
    assert torch.equal(again[0], changed) and torch.equal(again[1], masks)
    backwards = corrupted(images.flip(0), others.flip(0), seeds.flip(0), CorruptionLaw())
    torch.testing.assert_close(backwards[0].flip(0), changed, atol=1e-3, rtol=0)
    torch.testing.assert_close(backwards[1].flip(0), masks, atol=1e-3, rtol=0)
    for row in range(4):
        alone = corrupted(images[row : row + 1], others[row : row + 1], seeds[row : row + 1], CorruptionLaw())
        torch.testing.assert_close(alone[0][0], changed[row], atol=1e-3, rtol=0)
    other = corrupted(images, others, seeds + 1, CorruptionLaw())
    assert not any(torch.equal(first, second) for first, second in zip(other[1], masks, strict=True))


@pytest.mark.parametrize("content", CONTENTS)
def test_every_content_replaces_by_the_equation(content: Content) -> None:
    images, others = noise_images(8), noise_images(8, seed=1)
    full = CorruptionLaw(min_alpha=1.0, contents=(content,))
    half = CorruptionLaw(min_alpha=0.5, max_alpha=0.5, contents=(content,))
    (replaced, masks), (blended, same) = (corrupted(images, others, SEEDS[:8], law) for law in (full, half))
    assert torch.equal(masks, same)
    # (1 - a M) x + a M c is linear in a: what a = 1/2 changes is half of what a = 1 does.
    torch.testing.assert_close(blended - images, (replaced - images) / 2, atol=1e-6, rtol=0)
    core = (masks == 1).expand_as(images)
    assert ((replaced - images)[core].abs() > 1e-3).float().mean() > 0.9


def test_a_constant_is_one_colour() -> None:
    law = CorruptionLaw(min_alpha=1.0, min_area=0.05, contents=("constant",))
    changed, masks = corrupted(noise_images(6), noise_images(6), SEEDS[:6], law)
    for image, mask in zip(changed, masks, strict=True):
        core = image[:, mask[0] == 1]
        assert core.shape[1] and (core.amax(dim=1) - core.amin(dim=1)).max() < 1e-6


def test_a_patch_is_of_the_other_image_and_a_warp_of_its_own() -> None:
    images, others = torch.full((8, 3, 64, 64), 0.25), torch.full((8, 3, 64, 64), 0.75)
    images[:, 0], others[:, 0] = 0.3, 0.8
    for content, found in (("patch", [0.8, 0.75, 0.75]), ("warp", [0.3, 0.25, 0.25])):
        law = CorruptionLaw(min_alpha=1.0, contents=(content,))  # type: ignore[arg-type]
        changed, masks = corrupted(images, others, SEEDS[:8], law)
        core = changed.permute(1, 0, 2, 3)[:, masks[:, 0] == 1]
        torch.testing.assert_close(core, torch.tensor(found)[:, None].expand_as(core), atol=1e-5, rtol=0)


def test_grey_images_get_grey_content() -> None:
    images, others = noise_images(16, channels=1), noise_images(16, seed=1)
    for content in CONTENTS:
        changed, _ = corrupted(images, others, SEEDS[:16], CorruptionLaw(contents=(content,)))
        assert torch.equal(changed[:, 0], changed[:, 1]) and torch.equal(changed[:, 0], changed[:, 2])


def test_textures_come_from_the_folder(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32, 3), (255, 0, 255), np.uint8)).save(tmp_path / "magenta.png")
    law = CorruptionLaw(min_alpha=1.0, contents=("texture",), textures=tmp_path)
    changed, masks = corrupted(noise_images(4), noise_images(4), SEEDS[:4], law)
    core = changed.permute(1, 0, 2, 3)[:, masks[:, 0] == 1]
    torch.testing.assert_close(core, torch.tensor([1.0, 0.0, 1.0])[:, None].expand_as(core))


def test_donors_are_others() -> None:
    indices = torch.arange(60) % 7
    chosen = donors(indices, SEEDS, 7)
    assert ((chosen != indices) & (chosen >= 0) & (chosen < 7)).all()
    assert len(set(((chosen - indices) % 7).tolist())) == 6, "every other one"
    assert torch.equal(donors(indices[5:6], SEEDS[5:6], 7), chosen[5:6])
    assert donors(torch.tensor([0]), SEEDS[:1], 1).tolist() == [0]
