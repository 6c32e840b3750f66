"""What every registered dataset must keep, whatever it is made of."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adbench.datasets.base import ROLES, Dataset, DatasetConfig, DatasetRecord, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.registry import dataset_class, dataset_names, open_dataset
from adbench.datasets.splits import make_split
from miniatures import MINIATURES

PARAMS: dict[str, dict[str, Any]] = {
    "phantom": {"size": 33, "n_train": 6, "n_val": 2, "n_val_anomalous": 2, "n_test": 3, "n_labelled": 4},
}
LOOKED_AT = 5
"""Images per category whose pixels are looked at."""


@pytest.fixture(scope="module")
def folder_root(tmp_path_factory: pytest.TempPathFactory, mvtec_folder: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("folder")
    mvtec_folder(root / "first", size=(20, 31), labelled={"blob": 2}, validation=2)
    mvtec_folder(root / "second", size=(24, 24), masks=False)
    return root


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in MINIATURES.items()}


def opened(name: str, folder_root: Path, miniatures: Mapping[str, Path]) -> Dataset:
    if name in miniatures:
        return open_dataset(name, {"root": str(miniatures[name])})
    if name == "elpv" and importlib.util.find_spec("elpv_dataset") is None:
        pytest.skip("the package elpv-dataset is not installed (pip install 'adbench-vision[elpv]')")
    return open_dataset(name, {"root": str(folder_root)} if name == "folder" else PARAMS.get(name, {}))


@pytest.fixture(params=dataset_names())
def dataset(request: pytest.FixtureRequest, folder_root: Path, miniatures: Mapping[str, Path]) -> Dataset:
    return opened(request.param, folder_root, miniatures)


def looked_at(dataset: Dataset, category: str) -> list[Sample]:
    samples = dataset.samples(category)
    anomalous = [sample for sample in samples if sample.label]
    return [*samples[:: max(1, len(samples) // LOOKED_AT)], *anomalous[:: max(1, len(anomalous) // LOOKED_AT)]]


@pytest.mark.parametrize("name", dataset_names())
def test_the_record_is_complete_and_parameters_are_documented(name: str) -> None:
    kind = dataset_class(name)
    assert issubclass(kind, Dataset) and issubclass(kind.config_class, DatasetConfig)
    assert kind.record.name == name and kind.record.modality in ("industrial", "medical")
    assert all(str(getattr(kind.record, field.name)).strip() for field in fields(DatasetRecord))
    for parameter, field in kind.config_class.model_fields.items():
        assert field.description and field.description.strip(), f"{name}.{parameter} has no description"
    kind.config_class()  # every parameter has a default


def test_samples_are_sorted_unique_and_consistent(dataset: Dataset) -> None:
    categories = dataset.categories()
    assert len(set(categories)) == len(categories) > 0
    for category in categories:
        samples = dataset.samples(category)
        ids = [sample.image_id for sample in samples]
        assert ids == sorted(set(ids)) and len(ids) > 0
        for sample in samples:
            assert (sample.label, sample.defect_type == "good", sample.kind == "good") in (
                (0, True, True),
                (1, False, False),
            )
            assert sample.role in (*ROLES, None)
            assert all(part not in ("", ".", "..") for part in sample.image_id.split("/"))
            assert not (sample.label and sample.role == "train")


def test_images_and_masks_have_the_promised_shapes(dataset: Dataset) -> None:
    for category in dataset.categories():
        found = 0
        for sample in looked_at(dataset, category):
            image = dataset.load_image(category, sample)
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            assert dataset.image_size(category, sample) == image.shape[:2]
            mask = dataset.load_mask(category, sample)
            if mask is None:
                continue
            found += 1
            assert sample.label == 1 and mask.channels.dtype == np.bool_ and mask.channels.ndim == 3
            assert mask.channels.shape[1:] == image.shape[:2] and mask.union.any()
            assert len(mask.saturation) == (len(mask.channels) if dataset.saturation_defined(category) else 0)
        assert (found > 0) == dataset.has_masks(category)


@pytest.mark.slow
def test_openings_agree(dataset: Dataset, folder_root: Path, miniatures: Mapping[str, Path]) -> None:
    again = opened(dataset.record.name, folder_root, miniatures)
    fingerprints = {category: dataset.fingerprint(category) for category in dataset.categories()}
    assert all(len(fingerprint) >= 16 for fingerprint in fingerprints.values())
    assert len(set(fingerprints.values())) == len(fingerprints)
    for category in dataset.categories():
        assert again.fingerprint(category) == fingerprints[category]
        assert list(again.samples(category)) == list(dataset.samples(category))
        sample = dataset.samples(category)[-1]
        np.testing.assert_array_equal(dataset.load_image(category, sample), again.load_image(category, sample))


def test_a_split_can_be_made_and_nothing_is_wrong(dataset: Dataset) -> None:
    for category in dataset.categories():
        split = make_split(dataset.samples(category), category, 0, dataset.split_rule())
        assert split.train and {sample.label for sample in split.test} == {0, 1}
        assert any(sample.label == 0 for sample in split.val)
        if dataset.record.name != "elpv":  # Reading all of its files is left to the slow test.
            assert dataset.verify(category) == []
        assert dataset.modality(category) in ("industrial", "medical")


def test_an_unknown_category_is_refused_with_the_nearest(dataset: Dataset) -> None:
    real = dataset.categories()[0]
    for call in (dataset.samples, dataset.fingerprint):
        with pytest.raises(RequestError, match=f"unknown category.*did you mean '{real}'"):
            call(f"{real}x")


def test_an_unknown_dataset_is_refused_with_the_nearest() -> None:
    for call in (dataset_class, lambda name: open_dataset(name, {})):
        with pytest.raises(RequestError, match="unknown dataset 'phantm'; did you mean 'phantom'"):
            call("phantm")


def test_an_unknown_parameter_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"unknown parameter of 'phantom' 'siz'; did you mean 'size'"):
        open_dataset("phantom", {"siz": 64})
