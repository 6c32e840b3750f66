"""DTD: each texture against all others, by the published lists, and as textures of simulated anomalies."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adbench.datasets.errors import RequestError
from adbench.datasets.registry import open_dataset
from adbench.methods.textures import texture_files
from miniatures import MINIATURES


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return MINIATURES["dtd"](tmp_path) / "dtd"


def opened(base: Path, **params: Any) -> Any:
    return open_dataset("dtd", {"root": str(base.parent), **params})


def test_a_texture_is_normal_and_one_image_of_each_other_is_not(base: Path) -> None:
    dataset = opened(base)
    assert dataset.categories() == ("banded", "lined", "polka-dotted")
    samples = dataset.samples("lined")
    assert Counter((sample.role, sample.defect_type) for sample in samples) == {
        ("train", "good"): 6,
        ("val", "good"): 3,
        ("test", "good"): 4,
        **{(role, other): 1 for role in ("labelled", "val", "test") for other in ("banded", "polka-dotted")},
    }
    assert all(("/lined/" in sample.image_id) == (sample.label == 0) for sample in samples)
    assert dataset.verify("lined") == [] and not dataset.has_masks(
        "lined"
    )  # That some images are not listed is right.


def test_divisions_differ(base: Path) -> None:
    one, two = opened(base), opened(base, division=2)
    assert {sample.image_id for sample in one.samples("lined")} != {
        sample.image_id for sample in two.samples("lined")
    }
    assert one.fingerprint("lined") != two.fingerprint("lined")
    with pytest.raises(RequestError, match=r"dataset\.division=11 is not allowed"):
        opened(base, division=11)
    with pytest.raises(RequestError, match=r"cannot read .*train3\.txt"):
        opened(base, division=3).samples("lined")


def test_broken_lists_and_images_are_named(base: Path) -> None:
    table = base / "labels" / "train1.txt"
    lines = table.read_text().replace("lined/lined_0002.jpg", "lined/lined_9.jpg").splitlines()
    table.write_text("\n".join([*lines, "lined/lined_0001.jpg", "../lined/x.jpg", ""]))
    (base / "images" / "lined" / "lined_0003.jpg").write_bytes(b"")
    problems = opened(base).verify("lined")
    for text in (
        "train1.txt line 8 names",
        "train1.txt line 19 lists images/lined/lined_0001.jpg again",
        "line 20 names images/../lined/x.jpg, which is outside of",
        "lined_0003.jpg: it is empty",
    ):
        assert sum(text in problem for problem in problems) == 1, (text, problems)
    assert len(problems) == 4
    table.write_text("\n\n")
    with pytest.raises(RequestError, match=r"train1\.txt lists no images"):
        opened(base).samples("lined")


def test_its_images_are_textures_for_simulated_anomalies(base: Path) -> None:
    assert len(texture_files(base / "images")) == 42
