"""Textures: a function of their seed alone, drawn or from files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adbench.datasets.errors import RequestError
from adbench.methods.textures import _read, between, texture_batch, texture_files, uniforms

CPU = torch.device("cpu")


def saved(path: Path, height: int, width: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_numbers_are_a_function_of_seed_and_salt() -> None:
    seeds = torch.tensor([5, 2**61 + 5, 5])
    numbers = uniforms(seeds, 1, 1000)
    assert numbers.shape == (3, 1000) and numbers.min() >= 0 and numbers.max() < 1
    assert torch.equal(numbers[0], numbers[2])
    assert torch.equal(uniforms(seeds[:1], 1, 1000)[0], numbers[0])
    other = uniforms(seeds, 2, 1000)
    assert abs(torch.corrcoef(torch.stack([numbers[0], other[0]]))[0, 1]) < 0.15
    assert uniforms(seeds[:0], 1, 7).shape == (0, 7)


def test_between_by_hand() -> None:
    halves = torch.tensor([0.0, 0.5])
    assert between(halves, 2.0, 8.0).tolist() == [2.0, 5.0]
    assert between(halves, 2.0, 8.0, log=True).tolist() == pytest.approx([2.0, 4.0])


@pytest.mark.parametrize("size", [48, 97])
def test_drawn_textures_depend_on_their_seed_alone(size: int) -> None:
    seeds = torch.arange(12) * 7919 + 2**50
    textures = texture_batch(seeds, size, CPU, None)
    assert textures.shape == (12, 3, size, size) and textures.dtype == torch.float32
    assert textures.isfinite().all() and textures.min() >= 0 and textures.max() <= 1
    torch.testing.assert_close(texture_batch(seeds.flip(0), size, CPU, None).flip(0), textures, atol=1e-4, rtol=0)
    torch.testing.assert_close(texture_batch(seeds[3:4], size, CPU, None)[0], textures[3], atol=1e-4, rtol=0)
    assert torch.equal(texture_batch(seeds, size, CPU, None), textures)
    assert len({float(texture.mean()) for texture in textures}) == 12
    assert texture_batch(seeds[:0], size, CPU, None).shape == (0, 3, size, size)


def test_drawn_textures_are_of_many_kinds() -> None:
    textures = texture_batch(torch.arange(200) + 2**40, 64, CPU, None)
    assert (textures.std(dim=(2, 3)).amax(dim=1) > 0.03).float().mean() > 0.9, "few are flat"
    grey = (textures.amax(dim=1) - textures.amin(dim=1)).mean(dim=(1, 2)) < 0.12
    assert 0.1 < grey.float().mean() < 0.6
    # Fine and coarse: how much neighbours differ, against the texture's spread.
    steps = (textures[..., 1:] - textures[..., :-1]).square().mean(dim=(1, 2, 3)) / textures.var(dim=(1, 2, 3))
    assert steps.quantile(0.1) < 0.05 and steps.quantile(0.9) > 0.5
    assert textures.mean() == pytest.approx(0.5, abs=0.1)


def test_files_of_a_folder_wherever_it_lies(tmp_path: Path) -> None:
    for root in ("a", "b"):
        for name in ("z.png", "dots/x.JPG", "dots/a.png"):
            saved(tmp_path / root / name, 20, 30)
        (tmp_path / root / "readme.txt").write_text("no texture")
        (tmp_path / root / "folder.png").mkdir()
    names = [
        [path.relative_to(tmp_path / root).as_posix() for path in texture_files(tmp_path / root)] for root in "ab"
    ]
    assert names[0] == names[1] == ["dots/a.png", "dots/x.JPG", "z.png"]


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in (("nowhere", "no folder of textures"), ("empty", "no images in the folder")):
        with pytest.raises(RequestError, match=message):
            texture_files(tmp_path / folder)
        with pytest.raises(RequestError, match=message):
            texture_batch(torch.arange(2), 32, CPU, tmp_path / folder)


def test_an_unreadable_texture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(RequestError, match=r"broken\.png"):
        texture_batch(torch.arange(2), 32, CPU, tmp_path)


def test_crops_of_files_depend_on_their_seed_alone(tmp_path: Path) -> None:
    for number in range(4):
        saved(tmp_path / f"{number}.png", 40 + number, 90, seed=number)
    seeds = torch.arange(40) * 31 + 2**45
    textures = texture_batch(seeds, 33, CPU, tmp_path)
    assert textures.shape == (40, 3, 33, 33) and textures.min() >= 0 and textures.max() <= 1
    assert torch.equal(texture_batch(seeds[7:9], 33, CPU, tmp_path), textures[7:9])
    assert len({float(texture.mean()) for texture in textures}) == 40


@pytest.mark.parametrize(
    ("height", "width", "kept"),
    [(600, 900, (512, 768)), (1500, 513, (1497, 512)), (512, 700, (512, 700)), (9, 4, (9, 4))],
)
def test_large_files_are_reduced_in_memory(tmp_path: Path, height: int, width: int, kept: tuple[int, int]) -> None:
    path = saved(tmp_path / "photograph.png", height, width)
    image = _read(path)
    assert image.shape == (3, *kept) and image.dtype == torch.uint8
    _read.cache_clear()
    assert torch.equal(_read(path), image)
    if kept == (height, width):
        assert torch.equal(image, torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1))


def test_a_crop_is_taken_from_the_file(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None]
    Image.fromarray(np.broadcast_to(ramp, (64, 64, 3)).copy()).save(tmp_path / "ramp.png")
    textures = texture_batch(torch.arange(30), 32, CPU, tmp_path)
    assert torch.equal(textures[:, 0], textures[:, 2]), "grey stays grey"
    # Along one side it is constant, along the other it rises or falls by the crop's share of the file.
    rise = torch.maximum(
        (textures[:, 0, :, -1] - textures[:, 0, :, 0]).abs().mean(1),
        (textures[:, 0, -1] - textures[:, 0, 0]).abs().mean(1),
    )
    assert rise.min() > 0.4 and rise.max() <= 1.0
    falls = textures[:, 0, 0, 0] > textures[:, 0, -1, -1]
    assert 0 < falls.float().mean() < 1, "turned or mirrored"
