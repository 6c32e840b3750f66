"""Reading image and mask files of the real world: any depth, palette, CMYK, alpha, EXIF rotation, DICOM."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from adbench.datasets.dicom import first_frame, is_dicom
from adbench.datasets.errors import RequestError

Read = TypeVar("Read")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""What Pillow may read: no format among them runs programs or opens other files."""

MAX_PIXELS = 2**28
"""Images of more pixels (over 16384 x 16384) are refused: a small file can claim any size and fill the memory."""

# Files are measured against MAX_PIXELS here, each with an error that names it; Pillow's own limit, lower and for the
# whole process, would print warnings that name none.
Image.MAX_IMAGE_PIXELS = None

_PHOTOMETRIC = 262  # Tag of TIFF.
_KINDS = "an intact PNG, JPEG, BMP, TIFF, WebP, GIF or DICOM image"


@dataclass(frozen=True, slots=True)
class Picture:
    """What a file shows: ``image``, 8 bits deep, grey ("L") or colour ("RGB"). ``unmarked``: as a mask it marks
    nothing. ``frames`` is the number of images in the file, of which this is the first."""

    image: Image.Image
    unmarked: bool
    frames: int

    def pixels(self, size: int | None = None) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], or as ``resize`` makes that [size, size, 3]; quicker, for a grey image has one channel."""
        image = _resized(self.image, size) if size else self.image
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels of a file as uint8 [H, W, 3], whatever its suffix: the content tells the format.

    Grey is repeated over the channels. 16-bit and float grey is scaled from its full range (float: [0, 1]) and
    rounded; of 16-bit colour, and grey with alpha, the upper eight bits are taken, for Pillow holds no more. Alpha is
    dropped, EXIF rotation applied, a palette becomes its colours. Of several pages or frames the first is read.
    Raises RequestError naming a file that cannot be read or has more than MAX_PIXELS.
    """
    return decode_image(_content(path), path).pixels()


def read_mask(path: Path, threshold: int = 0) -> NDArray[np.bool_]:
    """A mask file as bool [H, W]: True where the grey value (0-255, or palette index) exceeds ``threshold``.

    16-bit grey values are compared as they are; what is transparent is as dark as it is transparent. Raises
    RequestError naming a file that cannot be read.
    """
    return np.asarray(read_mask_values(path) > threshold, dtype=np.bool_)


def read_mask_values(path: Path) -> NDArray[Any]:
    """The values of a mask file [H, W]: grey values (0-255; of 16 bits as they are) or palette indices.

    Raises RequestError naming a file that cannot be read.
    """
    return _decoded(_content(path), path, lambda image, _: _mask_values(image))


def decode_image(content: bytes, path: Path) -> Picture:
    """What ``read_image`` reads, of a file's content; ``path`` is named in errors."""

    def picture(image: Image.Image, frames: int) -> Picture:
        eight_bit = image if image.mode in ("RGB", "L") else _to_8_bit(image)
        return Picture(eight_bit, _is_unmarked(image), frames)

    return _decoded(content, path, picture)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] to [size, size, 3], antialiased bilinear; the aspect ratio is not kept."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(_resized(Image.fromarray(image), size))


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """bool [H, W] to [size, size]: True where at least half of the area is; at the fullest place if none is."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    covered = np.asarray(image.resize((size, size), Image.Resampling.BOX))
    return np.asarray(covered >= max(1, min(128, int(covered.max()))))


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # Such as a pipe, which would be waited for.
        raise _unreadable(path, "it is not a file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"file not found: {path}", remedy="restore the file") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or os.strerror(error.errno or 0)) from None


def _decoded(content: bytes, path: Path, convert: Callable[[Image.Image, int], Read]) -> Read:
    try:
        if is_dicom(content):
            return convert(*first_frame(content, path, MAX_PIXELS))
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _unreadable(path, f"{image.width}x{image.height} pixels, more than {MAX_PIXELS} are not read")
            # Phones put previews behind a photo (MPO): they are no images of their own.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return convert(image, frames)
    except RequestError:
        raise
    except UnidentifiedImageError:
        why = "its beginning is broken, or it is no image of a known kind" if content else "it is empty"
        raise _unreadable(path, why) from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a broken file.
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, why: str) -> RequestError:
    return RequestError(f"cannot read image {path}: {why}", remedy=f"replace the file by {_KINDS}, or remove it")


def _resized(image: Image.Image, size: int) -> Image.Image:
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey ("L") or colour ("RGB"); the image itself stays as it is."""
    if image.mode.startswith("I"):  # 16-bit grey, stored as I;16 or widened to 32 bit
        return _grey(_deep(image).astype(np.float64) / 65535.0)
    if image.mode == "F":
        return _grey(np.nan_to_num(np.asarray(image, dtype=np.float64)))
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Adobe alone stores inks inverted; Pillow takes every file for Adobe's.
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Directly to RGB, Pillow would warn of the alpha that is dropped.
    return image.convert("RGB")


def _mask_values(image: Image.Image) -> NDArray[Any]:
    """[H, W]: grey, or palette index: in a palette mask the index is the class, its colour may be anything."""
    if image.mode.startswith("I"):
        return _deep(image)
    if image.mode in ("P", "F"):
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(ImageChops.multiply(image.convert("L"), image.getchannel("A")))
    return np.asarray(image.convert("L"))


def _is_unmarked(image: Image.Image) -> bool:
    """Whether no mask value is above zero."""
    if image.mode in ("RGB", "L") and not image.has_transparency_data:  # What is right for all takes much longer.
        if image.crop((0, 0, 1, 1)).convert("L").getbbox():  # Most photographs show it here, and need no second look.
            return False
        return image.convert("L").getbbox() is None
    return not (_mask_values(image) > 0).any()


def _deep(image: Image.Image) -> NDArray[Any]:
    """Values of 16-bit grey. Where a TIFF says that zero is white, Pillow inverts 8-bit values alone."""
    values = np.asarray(image)
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC, 1) == 0
    return 65535 - values if white_is_zero and values.dtype == np.uint16 else values


def _grey(unit: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray((np.clip(unit, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
