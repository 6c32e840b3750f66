"""elpv, as its package holds it."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.elpv import Elpv, ElpvConfig
from adbench.datasets.errors import RequestError
from adbench.datasets.splits import make_split

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None,
    reason="the package elpv-dataset is not installed (pip install 'adbench-vision[elpv]', 91 MB)",
)


@pytest.fixture(scope="module")
def elpv() -> Elpv:
    return Elpv(ElpvConfig())


@needs_package
@pytest.mark.parametrize(
    ("category", "normal", "anomalous", "with_doubtful"), [("mono", 588, 313, 1074), ("poly", 920, 402, 1550)]
)
def test_counts(elpv: Elpv, category: str, normal: int, anomalous: int, with_doubtful: int) -> None:
    assert Counter(sample.label for sample in elpv.samples(category)) == {0: normal, 1: anomalous}
    doubtful = Elpv(ElpvConfig(doubtful=True)).samples(category)
    assert len(doubtful) == with_doubtful and set(elpv.samples(category)) < set(doubtful)


@needs_package
@pytest.mark.parametrize(
    ("category", "normals", "anomalies"),
    [("mono", (353, 88, 147), (110, 46, 157)), ("poly", (552, 138, 230), (141, 60, 201))],
)
def test_split_sizes(
    elpv: Elpv, category: str, normals: tuple[int, int, int], anomalies: tuple[int, int, int]
) -> None:
    split = make_split(elpv.samples(category), category, 0, elpv.split_rule())
    assert tuple(sum(s.label == 0 for s in role) for role in (split.train, split.val, split.test)) == normals
    assert tuple(sum(s.label for s in role) for role in (split.labelled, split.val, split.test)) == anomalies


@needs_package
def test_images_have_the_stated_size_and_there_are_no_masks(elpv: Elpv) -> None:
    for sample in elpv.samples("mono")[::100]:
        assert elpv.load_image("mono", sample).shape == (300, 300, 3)
        assert elpv.load_mask("mono", sample) is None
    assert not elpv.has_masks("mono")


@needs_package
def test_doubtful_cells_are_labelled_by_the_nearer_side() -> None:
    samples = Elpv(ElpvConfig(doubtful=True)).samples("mono")
    assert Counter(sample.label for sample in samples) == {0: 588 + 117, 1: 313 + 56}


def test_the_fingerprint_follows_images_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a package of two cells: a corrected label is other data, even where no image changed."""

    def fingerprint(name: str, last: float, grey: int = 0) -> str:
        (tmp_path / name / "images").mkdir(parents=True)
        for cell in ("a", "b"):
            Image.fromarray(np.full((300, 300), grey, np.uint8)).save(tmp_path / name / "images" / f"{cell}.png")
        (tmp_path / name / "labels.csv").write_text(f"images/a.png  0.0   mono\nimages/b.png  {last}   mono\n")
        monkeypatch.setattr("adbench.datasets.elpv._package_data", lambda: tmp_path / name)
        return Elpv(ElpvConfig()).fingerprint("mono")

    original = fingerprint("original", 1.0)
    assert fingerprint("moved", 1.0) == original
    assert len({original, fingerprint("relabelled", 0.0), fingerprint("redrawn", 1.0, 5)}) == 3


def test_without_the_package_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"adbench-vision\[elpv\]"):
        Elpv(ElpvConfig())
