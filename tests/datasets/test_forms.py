"""Every form in which images and masks are stored, written byte by byte where Pillow cannot, read as exact pixels."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from adbench.datasets import decode
from adbench.datasets.decode import decode_image, read_image, read_mask, resize
from adbench.datasets.errors import RequestError

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)
ALPHA = np.where(RAMP > 100, 255, 0).astype(np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (4, 6, 4))
ROUNDED = ((DEEP * 255 + 32767) // 65535).astype(np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: ArrayLike, colour: int, depth: int = 8, size: tuple[int, int] | None = None) -> bytes:
    """``colour``: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""
    array = np.asarray(values)
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in array)
    width, height = size or (array.shape[1], array.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def written(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def palette(*, transparency: int | bytes | None = None) -> bytes:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6), "P")
    image.putpalette(COLOUR.reshape(-1).tolist())
    return written(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(COLOUR, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


def cmyk_jpeg(*, adobe: bool) -> bytes:
    """16x8 pixels of the inks (0, 255, 255, 0), as Adobe stores them, inverted, or as others do."""
    inks = (0, 255, 255, 0) if adobe else (255, 0, 0, 255)
    content = written(Image.new("CMYK", (16, 8), inks), "JPEG", quality=95)
    if adobe:
        return content
    start = content.index(b"\xff\xee")
    return content[:start] + content[start + 2 + struct.unpack(">H", content[start + 2 : start + 4])[0] :]


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


FORMS: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "PNG grey": (png(RAMP, 0), grey(RAMP)),
    "PNG grey and alpha": (png(np.stack([RAMP, ALPHA], 2), 4), grey(RAMP)),
    "PNG RGB": (png(COLOUR, 2), COLOUR),
    "PNG RGBA": (png(np.dstack([COLOUR, ALPHA]), 6), COLOUR),
    "PNG 16-bit grey": (png(DEEP[..., 0], 0, 16), grey(ROUNDED[..., 0])),
    "PNG 16-bit RGB": (png(DEEP[..., :3], 2, 16), (DEEP[..., :3] >> 8).astype(np.uint8)),
    "PNG 16-bit grey and alpha": (png(DEEP[..., :2], 4, 16), grey(DEEP[..., 0] >> 8)),
    "PNG 16-bit RGBA": (png(DEEP, 6, 16), (DEEP[..., :3] >> 8).astype(np.uint8)),
    "PNG 1-bit": (written(RAMP > 100, "PNG"), grey(ALPHA)),
    "PNG palette": (palette(), COLOUR),
    "PNG palette, a transparent colour": (palette(transparency=3), COLOUR),
    "PNG palette, alpha of each colour": (palette(transparency=bytes(range(24))), COLOUR),
    "PNG turned by EXIF": (turned("PNG"), np.rot90(COLOUR, 3)),
    "WebP turned by EXIF": (turned("WEBP"), np.rot90(COLOUR, 3)),
    "TIFF turned by EXIF": (turned("TIFF"), np.rot90(COLOUR, 3)),
    "BMP": (written(COLOUR, "BMP"), COLOUR),
    "BMP grey": (written(RAMP, "BMP"), grey(RAMP)),
    "GIF": (written(RAMP, "GIF"), grey(RAMP)),
    "WebP": (written(COLOUR, "WEBP", lossless=True), COLOUR),
    "TIFF": (written(COLOUR, "TIFF"), COLOUR),
    "TIFF, LZW": (written(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR),
    "TIFF 16-bit, LZW": (
        written(DEEP[..., 0].astype(np.uint16), "TIFF", compression="tiff_lzw"),
        grey(ROUNDED[..., 0]),
    ),
    "TIFF 16-bit, zero is white": (
        written(DEEP[..., 0].astype(np.uint16), "TIFF", tiffinfo={262: 0}),
        grey(255 - ROUNDED[..., 0]),
    ),
    "TIFF float": (written((RAMP / 255).astype(np.float32), "TIFF"), grey(RAMP)),
    "TIFF of two pages": (
        written(RAMP, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
        grey(RAMP),
    ),
    "GIF of two frames": (
        written(RAMP, "GIF", save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
        grey(RAMP),
    ),
    "TIFF CMYK": (
        written(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "TIFF"),
        np.full((4, 6, 3), (255, 0, 0), np.uint8),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["x.png", "wrong suffix.jpg"])
def test_a_form_is_read_as_its_exact_pixels_whatever_the_suffix(tmp_path: Path, form: str, name: str) -> None:
    content, expected = FORMS[form]
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_image(tmp_path / name)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_quick_way_to_a_size_gives_the_same_bits(form: str) -> None:
    content, _ = FORMS[form]
    picture = decode_image(content, Path("x"))
    np.testing.assert_array_equal(picture.pixels(3), resize(picture.pixels(), 3))
    assert picture.frames == (2 if " of two " in form else 1) and not picture.unmarked


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpeg_is_inverted_where_adobe_says_so(tmp_path: Path, adobe: bool) -> None:
    (tmp_path / "x.jpg").write_bytes(cmyk_jpeg(adobe=adobe))
    pixels = read_image(tmp_path / "x.jpg")
    assert pixels.shape == (8, 16, 3) and np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 6


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    flat = Image.new("RGB", (20, 10), (200, 80, 30)).convert(mode)
    (tmp_path / "x.png").write_bytes(written(flat, "JPEG", quality=95))
    expected = np.asarray(flat.convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "x.png") - expected).max() <= 3


INDEX = np.array([[0, 1, 2]], np.uint8)
CLASSES = Image.fromarray(INDEX, "P")
CLASSES.putpalette([255, 255, 255, 0, 0, 0, 128, 0, 0])
MASKS: dict[str, bytes] = {
    "palette index": written(CLASSES, "PNG"),
    "palette with transparency": written(CLASSES, "PNG", transparency=1),
    "GIF": written(CLASSES, "GIF"),
    "16-bit": png([[0, 1, 65535]], 0, 16),
    "16-bit TIFF": written(np.array([[0, 1, 65535]], np.uint16), "TIFF"),
    "float": written(np.array([[0.0, 0.001, 1.0]], np.float32), "TIFF"),
    "1-bit": written(INDEX > 0, "PNG"),
    "RGB": written(np.array([[[0, 0, 0], [0, 255, 0], [255, 255, 255]]], np.uint8), "PNG"),
    "opaque": png([[[0, 255], [1, 255], [255, 255]]], 4),
    "white, transparent where normal": png([[[255, 0], [255, 1], [255, 255]]], 4),
    "white RGBA, transparent where normal": png([[[255, 255, 255, alpha] for alpha in (0, 1, 255)]], 6),
    "BMP": written(INDEX, "BMP"),
}


@pytest.mark.parametrize("form", MASKS)
def test_masks(tmp_path: Path, form: str) -> None:
    (tmp_path / "m.png").write_bytes(MASKS[form])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), [[False, True, True]])


@pytest.mark.parametrize(
    ("content", "unmarked"),
    [
        (png([[0, 0]], 0, 16), True),
        (png([[0, 1]], 0, 16), False),
        (written(Image.new("P", (2, 1), 1), "PNG"), False),
        (png([[[0, 255]]], 4), True),
        (png([[[255, 0]]], 4), True),
        (png([[0, 0]], 0), True),
        (png([[[0, 0, 0], [0, 0, 9]]], 2), False),
    ],
)
def test_unmarked_is_what_no_mask_pixel_exceeds(tmp_path: Path, content: bytes, unmarked: bool) -> None:
    (tmp_path / "m.png").write_bytes(content)
    assert decode_image(content, tmp_path).unmarked == unmarked == (not read_mask(tmp_path / "m.png").any())


def test_a_size_that_fills_the_memory_is_refused_without_decoding(tmp_path: Path) -> None:
    for width, height in ((16385, 16384), (2**31 - 1, 1)):
        (tmp_path / "bomb.png").write_bytes(png([[0]], 0, size=(width, height)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RequestError, match=rf"bomb\.png: {width}x{height} pixels, more than 268435456"):
                read_image(tmp_path / "bomb.png")


def test_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 24)
    (tmp_path / "x.png").write_bytes(png(RAMP, 0))
    assert read_image(tmp_path / "x.png").shape == (4, 6, 3)
    monkeypatch.setattr(decode, "MAX_PIXELS", 23)
    with pytest.raises(RequestError, match="6x4 pixels, more than 23"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(("size", "why"), [((0, 4), "known kind"), ((4, 0), "known kind")])
def test_an_image_without_pixels_is_named(tmp_path: Path, size: tuple[int, int], why: str) -> None:
    (tmp_path / "flat.png").write_bytes(png([[0]], 0, size=size))
    with pytest.raises(RequestError, match=rf"flat\.png: .*{why}"):
        read_image(tmp_path / "flat.png")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(RequestError, match=r"x\.png: it is empty"):
        read_image(tmp_path / "x.png")


def test_what_would_run_a_program_is_not_read(tmp_path: Path) -> None:
    """Pillow hands PostScript to Ghostscript."""
    Image.fromarray(COLOUR).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    with pytest.raises(RequestError, match="no image of a known kind"):
        read_image(tmp_path / "x.png")
