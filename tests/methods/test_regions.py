"""Attributes of regions against shapes whose values are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from adbench.methods.regions import ATTRIBUTES, Regions, find_regions, pseudo_label


def regions_of(shape: NDArray[np.bool_], image: NDArray[np.uint8] | None = None, inside: float = 0.8) -> Regions:
    scores = np.where(shape, inside, 0.1).astype(np.float32)
    grey = np.full((*shape.shape, 3), 100, np.uint8) if image is None else image
    return find_regions(scores, grey, 0.5)


def blank(size: int = 100) -> NDArray[np.bool_]:
    return np.zeros((size, size), np.bool_)


def values(regions: Regions) -> dict[str, float]:
    """The attributes of the only region."""
    assert len(regions) == 1
    return {name: float(of[0]) for name, of in regions.attributes.items()}


def test_every_attribute_is_measured_within_its_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        scores = rng.random((40, 60)).astype(np.float32)
        found = find_regions(scores, rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), 0.7)
        assert set(found.attributes) == set(ATTRIBUTES) and len(found) > 3
        for name, attribute in ATTRIBUTES.items():
            assert found.attributes[name].shape == (len(found),)
            assert (found.attributes[name] >= attribute.low).all() and (
                found.attributes[name] <= attribute.high
            ).all()


def test_a_rectangle_by_hand() -> None:
    shape = blank()
    shape[10:14, 20:60] = True  # 4 by 40
    image = np.full((100, 100, 3), 200, np.uint8)
    image[shape] = 50
    of = values(regions_of(shape, image))
    assert of["area"] == pytest.approx(160 / 10_000)
    assert [of["x"], of["y"]] == pytest.approx([0.40, 0.12])
    # Of a rectangle the second moments are a^2/12: the axes are as its sides.
    assert of["elongation"] == pytest.approx(1 - 4 / 40)
    assert of["grey"] == pytest.approx(50 / 255) and of["contrast"] == pytest.approx(-150 / 255)
    assert of["hue_distance"] == pytest.approx(0, abs=1e-12) and of["score"] == pytest.approx(0.8)


def test_elongation_does_not_depend_on_direction() -> None:
    y, x = np.mgrid[:200, :200] - 100
    found = []
    for turn in (0, 0.3, np.pi / 4, 1.2):
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        found.append(values(regions_of((along / 60) ** 2 + (across / 15) ** 2 <= 1))["elongation"])
    assert found == pytest.approx([0.75] * 4, abs=0.01)
    assert values(regions_of(x**2 + y**2 <= 400))["elongation"] == pytest.approx(0, abs=0.01)
    line = blank()
    line[50] = True
    assert values(regions_of(line))["elongation"] == pytest.approx(0.99)


def test_the_ring_is_near_and_belongs_to_the_nearest_region() -> None:
    shape, image = blank(), np.full((100, 100, 3), 255, np.uint8)
    shape[30:40, 10:20] = shape[30:40, 70:80] = True
    image[20:50, 0:30] = 102  # grey around the first only
    image[shape] = 0
    image[60:, :] = 0  # far away: part of no ring
    found = regions_of(shape, image)
    np.testing.assert_allclose(found.attributes["contrast"], [-0.4, -1.0], atol=1e-9)


def test_hue_distance_by_hand() -> None:
    shape, image = blank(), np.zeros((100, 100, 3), np.uint8)
    shape[40:60, 40:60] = True
    image[:] = (0, 255, 255)
    image[shape] = (255, 0, 0)
    assert values(regions_of(shape, image))["hue_distance"] == pytest.approx(1.0), "red on cyan: the largest"
    image[:] = (100, 100, 100)
    image[shape] = (130, 100, 70)  # 30 in red - green, 45 in yellow - blue
    assert values(regions_of(shape, image))["hue_distance"] == pytest.approx(np.hypot(30, 45) / 255 / np.sqrt(5))
    image[:] = (40, 40, 40)
    image[shape] = (90, 90, 90)
    assert values(regions_of(shape, image))["hue_distance"] == pytest.approx(0.0), "grey has no hue"


def test_diagonal_neighbours_join_and_specks_are_dropped() -> None:
    shape = blank()
    for n in range(6):
        shape[n, n] = True
    shape[50, 50:53] = True  # three pixels
    found = regions_of(shape)
    assert len(found) == 1 and (found.labels > 0).sum() == 6
    assert len(regions_of(blank())) == 0


def test_a_region_without_surroundings_has_no_contrast() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    of = values(regions_of(np.ones((20, 20), np.bool_), image))
    assert of["contrast"] == of["hue_distance"] == 0 and of["area"] == 1


def two_regions() -> tuple[NDArray[np.float32], Regions]:
    scores = np.zeros((20, 20), np.float32)
    scores[2:6, 2:6], scores[12:16, 12:16] = 0.9, 0.7
    return scores, find_regions(scores, np.zeros((20, 20, 3), np.uint8), 0.5)


def test_pseudo_labels_are_scores_times_degrees() -> None:
    scores, regions = two_regions()
    labels, anomalous = pseudo_label(scores, regions, np.array([0.5, 1.0]), 0.5)
    assert labels[3, 3] == pytest.approx(0.45) and labels[13, 13] == pytest.approx(0.7) and labels[0, 0] == 0
    assert anomalous.sum() == 16 and anomalous[13, 13]


@pytest.mark.parametrize(("degrees", "best"), [([0.4, 0.6], 13), ([0.5, 0.5], 3), ([0.0, 0.0], 3)])
def test_if_no_label_is_high_enough_the_best_region_is_taken(degrees: list[float], best: int) -> None:
    scores, regions = two_regions()
    labels, anomalous = pseudo_label(scores, regions, np.array(degrees), 0.9)
    assert anomalous.sum() == 16 and anomalous[best, best]
    np.testing.assert_array_equal(labels[anomalous], scores[anomalous])


def test_an_image_without_regions_has_no_anomalous_pixels() -> None:
    scores = np.zeros((20, 20), np.float32)
    regions = find_regions(scores, np.zeros((20, 20, 3), np.uint8), 0.5)
    labels, anomalous = pseudo_label(scores, regions, np.empty(0), 0.5)
    assert not labels.any() and not anomalous.any()
