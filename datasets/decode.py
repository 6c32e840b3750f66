"""Reading image and mask files of the real world: any depth, palette, CMYK, alpha, EXIF rotation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adbench.datasets.errors import RequestError

Pixels = TypeVar("Pixels")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels of a file as uint8 [H, W, 3].

    Grey is repeated over the channels, 16-bit and float images are scaled from their full range (float: [0, 1]),
    alpha is dropped, EXIF rotation applied. Raises RequestError naming a file that cannot be read.
    """
    return _read(path, _to_rgb8)


def read_mask(path: Path, threshold: int = 0) -> NDArray[np.bool_]:
    """A mask file as bool [H, W]: True where the grey value (0-255, or palette index) exceeds ``threshold``.

    16-bit values are compared as they are. Raises RequestError naming a file that cannot be read.
    """
    return np.asarray(read_mask_values(path) > threshold, dtype=np.bool_)


def read_facts(path: Path) -> tuple[int, int, bool]:
    """Height and width of a file's image, and whether it marks nothing as a mask: no value of it is above zero.

    Raises RequestError naming a file that cannot be read.
    """

    def facts(image: Image.Image) -> tuple[int, int, bool]:
        height, width = _to_rgb8(image).shape[:2]
        return height, width, not bool((_mask_values(image) > 0).any())

    return _read(path, facts)


def read_mask_values(path: Path) -> NDArray[Any]:
    """The values of a mask file [H, W]: grey values (0-255; of 16 bits as they are) or palette indices.

    Raises RequestError naming a file that cannot be read.
    """
    return _read(path, _mask_values)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] to [size, size, 3], antialiased bilinear; the aspect ratio is not kept."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """bool [H, W] to [size, size]: True where at least half of the area is; at the fullest place if none is."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    covered = np.asarray(image.resize((size, size), Image.Resampling.BOX))
    return np.asarray(covered >= max(1, min(128, int(covered.max()))))


def _read(path: Path, convert: Callable[[Image.Image], Pixels]) -> Pixels:
    try:
        if path.exists() and not path.is_file():  # A pipe would be waited for.
            raise OSError("it is not a file")
        with Image.open(path) as image:
            image.load()
            return convert(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise RequestError(f"file not found: {path}", remedy="restore the file") from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a broken file.
        raise RequestError(
            f"cannot read image {path}: {error}",
            remedy="replace the file by an intact PNG, JPEG, BMP, TIFF or WebP image, or remove it",
        ) from None


def _mask_values(image: Image.Image) -> NDArray[Any]:
    # In a palette mask the index is the class; its colour may be anything.
    as_it_is = image.mode in ("P", "F") or image.mode.startswith("I")
    return np.asarray(image if as_it_is else image.convert("L"))


def _to_rgb8(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16-bit grey, stored as I;16 or widened to 32 bit
        deep = np.asarray(image).astype(np.float64)
        return _repeat_grey(deep / 65535.0)
    if image.mode == "F":
        return _repeat_grey(np.nan_to_num(np.asarray(image, dtype=np.float64)))
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _repeat_grey(unit: NDArray[np.float64]) -> NDArray[np.uint8]:
    grey = (np.clip(unit, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
