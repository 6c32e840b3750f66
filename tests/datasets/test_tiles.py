"""Huge images in tiles: nothing lost, nothing twice, labels by the masks, no image in two splits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adbench.datasets.base import ROLES, Dataset, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import choose_labelled, make_split
from miniatures import ON_DISK

Write = Callable[..., Path]
TILE = 16
"""Miniatures of 24 x 32 pixels become four tiles of 12 x 16."""
WITH_MASKS = [
    case
    for case in ON_DISK
    if case.startswith(
        ("mvtec_ad", "mpdd", "btad", "kolektor", "visa", "real_iad", "brats", "folder as", "folder with")
    )
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return {case: ON_DISK[case][2](tmp_path_factory.mktemp("any") / "data") for case in WITH_MASKS}


def opened(case: str, root: Path, **params: Any) -> Dataset:
    name, own, _ = ON_DISK[case]
    return open_dataset(name, {"root": str(root), **own, **params})


def image_of(tile: Sample) -> str:
    return tile.image_id.rpartition("/")[0]


def corner(tile: Sample) -> tuple[int, int]:
    top, left = tile.image_id.rpartition("/")[2].removeprefix("y").split("x")
    return int(top), int(left)


@pytest.mark.parametrize("case", WITH_MASKS)
def test_tiles_make_up_the_image_and_its_mask(case: str, roots: Mapping[str, Path]) -> None:
    whole, tiled = opened(case, roots[case]), opened(case, roots[case], tile=TILE)
    assert tiled.categories() == whole.categories()
    for category in whole.categories():
        tiles = tiled.samples(category)
        assert [tile.image_id for tile in tiles] == sorted({tile.image_id for tile in tiles})
        assert tiled.verify(category) == [] and tiled.has_masks(category)
        assert "TILES: every image is a tile of at most 16 pixels a side" in tiled.notes(category)
        others = (whole, opened(case, roots[case], tile=17))
        assert tiled.fingerprint(category) not in [other.fingerprint(category) for other in others]
        for sample in whole.samples(category):
            own = [tile for tile in tiles if image_of(tile) == sample.image_id]
            assert len(own) == 4 and {tile.role for tile in own} == {sample.role}
            pixels, truth = whole.load_image(category, sample), whole.load_mask(category, sample)
            union = np.zeros(pixels.shape[:2], np.bool_) if truth is None else truth.union
            seen = np.zeros(pixels.shape[:2], np.int64)
            for tile in own:
                (top, left), (height, width) = corner(tile), tiled.image_size(category, tile)
                place = (slice(top, top + height), slice(left, left + width))
                np.testing.assert_array_equal(tiled.load_image(category, tile), pixels[place])
                mask = tiled.load_mask(category, tile)
                np.testing.assert_array_equal(np.zeros((height, width)) if mask is None else mask.union, union[place])
                assert tile.label == int(union[place].any()) and (mask is None) == (tile.label == 0)
                assert tile.defect_type == (sample.defect_type if tile.label else "good")
                seen[place] += 1
            assert (seen == 1).all()


@pytest.mark.parametrize("case", WITH_MASKS)
def test_all_tiles_of_an_image_are_in_one_split(case: str, roots: Mapping[str, Path]) -> None:
    tiled = opened(case, roots[case], tile=TILE)

    @settings(max_examples=10)
    @given(seed=st.integers(0, 2**31))
    def check(seed: int) -> None:
        for category in tiled.categories():
            split = make_split(tiled.samples(category), category, seed, tiled.split_rule())
            split = choose_labelled(split, 0.2, 0, category, seed)
            assert all(tile.label == 0 for tile in split.train) and all(tile.label for tile in split.labelled)
            sides = [{tile.group for tile in split.of(role)} for role in ROLES]
            if tiled.split_rule().train_on_labelled_groups:
                sides[:2] = [sides[0] | sides[1]]
            assert sum(map(len, sides)) == len(set().union(*sides))

    check()


def test_sizes_that_the_tile_does_not_divide(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", size=(70, 33))
    tiled = open_dataset("folder", {"root": str(base), "tile": 32})
    sizes = [tiled.image_size("c", tile) for tile in tiled.samples("c") if image_of(tile) == "train/good/000.png"]
    assert sizes == [(23, 16), (23, 17), (23, 16), (23, 17), (24, 16), (24, 17)]
    whole = open_dataset("folder", {"root": str(base), "tile": 70})
    assert len(whole.samples("c")) == len(list(base.rglob("[0-9]*.png"))) - len(list(base.rglob("*_mask.png")))


def test_an_anomaly_of_unknown_place_is_left_out_and_told(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", labelled={"blob": 1}, defects={"blob": 2})
    Image.new("1", (32, 24)).save(base / "ground_truth" / "blob" / "000_mask.png")
    tiled = open_dataset("folder", {"root": str(base), "tile": 16})
    assert {image_of(tile) for tile in tiled.samples("c") if tile.label} == {"test/blob/001.png"}
    assert not any("blob/000.png" in tile.image_id for tile in tiled.samples("c"))
    assert tiled.notes("c")[-1].startswith(
        "2 anomalous image(s) in which no mask marks anything are left out, such as"
    )
    assert tiled.verify("c") == []
    (base / "ground_truth" / "blob" / "001_mask.png").unlink()
    (problem,) = open_dataset("folder", {"root": str(base), "tile": 16}).verify("c")
    assert "anomalous image without a mask" in problem and "001.png" in problem


def test_without_masks_or_with_saturation_nothing_is_cut(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", masks=False)
    (problem,) = open_dataset("folder", {"root": str(base), "tile": 16}).verify("c")
    assert "has no masks, which would say what tiles are anomalous: leave dataset.tile away" in problem
    loco = ON_DISK["mvtec_loco"][2](tmp_path / "loco")
    with pytest.raises(RequestError, match=r"dataset\.tile=16 cannot be used with 'mvtec_loco'"):
        open_dataset("mvtec_loco", {"root": str(loco), "tile": 16})
    with pytest.raises(RequestError, match=r"dataset\.tile=8 is not allowed"):
        open_dataset("folder", {"root": str(base), "tile": 8})
