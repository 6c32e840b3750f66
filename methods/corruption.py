"""Corrupted copies of normal images: soft-edged regions filled with what does not belong there.

The idea is the papers' (Bauer et al., arXiv 2206.11723); shapes, contents and their laws are reconstructed by us.
All that is random is a few hundred numbers an image, drawn from the image's seed alone on the CPU; fields are then
computed for the whole batch on the images' device.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from adbench.methods.textures import between, texture_batch, uniforms

Content = Literal["texture", "patch", "constant", "warp"]
CONTENTS: tuple[Content, ...] = get_args(Content)

REGIONS = 3
"""The most regions of an image; a third of the images each has one, two and three."""
_SALTS = {"donor": 0xD0, "regions": 0x4E, "content": 0xC0}
_GRID = 64
"""Shapes are computed on a grid of this many places a side: a place is a twentieth of the smallest region's area."""
_CORNERS = 6
_KNOTS = 9
_REACH = 4.0
"""A region's lattices span this many radii on both sides of its centre."""
_NUMBERS = 8 + 2 * _CORNERS + 3 * _KNOTS**2
_WARP_KNOTS = 8
_BISECTIONS = 16


@dataclass(frozen=True)
class CorruptionLaw:
    """How images are corrupted; areas are shares of the image, the others as in the fields of SSAEConfig."""

    min_area: float = 0.005
    max_area: float = 0.15
    min_alpha: float = 0.3
    max_alpha: float = 1.0
    contents: tuple[Content, ...] = CONTENTS
    textures: Path | None = None


def donors(indices: Tensor, seeds: Tensor, n_images: int) -> Tensor:
    """For each of the images at ``indices`` [N] another of the ``n_images``, itself only if it is alone."""
    steps = 1 + (uniforms(seeds, _SALTS["donor"], 1)[:, 0].double() * (n_images - 1)).long()
    return (indices + steps) % n_images


def corrupted(images: Tensor, others: Tensor, seeds: Tensor, law: CorruptionLaw) -> tuple[Tensor, Tensor]:
    """(xh [N, 3, S, S], M [N, 1, S, S]) of images x and ``others``, both [N, 3, S, S] in [0, 1]; xh is too.

    xh = (1 - a M) x + a M c with content c and a ~ U(min_alpha, max_alpha) of each image's own seed [N].
    """
    numbers = uniforms(seeds, _SALTS["content"], 12 + 2 * _WARP_KNOTS**2)
    masks = region_masks(seeds, images.shape[-1], law, images.device).amax(dim=1, keepdim=True)
    content = _contents(images, others, seeds, numbers, law)
    # In a grey image, colour would give a corruption away.
    grey = (images.amax(dim=1) - images.amin(dim=1)).amax(dim=(1, 2)) < 1 / 255
    content = torch.where(grey[:, None, None, None], content[:, :1], content)
    opacity = between(numbers[:, 0], law.min_alpha, law.max_alpha).to(images.device)[:, None, None, None]
    return images + opacity * masks * (content - images), masks


def region_masks(seeds: Tensor, size: int, law: CorruptionLaw, device: torch.device) -> Tensor:
    """Soft masks [N, REGIONS, size, size] in [0, 1]; those that an image lacks are 0.

    A region is an ellipse, a convex polygon or a blob of thresholded noise, elastically deformed. Its area, that of
    M >= 1/2, is log-uniform in the law's bounds.
    """
    count = len(seeds)
    drawn = uniforms(seeds, _SALTS["regions"], 1 + REGIONS * _NUMBERS).to(device)
    wanted = (drawn[:, :1] * REGIONS).long() >= torch.arange(REGIONS, device=device)
    region = drawn[:, 1:].reshape(count * REGIONS, _NUMBERS)
    area = between(region[:, 0, None, None], law.min_area, law.max_area, log=True)
    height = _heights(region, (area / math.pi).sqrt())
    height = height - _level(height, area)
    # Height over slope is about the distance to the edge, whatever the shape.
    down, right = torch.gradient(height, spacing=1 / _GRID, dim=(1, 2))
    slope = torch.sqrt(down.square() + right.square())
    distance = height / slope.clamp(min=0.2 * slope.mean(dim=(1, 2), keepdim=True))
    distance = functional.interpolate(distance[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    softness = between(region[:, 1, None, None], 0.008, 0.05, log=True)
    masks = (0.5 + distance / softness).clamp(0, 1).reshape(count, REGIONS, size, size)
    return masks * wanted[:, :, None, None]


def _level(height: Tensor, area: Tensor) -> Tensor:
    """The height that a share ``area`` of the places exceeds, [R, 1, 1]; by bisection, far cheaper than sorting."""
    low, high = height.amin(dim=(1, 2), keepdim=True), height.amax(dim=(1, 2), keepdim=True)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        too_low = (height > middle).float().mean(dim=(1, 2), keepdim=True) > area
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return high


def _heights(region: Tensor, radius: Tensor) -> Tensor:
    """Fields [R, G, G] that rise towards the middle of each region; numbers [R, K] and radii [R, 1, 1] are given."""
    device = region.device
    shape, down, right, turn, aspect, bend = region[:, 2:8, None, None].unbind(1)
    centres = (torch.arange(_GRID, device=device) + 0.5) / _GRID
    square = (len(region), _GRID, _GRID)
    # In radii from the centre.
    y, x = ((centres[:, None] - down) / radius).expand(square), ((centres - right) / radius).expand(square)
    lattice = region[:, 8 + 2 * _CORNERS :].reshape(-1, 3, _KNOTS, _KNOTS)
    smooth = functional.interpolate(lattice - 0.5, (33, 33), mode="bicubic", align_corners=True)
    grid = torch.stack([x, y], dim=-1) / _REACH
    move_y, move_x, noise = functional.grid_sample(
        smooth, grid, padding_mode="reflection", align_corners=True
    ).unbind(1)
    y, x = y + between(bend, 0, 1.5) * move_y, x + between(bend, 0, 1.5) * move_x
    angle = 2 * math.pi * turn
    stretch = between(aspect, 1, 3, log=True)
    v = (angle.cos() * y - angle.sin() * x) * stretch
    u = (angle.sin() * y + angle.cos() * x) / stretch
    from_centre = u.square() + v.square()
    ellipse = 1 - from_centre.sqrt()
    blob = noise - 0.15 * from_centre
    corners = region[:, 8 : 8 + 2 * _CORNERS, None, None]
    polygon = torch.full_like(ellipse, math.inf)
    for corner in range(_CORNERS):  # The least distance to the lines that bound it.
        towards = (corner + corners[:, corner]) * (2 * math.pi / _CORNERS)
        edge = between(corners[:, _CORNERS + corner], 0.5, 1.5) - towards.cos() * u - towards.sin() * v
        polygon = torch.minimum(polygon, edge)
    return torch.where(shape < 1 / 3, ellipse, torch.where(shape < 2 / 3, polygon, blob))


def _contents(images: Tensor, others: Tensor, seeds: Tensor, numbers: Tensor, law: CorruptionLaw) -> Tensor:
    """c [N, 3, S, S]: for each image one of the law's contents."""
    kind = (numbers[:, 1] * len(law.contents)).long()
    device_numbers = numbers.to(images.device)
    content = torch.empty_like(images)
    for place, name in enumerate(law.contents):
        rows = (kind == place).nonzero()[:, 0]
        if not len(rows):
            continue
        at = rows.to(images.device)
        if name == "texture":
            content[at] = texture_batch(seeds[rows], images.shape[-1], images.device, law.textures)
        elif name == "patch":
            content[at] = _displaced(others[at], device_numbers[at, 5:])
        elif name == "constant":
            content[at] = device_numbers[at, 2:5, None, None].expand(-1, -1, *images.shape[2:])
        else:
            content[at] = _warped(images[at], device_numbers[at, 5:])
    return content


def _displaced(images: Tensor, numbers: Tensor) -> Tensor:
    """Images turned, scaled by up to a third and shifted anywhere, mirrored at their borders."""
    turn, scale, down, right = numbers[:, :4].unbind(1)
    angle, scale = 2 * math.pi * turn, between(scale, 0.75, 1.33, log=True)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    first = torch.stack([cosine, -sine, 2 * right - 1], dim=1)
    second = torch.stack([sine, cosine, 2 * down - 1], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _warped(images: Tensor, numbers: Tensor) -> Tensor:
    """Images elastically warped: shifts of up to 1/50 to 1/8 of the image's side, other ones every 1/7 of it."""
    size = images.shape[-1]
    strength = between(numbers[:, 4], 0.02, 0.125, log=True)[:, None, None, None]
    lattice = (2 * numbers[:, 7:].reshape(-1, 2, _WARP_KNOTS, _WARP_KNOTS) - 1) * strength
    shifts = functional.interpolate(lattice, (size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    grid = functional.affine_grid(identity, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid + 2 * shifts, padding_mode="reflection", align_corners=False)
