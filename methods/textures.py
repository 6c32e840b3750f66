"""Textures that have nothing to do with the data: drawn (noise, several octaves, stripes, checks), or from files."""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from adbench.datasets.decode import IMAGE_SUFFIXES, read_image
from adbench.datasets.errors import RequestError

_SALT = 0x7E87
_OCTAVES = 4
_KNOTS = 32
_KINDS = 4
_SHAPE = 22
"""Numbers drawn for a texture besides its lattice of noise."""
_FILES_IN_MEMORY = 256
_SHORTER_SIDE = 512
"""Pixels, at most, of the shorter side of a file in memory: photographs at full size would take gigabytes."""


def uniforms(seeds: Tensor, salt: int, count: int) -> Tensor:
    """float32 [N, count] on the CPU, uniform in [0, 1): a row is a function of (seed, salt) alone.

    Another ``salt`` gives independent numbers for the same seeds (int64 [N]).
    """
    generator = torch.Generator()
    rows = [torch.rand(count, generator=generator.manual_seed(seed ^ salt)) for seed in seeds.tolist()]
    return torch.stack(rows) if rows else torch.empty(0, count)


def between(values: Tensor, low: float, high: float, log: bool = False) -> Tensor:
    """Uniform numbers in [0, 1) brought to [low, high); ``log``: uniform in the logarithm."""
    if log:
        return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * values)
    return low + (high - low) * values


def texture_batch(seeds: Tensor, size: int, device: torch.device, folder: Path | None) -> Tensor:
    """Textures [N, 3, size, size] in [0, 1], one for each of the ``seeds`` (int64 [N]) and a function of it alone.

    From random crops of the images in ``folder`` (such as the Describable Textures Dataset) or, without one, drawn.
    Raises RequestError for a folder without images and for an image that cannot be read.
    """
    if folder is None:
        return _drawn(seeds, size, device)
    return _cropped(seeds, size, folder).to(device)


def texture_files(folder: Path) -> tuple[Path, ...]:
    """The image files of a folder and its subfolders, in an order that does not depend on where it lies.

    Raises RequestError if it does not exist or holds none.
    """
    if not folder.is_dir():
        raise RequestError(
            f"no folder of textures: {folder}", remedy="give a folder of images, or null for drawn ones"
        )
    files = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not files:
        raise RequestError(
            f"no images in the folder of textures {folder}",
            allowed=", ".join(sorted(IMAGE_SUFFIXES)),
            remedy="fill it, or give null for drawn textures",
        )
    return tuple(sorted(files, key=lambda path: path.relative_to(folder).as_posix()))


def _drawn(seeds: Tensor, size: int, device: torch.device) -> Tensor:
    """A quarter each of noise, multi-octave noise, stripes and checks; in grey or between two colours."""
    count, knots = len(seeds), _KNOTS * _KNOTS
    drawn = uniforms(seeds, _SALT, _SHAPE + 2 * knots).to(device)
    lattice = drawn[:, _SHAPE:].reshape(count, 2, _KNOTS, _KNOTS)
    kind, turn, base, frequency, ratio, sharp, gain, octave, wobble, contrast, grey = drawn[
        :, :11, None, None
    ].unbind(1)
    kind = (kind * _KINDS).long()
    y, x = _turned_grid(size, 2 * math.pi * turn)

    single = functional.one_hot((octave * _OCTAVES).long().flatten(), _OCTAVES).float()
    falling = between(gain.flatten(1), 0.4, 0.9) ** torch.arange(_OCTAVES, device=device)
    noise, other = _noise(
        lattice, y, x, between(base, 2, 16, log=True), torch.where(kind[:, 0] == 0, single, falling)
    )

    pi_cells = 2 * math.pi * between(frequency, 2, size / 5, log=True)
    bend = between(wobble, 0, 4) * noise
    across = torch.sin(pi_cells * x + bend)
    along = torch.sin(pi_cells * between(ratio, 0.5, 2, log=True) * y + bend)
    wave = torch.where(kind == 2, across, across * along)
    hardness = between(sharp, 1, 12, log=True)
    wave = torch.tanh(hardness * wave) / torch.tanh(hardness) + 0.2 * other
    tone = torch.where(kind < 2, between(contrast, 0.6, 2.0) * noise, wave)

    colours = drawn[:, 11:20].reshape(count, 3, 3)
    colours = torch.where(grey < 0.3, colours[..., :1], colours)
    first, second, third = colours[..., None, None].unbind(1)  # Each [N, 3, 1, 1].
    mixed = first + (second - first) * (0.5 + 0.5 * tone[:, None]) + 0.3 * (third - 0.5) * other[:, None]
    return mixed.clamp(0, 1)


def _turned_grid(size: int, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres y, x [N, size, size] about the middle, in image sides, turned by ``angle`` [N, 1, 1]."""
    centres = (torch.arange(size, device=angle.device) + 0.5) / size - 0.5
    y, x = centres[:, None], centres[None, :]
    return angle.cos() * y - angle.sin() * x, angle.sin() * y + angle.cos() * x


def _noise(lattice: Tensor, y: Tensor, x: Tensor, cells: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Two fields [N, S, S] of about zero mean and unit deviation from lattices [N, 2, K, K] of uniform numbers.

    ``cells`` [N, 1, 1] lie along the image's side in the first octave; ``weights`` [N, octaves].
    """
    weights = weights / weights.square().sum(dim=1, keepdim=True).sqrt()
    scale = 2 * cells / (_KNOTS - 1)
    total = torch.zeros(2, *y.shape, device=y.device)
    for octave in range(_OCTAVES):
        # Shifted, so that no place is the middle of all octaves.
        grid = torch.stack([x * scale + 0.37 * octave, y * scale - 0.21 * octave], dim=-1)
        found = functional.grid_sample(lattice, grid, padding_mode="reflection", align_corners=True)
        total += weights[:, octave, None, None] * (found - 0.5).transpose(0, 1)
        scale = 2 * scale
    # Uniform numbers have a variance of 1/12, of which bilinear interpolation leaves 4/9.
    total = total * math.sqrt(12 * 9 / 4)
    return total[0], total[1]


def _cropped(seeds: Tensor, size: int, folder: Path) -> Tensor:
    """A square crop of half to all of the shorter side of a file for each seed, turned and mirrored at random."""
    files = _listed(folder)
    textures = torch.empty(len(seeds), 3, size, size)
    for row, numbers in enumerate(uniforms(seeds, _SALT, 6)):
        which, share, down, right, quarter, mirror = numbers.tolist()
        image = _read(files[int(which * len(files))])
        side = max(1, round(between(torch.tensor(share), 0.5, 1.0).item() * min(image.shape[1:])))
        top, left = int(down * (image.shape[1] - side + 1)), int(right * (image.shape[2] - side + 1))
        crop = torch.rot90(image[:, top : top + side, left : left + side], int(quarter * 4), (1, 2))
        crop = crop.flip(2) if mirror < 0.5 else crop
        resized = functional.interpolate(crop[None].float() / 255, (size, size), mode="bilinear", antialias=True)
        textures[row] = resized[0].clamp(0, 1)
    return textures


@functools.cache
def _listed(folder: Path) -> tuple[Path, ...]:
    return texture_files(folder)


@functools.lru_cache(maxsize=_FILES_IN_MEMORY)
def _read(path: Path) -> Tensor:
    """uint8 [3, H, W], reduced to a shorter side of at most ``_SHORTER_SIDE``."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    factor = _SHORTER_SIDE / min(height, width)
    if factor < 1:
        reduced = (round(factor * width), round(factor * height))
        pixels = np.asarray(Image.fromarray(pixels).resize(reduced, Image.Resampling.BILINEAR))
    return torch.tensor(pixels).permute(2, 0, 1).contiguous()
