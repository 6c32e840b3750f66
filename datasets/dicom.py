"""Reading DICOM files (extra ``dicom``): what a radiologist would see, as a Pillow image."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adbench.datasets.errors import RequestError


def is_dicom(content: bytes) -> bool:
    """Whether the content is that of a DICOM file: 128 bytes of anything, then its mark."""
    return content[128:132] == b"DICM"


def first_frame(content: bytes, path: Path, max_pixels: int) -> tuple[Image.Image, int]:
    """The first frame as an 8-bit image, grey ("L") or colour ("RGB"), and the number of frames.

    Grey values are rescaled (modality LUT, or slope and intercept), then mapped to 0-255 through the file's first
    window by the linear function of DICOM PS3.3 C.11.2.1.2; without a window from all that the stored bits can hold.
    MONOCHROME1 is inverted, so that more is brighter. VOI look-up tables and sigmoid windows are not applied. Raises
    RequestError without pydicom; ValueError for palettes and above ``max_pixels``; whatever pydicom raises for a
    broken file.
    """
    try:
        from pydicom import dcmread
        from pydicom.pixels import apply_modality_lut, pixel_array
    except ImportError:
        raise RequestError(
            f"cannot read image {path}: DICOM needs the package pydicom, which is not installed "
            "(pip install 'adbench-vision[dicom]')",
            remedy="pip install 'adbench-vision[dicom]'",
        ) from None
    header = dcmread(io.BytesIO(content))
    if header.Rows * header.Columns > max_pixels:
        raise ValueError(f"{header.Columns}x{header.Rows} pixels, more than {max_pixels} are not read")
    if header.PhotometricInterpretation == "PALETTE COLOR":
        raise ValueError("DICOM with a palette")
    stored = pixel_array(header, index=0)
    frames = int(header.get("NumberOfFrames") or 1)
    if header.SamplesPerPixel > 1:
        return Image.fromarray(_to_8_bit(stored / (2.0**header.BitsStored - 1))), frames
    low = -(2.0 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0.0
    ends = np.array([low, low + 2.0**header.BitsStored - 1])
    values = apply_modality_lut(stored, header).astype(np.float64)
    if window := _window(header):
        unit = (values - (window[0] - 0.5)) / max(window[1] - 1, 1e-6) + 0.5
    else:
        first, last = ends * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))
        unit = (values - first) / (last - first)
    if header.PhotometricInterpretation == "MONOCHROME1":
        unit = 1 - unit
    return Image.fromarray(_to_8_bit(unit)), frames


def _window(header: Any) -> tuple[float, float] | None:
    """Centre and width of the first window."""
    centre, width = header.get("WindowCenter"), header.get("WindowWidth")
    if centre is None or width is None:
        return None
    return float(np.ravel(centre)[0]), float(np.ravel(width)[0])


def _to_8_bit(unit: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (np.clip(unit, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
