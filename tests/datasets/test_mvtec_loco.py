"""MVTec LOCO: a channel and a saturation for each defect, and a configuration that may be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.benchmark_suites.spro import spro_metrics
from adbench.datasets.base import Sample, Saturation
from adbench.datasets.errors import RequestError
from adbench.datasets.mvtec_loco import MvtecLoco
from adbench.datasets.registry import open_dataset
from mini_mvtec import LOCO_DEFECTS
from miniatures import MINIATURES

CATEGORY = "pushpins"
LOGICAL, STRUCTURAL = "test/logical_anomalies", "test/structural_anomalies"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of one category."""
    return MINIATURES["mvtec_loco"](tmp_path) / CATEGORY


def opened(base: Path) -> MvtecLoco:
    dataset = open_dataset("mvtec_loco", {"root": str(base.parent)})
    assert isinstance(dataset, MvtecLoco)
    return dataset


def sample(dataset: MvtecLoco, image_id: str) -> Sample:
    return {known.image_id: known for known in dataset.samples(CATEGORY)}[image_id]


def test_each_defect_file_is_a_channel_with_its_saturation(base: Path) -> None:
    dataset = opened(base)
    pin, extra, scratch = Saturation(12, False), Saturation(1.0, True), Saturation(0.5, True)
    expected = {
        f"{LOGICAL}/000.png": (pin,),
        f"{LOGICAL}/001.png": (pin, extra),
        f"{STRUCTURAL}/000.png": (scratch,),
        f"{STRUCTURAL}/001.png": (scratch, scratch),
    }
    for image_id, saturation in expected.items():
        mask = dataset.load_mask(CATEGORY, sample(dataset, image_id))
        assert mask is not None and mask.saturation == saturation
        assert mask.channels.shape == (len(saturation), 24, 32)
        folder = base / image_id.replace("test", "ground_truth", 1).removesuffix(".png")
        for index, channel in enumerate(mask.channels):
            np.testing.assert_array_equal(channel, np.asarray(Image.open(folder / f"{index:03d}.png")) > 0)
    assert dataset.saturation_defined(CATEGORY) and dataset.verify(CATEGORY) == []


def test_spro_reaches_one_where_each_defect_is_found_to_its_saturation(base: Path) -> None:
    dataset = opened(base)
    maps, channels, saturations, kinds = [], [], [], []
    for known in dataset.samples(CATEGORY):
        if known.role != "test":
            continue
        mask = dataset.load_mask(CATEGORY, known)
        found = np.zeros((24, 32), np.float32)
        areas: list[int] = []
        if mask is not None:
            areas = [int(channel.sum()) for channel in mask.channels]
            for channel, saturation, area in zip(mask.channels, mask.saturation, areas, strict=True):
                needed = np.flatnonzero(channel)[: saturation.pixels(area)]
                found.flat[needed] = 1
        maps.append(found)
        channels.append(mask.channels if mask else np.zeros((0, 24, 32), np.bool_))
        saturations.append(
            [saturation.pixels(area) for saturation, area in zip(mask.saturation, areas, strict=True)] if mask else []
        )
        kinds.append(known.kind)
    assert set(kinds) == {"good", "structural", "logical"}
    assert spro_metrics(maps, channels, saturations, kinds)["spro_005"] == pytest.approx(1.0)
    # Less than the whole area of each defect was found.
    assert sum(sum(own) for own in saturations) < sum(int(own.sum()) for own in channels)


def test_palette_masks_are_read_by_index(base: Path) -> None:
    path = base / "ground_truth" / "logical_anomalies" / "000" / "000.png"
    image = Image.fromarray(np.asarray(Image.open(path)), "P")
    image.putpalette([0, 0, 0] * 256)
    image.save(path)
    dataset = opened(base)
    mask = dataset.load_mask(CATEGORY, sample(dataset, f"{LOGICAL}/000.png"))
    assert mask is not None and mask.saturation == (Saturation(12, False),) and mask.union.any()


def entry(**changes: Any) -> dict[str, Any]:
    return {**LOCO_DEFECTS[0], **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("[{", "cannot be read"),
        (b"\xff\xfe\xfa", "cannot be read"),
        ({"defects": []}, "is no list of defects"),
        ([], "is no list of defects"),
        (["missing_pin"], "wrong entry, number 1"),
        ([entry(), {"pixel_value": 252}], "wrong entry, number 2"),
        ([entry(pixel_value=0)], "wrong entry, number 1"),
        ([entry(pixel_value=256)], "wrong entry"),
        ([entry(pixel_value="251")], "wrong entry"),
        ([entry(saturation_threshold=0)], "wrong entry"),
        ([entry(saturation_threshold=True)], "wrong entry"),
        ([entry(saturation_threshold=1.5, relative_saturation=True)], "wrong entry"),
        ([entry(relative_saturation=1)], "wrong entry"),
        ([entry(), entry(defect_name="other")], "pixel_value 251 twice"),
    ],
)
def test_a_wrong_configuration_is_named(base: Path, content: Any, message: str) -> None:
    path = base / "defects_config.json"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    dataset = opened(base)
    anomalous = sample(dataset, f"{LOGICAL}/000.png")
    with pytest.raises(RequestError, match=message) as caught:
        dataset.load_mask(CATEGORY, anomalous)
    assert str(path) in caught.value.problem and caught.value.allowed and caught.value.remedy
    problems = dataset.verify(CATEGORY)
    assert len(problems) == 1 and message in problems[0] and str(path) in problems[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 17), r"has the value 17, of which .*defects_config\.json knows nothing"),
        ((0, 251, 252), "holds the values 251, 252"),
        ((0,), "marks nothing"),
    ],
)
def test_a_mask_that_is_not_one_configured_defect_is_named(base: Path, values: tuple[int, ...], message: str) -> None:
    path = base / "ground_truth" / "structural_anomalies" / "002" / "000.png"
    pixels = np.resize(np.array(values, np.uint8), (24, 32))
    Image.fromarray(pixels).save(path)
    dataset = opened(base)
    with pytest.raises(RequestError, match=message) as caught:
        dataset.load_mask(CATEGORY, sample(dataset, f"{STRUCTURAL}/002.png"))
    assert str(path) in caught.value.problem and caught.value.allowed
    problems = dataset.verify(CATEGORY)
    assert len(problems) == 1 and str(path) in problems[0]


def test_defects_of_different_size_are_refused(base: Path) -> None:
    path = base / "ground_truth" / "logical_anomalies" / "001" / "001.png"
    Image.new("L", (8, 6), 252).save(path)
    dataset = opened(base)
    with pytest.raises(RequestError, match=r"001\.png differ in size"):
        dataset.load_mask(CATEGORY, sample(dataset, f"{LOGICAL}/001.png"))
    assert ["is 8x6 pixels" in problem for problem in dataset.verify(CATEGORY)] == [True]


def test_the_configuration_is_part_of_the_fingerprint(base: Path) -> None:
    before = opened(base)
    known = {category: before.fingerprint(category) for category in before.categories()}
    (base / "defects_config.json").write_text(json.dumps([entry(), *LOCO_DEFECTS[1:]][::-1]), encoding="utf-8")
    after = opened(base)
    assert after.fingerprint(CATEGORY) != known[CATEGORY]
    assert after.fingerprint("screw_bag") == known["screw_bag"]
