"""The core-set is the greedy one, and covers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adbench.methods.coreset import greedy_k_centre, random_directions


def cloud(count: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn((count, dimensions), generator=torch.Generator().manual_seed(seed))


def brute_force(points: Tensor, count: int, start: int) -> list[int]:
    distances = torch.cdist(points.double(), points.double())
    chosen = [start]
    while len(chosen) < count:
        chosen.append(int(distances[chosen].amin(dim=0).argmax()))
    return chosen


def radius(points: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(points.double(), points[chosen].double()).amin(dim=1).max())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dimensions", [2, 5, 64])
def test_greedy_equals_brute_force(dimensions: int, seed: int) -> None:
    points = cloud(60, dimensions, seed) + 3
    assert greedy_k_centre(points, 40, start=7).tolist() == brute_force(points, 40, 7)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 40), dimensions=st.integers(1, 8), seed=st.integers(0, 1000))
def test_each_centre_is_the_farthest_even_far_from_the_origin(count: int, dimensions: int, seed: int) -> None:
    """To rounding, which decides between points that are equally far."""
    points = cloud(40, dimensions, seed) + 1000
    chosen = greedy_k_centre(points, count, start=7)
    distances = torch.cdist(points.double(), points.double())
    for index in range(1, count):
        nearest = distances[chosen[:index]].amin(dim=0)
        assert nearest[chosen[index]] >= nearest.max() - 5e-3


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_the_cover_is_within_twice_of_any(count: int, seed: int) -> None:
    points = cloud(300, 6, seed)
    random = torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:count]
    assert radius(points, greedy_k_centre(points, count, start=0)) <= 2 * radius(points, random) + 1e-6


@pytest.mark.parametrize("count", [20, 60, 120])
def test_the_cover_is_better_than_random_ones(count: int) -> None:
    points, generator = cloud(300, 6), torch.Generator().manual_seed(0)
    random = [radius(points, torch.randperm(300, generator=generator)[:count]) for _ in range(20)]
    assert radius(points, greedy_k_centre(points, count, start=0)) < min(random)


def test_the_cover_finds_groups() -> None:
    """Four tight groups far apart: the best four centres have a radius below 0.1, and so one lies in each group."""
    corners = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
    points = corners.repeat_interleave(10, dim=0) + 0.02 * cloud(40, 2)
    chosen = greedy_k_centre(points, 4, start=3)
    assert sorted((chosen // 10).tolist()) == [0, 1, 2, 3]


def test_progress_tells_the_cover_radius() -> None:
    points = cloud(250, 3)
    told: list[tuple[int, float]] = []
    chosen = greedy_k_centre(points, 230, start=0, progress=lambda done, worst: told.append((done, worst)))
    assert [done for done, _ in told] == [100, 200, 230]
    assert all(isinstance(worst, float) for _, worst in told)
    for done, worst in told:
        assert worst == pytest.approx(radius(points, chosen[:done]), rel=1e-4)


def test_a_stop_request_ends_the_choice() -> None:
    def stop(done: int, worst: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        greedy_k_centre(cloud(250, 3), 200, start=0, progress=stop)


def test_no_point_is_chosen_twice_even_of_equal_ones() -> None:
    points = torch.ones((6, 3))
    assert sorted(greedy_k_centre(points, 6, start=2).tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 41])
def test_too_few_or_too_many_centres_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 40 can be chosen"):
        greedy_k_centre(cloud(40, 2), count, start=0)


def test_random_directions_keep_squared_distances_on_average() -> None:
    points = cloud(60, 300)
    directions = random_directions(300, 128, torch.Generator().manual_seed(0))
    assert directions.shape == (300, 128)
    before, after = torch.pdist(points), torch.pdist(points @ directions)
    ratios = (after / before) ** 2
    assert float(ratios.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(ratios.std()) < 2 * (2 / 128) ** 0.5
    again = random_directions(300, 128, torch.Generator().manual_seed(0))
    assert torch.equal(directions, again)
