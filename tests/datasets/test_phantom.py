"""The drawn dataset: equal orders give equal pixels, masks are exact, and both dials do what they say."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from adbench.datasets.base import ROLES, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.phantom import Phantom, PhantomConfig
from adbench.datasets.phantom_draw import CATEGORIES, VISIBLE, Order, Picture, draw

EVERY_DEFECT = [(name, defect) for name, category in CATEGORIES.items() for defect in category.defects]
STRUCTURAL = [(n, d) for n, d in EVERY_DEFECT if CATEGORIES[n].defects[d] == "structural"]
LOGICAL = [(n, d) for n, d in EVERY_DEFECT if CATEGORIES[n].defects[d] == "logical"]


def drawn(
    category: str, defect: str, n: int = 0, size: int = 96, contrast: float = 1.0, extent: float = 1.0
) -> Picture:
    return draw(Order(category, f"test/{defect}/{n:05d}", defect, size, 0, contrast, extent))


def change(picture: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Largest change of a channel against the clean twin, in levels, [H, W]."""
    difference = picture.image.astype(np.int16) - picture.clean.astype(np.int16)
    return np.asarray(np.abs(difference).max(axis=2), dtype=np.int16)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    draw.cache_clear()
    yield
    draw.cache_clear()


def test_roles_and_counts_are_as_configured() -> None:
    config = PhantomConfig(n_train=5, n_val=4, n_val_anomalous=6, n_test=3, n_test_anomalous=9, n_labelled=7)
    dataset = Phantom(config)
    for category in dataset.categories():
        samples = dataset.samples(category)
        counts = Counter((s.role, s.label) for s in samples)
        assert counts == {
            ("train", 0): 5,
            ("labelled", 1): 7,
            ("val", 0): 4,
            ("val", 1): 6,
            ("test", 0): 3,
            ("test", 1): 9,
        }
        ids = [s.image_id for s in samples]
        assert ids == sorted(ids) and len(set(ids)) == len(ids)
        assert all(s.image_id.split("/")[:2] == [s.role, s.defect_type] for s in samples)
        for role in ROLES:
            dealt = Counter(s.defect_type for s in samples if s.role == role and s.label == 1)
            if dealt:
                assert max(dealt.values()) - min(dealt[d] for d in CATEGORIES[category].defects) <= 1


def test_samples_say_what_kind_of_anomaly_they_are() -> None:
    for category in CATEGORIES:
        for sample in Phantom(PhantomConfig()).samples(category):
            expected = CATEGORIES[category].defects.get(sample.defect_type, "good")
            assert sample.kind == expected
            assert (sample.label == 0) == (sample.kind == "good") == (sample.defect_type == "good")
    assert {s.kind for s in Phantom(PhantomConfig()).samples("kit")} == {"good", "logical", "structural"}


@pytest.mark.parametrize("category", CATEGORIES)
def test_drawing_twice_and_in_another_order_gives_the_same_pixels(category: str) -> None:
    dataset = Phantom(PhantomConfig(size=64, n_train=2, n_test_anomalous=3))
    samples = [s for s in dataset.samples(category) if s.role in ("train", "test")][:8]
    forwards = [dataset.load_image(category, s) for s in samples]
    draw.cache_clear()
    larger = Phantom(PhantomConfig(size=64, n_train=50, n_test_anomalous=30))
    backwards = [larger.load_image(category, s) for s in reversed(samples)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
    for n, one in enumerate(forwards):
        assert not any(np.array_equal(one, other) for other in forwards[n + 1 :])


@pytest.mark.parametrize("category", CATEGORIES)
def test_another_seed_draws_another_image(category: str) -> None:
    sample = Sample("train/good/00000", 0, role="train")
    one = Phantom(PhantomConfig(size=64, seed=1)).load_image(category, sample)
    other = Phantom(PhantomConfig(size=64, seed=2)).load_image(category, sample)
    assert np.mean(one != other) > 0.3


@pytest.mark.parametrize(("category", "defect"), STRUCTURAL)
def test_structural_masks_are_exact(category: str, defect: str) -> None:
    for n in range(2):
        picture = drawn(category, defect, n)
        assert picture.mask is not None
        mask, differs = picture.mask.union, change(picture)
        assert picture.mask.channels.shape == (1, 96, 96)
        assert differs[~mask].max() == 0
        # Gaps of a few pixels are closed, so that not every pixel of the mask differs.
        assert np.mean(differs[mask] >= VISIBLE) > 0.5
        assert 4 <= mask.sum() < 0.5 * mask.size


@pytest.mark.parametrize(("category", "defect"), LOGICAL)
def test_logical_masks_mark_the_parts_concerned(category: str, defect: str) -> None:
    for n in range(3):
        picture = drawn(category, defect, n, size=128)
        assert picture.mask is not None
        seen = change(picture) >= VISIBLE
        for channel in picture.mask.channels:
            assert (seen & channel).any()
        # Only the soft shadow of a part lies outside of what is marked.
        near = ndimage.binary_dilation(picture.mask.union, iterations=6)
        assert not seen[~near].any()
        assert len(picture.mask.channels) == (2 if defect == "misplaced_part" else 1)


@pytest.mark.parametrize(("category", "defect"), [p for p in EVERY_DEFECT if p[0] == "kit"])
def test_saturation_thresholds_are_valid(category: str, defect: str) -> None:
    mask = drawn(category, defect, size=128).mask
    assert mask is not None and len(mask.saturation) == len(mask.channels)
    for saturation, channel in zip(mask.saturation, mask.channels, strict=True):
        assert 1 <= saturation.pixels(int(channel.sum())) <= channel.sum()
    if defect == "missing_part":
        floor, part = mask.channels[0].sum(), mask.saturation[0].threshold
        assert not mask.saturation[0].relative and 0 < part < 0.5 * floor


def test_saturation_is_defined_for_the_logical_category_only() -> None:
    dataset = Phantom(PhantomConfig(size=48))
    for category in dataset.categories():
        assert dataset.saturation_defined(category) == (category == "kit")
        sample = next(s for s in dataset.samples(category) if s.label == 1)
        mask = dataset.load_mask(category, sample)
        assert mask is not None and bool(mask.saturation) == (category == "kit")


@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
@pytest.mark.parametrize("size", [32, 97])
def test_every_defect_at_odd_sizes_and_the_lowest_dials_is_visible(category: str, defect: str, size: int) -> None:
    picture = drawn(category, defect, size=size, contrast=0.25, extent=0.25)
    assert picture.image.shape == (size, size, 3) and picture.image.dtype == np.uint8
    assert picture.mask is not None and picture.mask.channels.shape[1:] == (size, size)
    assert picture.mask.channels.any(axis=(1, 2)).all()
    assert (change(picture) >= VISIBLE).any()


@pytest.mark.parametrize(
    ("category", "defect"),
    [p for p in EVERY_DEFECT if p not in LOGICAL or p[1] == "wrong_colour"],
)
def test_contrast_raises_the_visible_difference(category: str, defect: str) -> None:
    def total(contrast: float) -> float:
        return sum(float(change(drawn(category, defect, n, contrast=contrast)).sum()) for n in range(3))

    assert total(2.0) > 1.15 * total(0.5)


@pytest.mark.parametrize(("category", "defect"), STRUCTURAL)
def test_extent_raises_the_area(category: str, defect: str) -> None:
    def area(extent: float) -> int:
        pictures = [drawn(category, defect, n, extent=extent) for n in range(4)]
        return sum(int(p.mask.union.sum()) for p in pictures if p.mask is not None)

    assert area(2.0) > 1.2 * area(0.6)


def test_modality_and_size_of_every_category() -> None:
    dataset = Phantom(PhantomConfig(size=33))
    medical = {c for c in dataset.categories() if dataset.modality(c) == "medical"}
    assert medical == {"brain", "retina", "chest", "skin"}
    for category in dataset.categories():
        sample = dataset.samples(category)[0]
        assert dataset.load_image(category, sample).shape[:2] == dataset.image_size(category, sample) == (33, 33)


def test_strength_differs_from_image_to_image() -> None:
    peaks = [int(change(drawn("chest", "nodule", n)).max()) for n in range(8)]
    assert max(peaks) > 1.5 * min(peaks)


def test_layout_does_not_depend_on_the_size() -> None:
    for category in ("gear", "kit", "chest"):
        sample = Sample("train/good/00003", 0, role="train")
        small = Phantom(PhantomConfig(size=64)).load_image(category, sample).astype(float).mean(axis=2)
        large = Phantom(PhantomConfig(size=192)).load_image(category, sample).astype(float).mean(axis=2)
        reduced = large.reshape(64, 3, 64, 3).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), reduced.ravel())[0, 1] > 0.8


def test_normal_images_vary_and_have_no_mask() -> None:
    dataset = Phantom(PhantomConfig(size=64))
    for category in dataset.categories():
        good = [s for s in dataset.samples(category) if s.role == "train"][:4]
        images = [dataset.load_image(category, s).astype(float) for s in good]
        assert np.std(np.stack(images), axis=0).mean() > 3
        assert dataset.load_mask(category, good[0]) is None


def test_grey_images_have_three_equal_channels() -> None:
    for category in ("brain", "retina", "chest"):
        image = drawn(category, "good").image
        np.testing.assert_array_equal(image, np.repeat(image[..., :1], 3, axis=2))


def test_a_loaded_image_can_be_changed_without_harm() -> None:
    dataset = Phantom(PhantomConfig(size=32))
    sample = dataset.samples("weave")[0]
    image = dataset.load_image("weave", sample)
    image[:] = 0
    assert dataset.load_image("weave", sample).any()


def test_fingerprint_follows_category_and_configuration() -> None:
    base = Phantom(PhantomConfig())
    prints = {base.fingerprint(c) for c in base.categories()}
    prints |= {
        Phantom(PhantomConfig.model_validate({name: value})).fingerprint("weave")
        for name, value in {"seed": 1, "contrast": 0.5, "extent": 2.0, "size": 128, "n_train": 9}.items()
    }
    assert len(prints) == len(CATEGORIES) + 5
    assert base.fingerprint("weave") == Phantom(PhantomConfig()).fingerprint("weave")


@pytest.mark.parametrize(
    ("name", "value"), [("contrast", 0.0), ("extent", 0.1), ("size", 16), ("seed", -1), ("n_train", 0)]
)
def test_impossible_parameters_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        PhantomConfig.model_validate({name: value})


def test_unknown_names_are_refused_with_the_nearest() -> None:
    dataset = Phantom(PhantomConfig(size=32))
    sample = dataset.samples("weave")[0]
    for call in (
        lambda: dataset.samples("weaves"),
        lambda: dataset.fingerprint("weaves"),
        lambda: dataset.saturation_defined("weaves"),
        lambda: dataset.load_image("weaves", sample),
        lambda: dataset.load_mask("weaves", sample),
    ):
        with pytest.raises(RequestError, match="unknown category 'weaves'; did you mean 'weave'"):
            call()
    with pytest.raises(RequestError, match="unknown defect type 'holes'; did you mean 'hole'"):
        dataset.load_image("weave", Sample("test/holes/00000", 1, "holes", "structural", "test"))


@settings(max_examples=25, deadline=None)
@given(
    pair=st.sampled_from(EVERY_DEFECT),
    n=st.integers(0, 10**6),
    size=st.integers(32, 80),
    contrast=st.floats(0.25, 4.0),
    extent=st.floats(0.25, 3.0),
)
def test_any_order_can_be_drawn(pair: tuple[str, str], n: int, size: int, contrast: float, extent: float) -> None:
    picture = drawn(*pair, n=n, size=size, contrast=contrast, extent=extent)
    assert picture.mask is not None and picture.mask.union.any()
    assert picture.image.shape == (size, size, 3)


def test_one_kind_of_anomalies_alone() -> None:
    logical = Phantom(PhantomConfig(size=32, anomalies="logical"))
    anomalies = [sample for sample in logical.samples("kit") if sample.label]
    assert anomalies and {sample.kind for sample in anomalies} == {"logical"}
    assert len(anomalies) == sum(sample.label for sample in Phantom(PhantomConfig(size=32)).samples("kit"))
    assert logical.fingerprint("kit") != Phantom(PhantomConfig(size=32)).fingerprint("kit")
    with pytest.raises(RequestError, match="category 'weave' of phantom has no logical anomalies"):
        logical.samples("weave")
