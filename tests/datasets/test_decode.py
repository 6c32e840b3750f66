"""Image files as the world writes them; a broken one is named."""

import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from adbench.datasets.decode import read_image, read_mask, resize
from adbench.datasets.errors import RequestError

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)


def saved(folder: Path, image: Image.Image | NDArray[Any], name: str = "x.png", **options: Any) -> Path:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(folder / name, **options)
    return folder / name


def grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


def assert_pixels(path: Path, expected: NDArray[np.uint8], tolerance: int = 0) -> None:
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_colour_and_grey(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    assert_pixels(saved(tmp_path, COLOUR, f"x.{suffix}", **options), COLOUR)
    assert_pixels(saved(tmp_path, grey(RAMP), f"x.{suffix}", **options), grey(RAMP))


def test_16_bit_grey_is_scaled_from_its_full_range(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 257
    assert_pixels(saved(tmp_path, deep), grey(RAMP))
    assert_pixels(saved(tmp_path, deep, "x.tif"), grey(RAMP))
    assert_pixels(saved(tmp_path, np.full((2, 2), 65535, np.uint16)), np.full((2, 2, 3), 255, np.uint8))


def test_float_image_is_scaled_from_0_to_1(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5, 1.0, 2.0, -1.0, np.nan]], np.float32)
    assert_pixels(saved(tmp_path, values, "x.tif"), grey(np.array([[0, 128, 255, 255, 0, 0]], np.uint8)))


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(24)
    assert image.mode == "P"
    assert_pixels(saved(tmp_path, image), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    assert_pixels(saved(tmp_path, red, "x.jpg", quality=95), np.full((8, 16, 3), (255, 0, 0), np.uint8), 6)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    image.putalpha(7)
    expected = np.asarray(Image.fromarray(COLOUR).convert("L" if mode == "LA" else "RGB").convert("RGB"))
    assert_pixels(saved(tmp_path, image), expected)


def test_1_bit(tmp_path: Path) -> None:
    black_and_white = RAMP > 100
    path = saved(tmp_path, black_and_white)
    assert Image.open(path).mode == "1"
    assert_pixels(path, grey(np.where(black_and_white, 255, 0).astype(np.uint8)))
    np.testing.assert_array_equal(read_mask(path), black_and_white)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_pixels(saved(tmp_path, COLOUR, exif=exif), np.rot90(COLOUR, turns))
    mask = saved(tmp_path, RAMP > 100, "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(mask), np.rot90(RAMP > 100, turns))


def test_the_content_counts_and_not_the_extension(tmp_path: Path) -> None:
    saved(tmp_path, COLOUR, "x.bmp").rename(tmp_path / "x.jpg")
    assert_pixels(tmp_path / "x.jpg", COLOUR)


@pytest.mark.parametrize("threshold", [0, 127, 254])
def test_mask_threshold(tmp_path: Path, threshold: int) -> None:
    values = np.array([[0, 1, 127, 128, 254, 255]], np.uint8)
    for image in (values, grey(values)):
        mask = read_mask(saved(tmp_path, image), threshold)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, values > threshold)


def test_a_palette_mask_holds_classes_whatever_their_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0, 128, 0, 0])
    np.testing.assert_array_equal(read_mask(saved(tmp_path, image)), [[False, True, True]])


def test_16_bit_mask(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_mask(saved(tmp_path, np.array([[0, 1, 65535]], np.uint16))), [[False, True, True]]
    )


def intact(kind: str) -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 25, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, dict[str, Any]] = {
        "PNG": {"exif": exif},
        "JPEG": {"exif": exif},
        "TIFF": {"compression": "raw"},
        "WEBP": {"exif": exif},
    }
    buffer = io.BytesIO()
    noise.save(buffer, kind, **options.get(kind, {}))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str, read: Any) -> None:
    whole = intact(kind)
    path = tmp_path / "half image.png"
    for length in (0, 1, 20, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(RequestError, match=r"half image\.png") as caught:
            read(path)
        assert caught.value.remedy


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    for name in ("notes.png", "folder.png", "absent.png"):
        with pytest.raises(RequestError, match=name):
            read_image(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP"]), seed=st.integers(0, 2**32))
def test_damage_anywhere_gives_an_image_or_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    chance = random.Random(seed)
    content = bytearray(intact(kind))
    for _ in range(chance.randrange(1, 6)):
        content[chance.randrange(chance.choice((60, len(content))))] = chance.randrange(256)
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what counts is the outcome.
            pixels = read_image(path)
    except RequestError as error:
        assert "damaged.png" in error.problem
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)


def test_an_error_that_no_one_foresaw_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(image: Image.Image, *, in_place: bool) -> None:
        raise TypeError("'IFDRational' object cannot be interpreted as an integer")

    path = saved(tmp_path, COLOUR)
    monkeypatch.setattr("adbench.datasets.decode.ImageOps.exif_transpose", odd)
    with pytest.raises(RequestError, match=r"x\.png.*IFDRational"):
        read_image(path)


def test_resize_is_antialiased_and_leaves_the_right_size_alone() -> None:
    checks = grey((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert resize(checks, 64) is checks
    small = resize(checks, 16)
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8
    assert np.abs(small.astype(int) - 127).max() < 20
    assert resize(np.zeros((10, 30, 3), np.uint8), 97).shape == (97, 97, 3)
