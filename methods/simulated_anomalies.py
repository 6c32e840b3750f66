"""Anomalies drawn onto normal images, with their masks: a texture, or a scar of the image's own parts (SLSG, 3.4).

Everything is batched on the images' device and a function of the numbers in ``rolls`` [N, ROLLS], uniform in [0, 1),
one row an image: what an image becomes does not depend on the others in its batch. ``x' = x`` outside the mask and
``beta x + (1 - beta) content`` inside.

Reconstructed by us: sizes scale with the image; a mask that stays too small is redrawn up to seven times, then made
of the places where the last noise is largest; how strongly the scar's colours are jittered; nothing is coloured on an
image without colour, as that alone would give it away.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adbench.methods.anomaly_maps import REFERENCE_SIZE

LEAST_PIXELS = 49
"""Masks of fewer pixels, in a 256-pixel image, are redrawn."""

_COLOUR = 1.5 / 255
"""Channels that differ by more than rounding make colour."""

_TRIES = 8
_CORNERS = 9  # Of a lattice of 2^3 cells a side.
_TRY_ROLLS = 2 + _CORNERS**2
_SCAR_GRID = (4, 8)
_CHOICES = 8  # Branch, beta, two flips, four jitters.
_BEFORE_TRIES = _CHOICES + _SCAR_GRID[0] * _SCAR_GRID[1]
ROLLS = _BEFORE_TRIES + _TRIES * _TRY_ROLLS
"""Random numbers that an image takes."""


@dataclass(frozen=True, slots=True)
class Branch:
    """How one kind of anomaly is drawn: noise of 2^0 to 2^``octaves`` cells a side, above ``threshold``; beta is
    uniform in [0, ``most_beta``]."""

    octaves: int
    threshold: float
    most_beta: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Both branches and how often the scar is taken."""

    texture: Branch = Branch(3, 0.5, 0.9)
    scar: Branch = Branch(2, 0.4, 0.25)
    p_scar: float = 0.58


def simulate(
    images: Tensor, rolls: Tensor, textures: Callable[[Tensor], Tensor], recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S] in [0, 1] to anomalous ones of the same shape and their masks, bool [N, S, S].

    ``textures(chosen)`` returns texture images [n, 3, S, S] in [0, 1] for the n images at the indices ``chosen``.
    """
    size = images.shape[-1]
    scarred = rolls[:, 0] < recipe.p_scar
    grid, tries = rolls[:, _CHOICES:_BEFORE_TRIES], rolls[:, _BEFORE_TRIES:].reshape(-1, _TRIES, _TRY_ROLLS)

    def by_branch(texture: float, scar: float) -> Tensor:
        return torch.where(scarred, scar, texture)

    octaves = by_branch(recipe.texture.octaves, recipe.scar.octaves)
    thresholds = by_branch(recipe.texture.threshold, recipe.scar.threshold)
    beta = rolls[:, 1] * by_branch(recipe.texture.most_beta, recipe.scar.most_beta)
    masks = _masks(size, tries, octaves, thresholds)
    content = scar_content(images, rolls[:, 2:_CHOICES], grid)
    (chosen,) = (~scarred).nonzero(as_tuple=True)
    if len(chosen):
        content[chosen] = textures(chosen)
    colourless = ((images.amax(1) - images.amin(1)).amax((1, 2)) < _COLOUR)[:, None, None, None]
    content = torch.where(colourless, content.mean(1, keepdim=True), content)
    beta = beta[:, None, None, None]
    return torch.where(masks[:, None], beta * images + (1 - beta) * content, images), masks


def _masks(size: int, tries: Tensor, octaves: Tensor, thresholds: Tensor) -> Tensor:
    """bool [N, S, S], each of at least LEAST_PIXELS (at 256): the first try that is."""
    least = max(1, math.ceil(LEAST_PIXELS * (size / REFERENCE_SIZE) ** 2))
    masks = torch.zeros((len(tries), size, size), dtype=torch.bool, device=tries.device)
    todo = torch.arange(len(tries), device=tries.device)
    noise = masks.float()
    for turn in range(_TRIES):
        noise = perlin_noise(size, tries[todo, turn], octaves[todo])
        masks[todo] = noise > thresholds[todo, None, None]
        small = masks[todo].flatten(1).sum(1) < least
        todo, noise = todo[small], noise[small]
        if not len(todo):
            return masks
    largest = noise.flatten(1).topk(least, dim=1).indices
    masks[todo] = torch.zeros_like(noise.flatten(1)).scatter(1, largest, 1.0).view_as(noise).bool()
    return masks


def perlin_noise(size: int, rolls: Tensor, octaves: Tensor) -> Tensor:
    """Perlin's gradient noise [N, S, S], mostly in [-1, 1], on lattices of 2^i x 2^j cells.

    ``octaves`` [N]: i and j are uniform in 0..octaves. ``rolls`` [N, 2 + 81] in [0, 1): i and j, then the angles of
    the gradients at the lattice's corners.
    """
    cells = 2.0 ** (rolls[:, :2] * (octaves[:, None] + 1)).floor()
    angles = rolls[:, 2:].reshape(-1, _CORNERS, _CORNERS) * (2 * math.pi)
    gradients = torch.stack([angles.sin(), angles.cos()])
    places = (torch.arange(size, device=rolls.device) + 0.5) / size * cells[:, :, None]  # [N, 2, S]
    corners = places.floor().long()
    offsets = places - corners
    faded = offsets**3 * (offsets * (6 * offsets - 15) + 10)
    images = torch.arange(len(rolls), device=rolls.device)[:, None, None]

    def toward(row: int, column: int) -> Tensor:
        """Dot product of the gradient at a corner of the cell with the way from there, [N, S, S]."""
        found = gradients[:, images, corners[:, 0, :, None] + row, corners[:, 1, None, :] + column]
        return found[0] * (offsets[:, 0, :, None] - row) + found[1] * (offsets[:, 1, None, :] - column)

    down, right = faded[:, 0, :, None], faded[:, 1, None, :]
    upper = torch.lerp(toward(0, 0), toward(0, 1), right)
    lower = torch.lerp(toward(1, 0), toward(1, 1), right)
    return math.sqrt(2) * torch.lerp(upper, lower, down)


def scar_content(images: Tensor, rolls: Tensor, tiles: Tensor) -> Tensor:
    """The images [N, 3, S, S] flipped (each way by half), jittered in colour, and shuffled on a grid of 4 x 8 tiles.

    ``rolls`` [N, 6] in [0, 1): two flips, brightness and the three colours' strengths; ``tiles`` [N, 32]: the order.
    """
    flipped = torch.where(rolls[:, 0, None, None, None] < 0.5, images.flip(-1), images)
    flipped = torch.where(rolls[:, 1, None, None, None] < 0.5, flipped.flip(-2), flipped)
    brightness = 0.8 + 0.4 * rolls[:, 2, None]
    colours = brightness * (0.9 + 0.2 * rolls[:, 3:6])
    jittered = (flipped * colours[:, :, None, None]).clamp(0, 1)
    return shuffled_tiles(jittered, tiles.argsort(dim=1), _SCAR_GRID)


def shuffled_tiles(images: Tensor, order: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images [N, 3, H, W] whose tile t shows what tile ``order[:, t]`` [N, rows x columns] showed.

    Where the tiles do not fill the image, its last rows and columns keep what they showed.
    """
    count, (rows, columns) = len(images), grid
    height, width = images.shape[-2] // rows, images.shape[-1] // columns
    inside = images[:, :, : rows * height, : columns * width].reshape(count, 3, rows, height, columns, width)
    tiles = inside.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, 3, height, width)
    moved = tiles[torch.arange(count, device=images.device)[:, None], order]
    whole = moved.view(count, rows, columns, 3, height, width).permute(0, 3, 1, 4, 2, 5)
    shuffled = images.clone()
    shuffled[:, :, : rows * height, : columns * width] = whole.reshape(count, 3, rows * height, columns * width)
    return shuffled
