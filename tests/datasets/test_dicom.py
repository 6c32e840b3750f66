"""DICOM files, written here in each form, read as exact pixels."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adbench.datasets.decode import decode_image, read_image
from adbench.datasets.errors import RequestError

STORED = np.array([[0, 100, 200], [300, 1000, 4095]], np.uint16)


def dicom(stored: NDArray[Any], **tags: Any) -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="pip install 'adbench-vision[dicom]'")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    colour = stored.ndim == 3 and "NumberOfFrames" not in tags
    header.Rows, header.Columns = stored.shape[:2] if colour else stored.shape[-2:]
    header.SamplesPerPixel = 3 if colour else 1
    header.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    header.BitsAllocated = 8 * stored.dtype.itemsize
    header.BitsStored = 12 if stored.dtype.itemsize == 2 else 8
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    if colour:
        header.PlanarConfiguration = 0
    header.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    for name, value in tags.items():
        setattr(header, name, value)
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(content: bytes) -> NDArray[np.uint8]:
    pixels = decode_image(content, Path("x.dcm")).pixels()
    assert (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    return pixels[..., 0]


def test_without_a_window_all_that_the_stored_bits_hold_is_shown() -> None:
    assert read(dicom(STORED)).tolist() == [[0, 6, 12], [19, 62, 255]]
    signed = np.array([[-2048, 0, 2047]], np.int16)
    assert read(dicom(signed)).tolist() == [[0, 128, 255]]
    assert read(dicom(np.array([[0, 1, 255]], np.uint8))).tolist() == [[0, 1, 255]]


def test_slope_and_intercept_without_a_window_change_nothing() -> None:
    assert read(dicom(STORED, RescaleSlope=2, RescaleIntercept=-1000)).tolist() == read(dicom(STORED)).tolist()


def test_a_window_is_one_of_rescaled_values() -> None:
    """PS3.3 C.11.2.1.2: of centre 100.5 and width 201, 0 is black, 200 is white, 100 in the middle."""
    window = {"WindowCenter": 100.5, "WindowWidth": 201}
    assert read(dicom(STORED, **window)).tolist() == [[0, 128, 255], [255, 255, 255]]
    rescaled = read(dicom(STORED, RescaleSlope=2, RescaleIntercept=-200, **window))
    assert rescaled.tolist() == [[0, 0, 255], [255, 255, 255]]
    several = {"WindowCenter": [100.5, 2000], "WindowWidth": [201, 4000]}
    assert read(dicom(STORED, **several)).tolist() == [[0, 128, 255], [255, 255, 255]]


def test_monochrome1_is_inverted() -> None:
    assert read(dicom(STORED, PhotometricInterpretation="MONOCHROME1")).tolist() == [[255, 249, 243], [236, 193, 0]]


def test_the_first_of_several_frames() -> None:
    frames = np.stack([STORED, STORED[::-1]])
    content = dicom(frames, NumberOfFrames=2)
    assert read(content).tolist() == read(dicom(STORED)).tolist()
    assert decode_image(content, Path("x.dcm")).frames == 2


def test_colour() -> None:
    values = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(decode_image(dicom(values), Path("x.dcm")).pixels(), values)


def test_broken_ones_are_named(tmp_path: Path) -> None:
    whole = dicom(STORED)
    path = tmp_path / "scan.dcm"
    for content in (whole[:200], whole[:-4], dicom(STORED, Rows=40000, Columns=40000)):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"scan\.dcm"):
            read_image(path)


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    path = tmp_path / "scan.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(RequestError, match=r"scan\.dcm.*pip install 'adbench-vision\[dicom\]'"):
        read_image(path)
