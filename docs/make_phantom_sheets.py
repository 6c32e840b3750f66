"""Writes the contact sheets of docs/phantom.md: ``python docs/make_phantom_sheets.py [CATEGORY ...]``.

A row of normal images, then one image of every defect with the outline of its mask.
"""

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from adbench.datasets.base import Sample
from adbench.datasets.phantom import Phantom, PhantomConfig

LABEL, MOST_BYTES = 16, 390_000
OUTLINE = {"industrial": (255, 60, 200), "medical": (255, 210, 0)}


def tile(dataset: Phantom, category: str, sample: Sample, side: int) -> Image.Image:
    """One image, reduced, with a thin outline around its mask and its defect's name underneath."""
    picture = Image.fromarray(dataset.load_image(category, sample)).resize((side, side), Image.Resampling.BOX)
    pixels: NDArray[np.uint8] = np.array(picture)
    mask = dataset.load_mask(category, sample)
    if mask is not None:
        for channel in mask.channels:
            small = np.array(Image.fromarray(channel).resize((side, side), Image.Resampling.NEAREST))
            around = ndimage.binary_dilation(small, iterations=3) & ~ndimage.binary_dilation(small, iterations=2)
            pixels[around] = OUTLINE[dataset.modality(category)]
    labelled = Image.new("RGB", (side, side + LABEL), "white")
    labelled.paste(Image.fromarray(pixels))
    ImageDraw.Draw(labelled).text((3, side + 2), sample.defect_type, fill="black")
    return labelled


def sheet(dataset: Phantom, category: str, side: int) -> Image.Image:
    """The contact sheet of a category: normal images above, one image per defect below."""
    samples = [s for s in dataset.samples(category) if s.role == "test"]
    faulty = {s.defect_type: s for s in reversed(samples) if s.label == 1}
    columns = max(4, len(faulty))
    rows = [[s for s in samples if s.label == 0][:columns], [faulty[name] for name in sorted(faulty)]]
    whole = Image.new("RGB", (columns * (side + 4), len(rows) * (side + LABEL)), "white")
    for row, members in enumerate(rows):
        for column, sample in enumerate(members):
            whole.paste(tile(dataset, category, sample, side), (column * (side + 4), row * (side + LABEL)))
    return whole


def compressed(dataset: Phantom, category: str) -> bytes:
    """The sheet as a PNG of at most ``MOST_BYTES``, with tiles as large as fit."""
    for side in (216, 200, 184, 168, 152, 136, 120):
        buffer = io.BytesIO()
        whole = sheet(dataset, category, side)
        whole.quantize(200, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if len(buffer.getvalue()) <= MOST_BYTES:
            break
    return buffer.getvalue()


def main() -> None:
    dataset = Phantom(PhantomConfig())
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    for category in sys.argv[1:] or dataset.categories():
        (folder / f"phantom-{category}.png").write_bytes(compressed(dataset, category))


if __name__ == "__main__":
    main()
