"""A small subset that covers a large set of points: greedy k-centre selection on randomly projected points."""

from collections.abc import Callable

import torch
from torch import Tensor

_PROGRESS_EVERY = 100


def random_directions(channels: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """Gaussian directions, float32 [channels, dimensions], for points @ directions; drawn on the CPU.

    They are scaled such that squared distances are kept on average (Johnson, Lindenstrauss 1984).
    """
    return torch.randn((channels, dimensions), generator=generator).div(dimensions**0.5)


def greedy_k_centre(
    points: Tensor, count: int, start: int, progress: Callable[[int, float], None] = lambda chosen, radius: None
) -> Tensor:
    """Indices, int64 [count], of points [n, D] that cover all: each next one is the farthest from those before it.

    Their cover radius is at most twice the best possible (Gonzalez 1985). Takes time O(count n D) and, beside the
    points and two copies of them, memory O(n). ``progress(chosen, radius)`` is called every 100 centres and at the
    end with the greatest distance of any point to its nearest centre. Raises ValueError unless 1 <= count <= n.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"{count} centres of {len(points)} points: from 1 to {len(points)} can be chosen")
    # |x - c|^2 / 2 = |x|^2 / 2 + |c|^2 / 2 - x c: centred, so that little cancels; transposed, as rows of a product
    # with one vector are twice as fast so.
    columns = (points - points.mean(dim=0)).T.contiguous()
    halves = columns.square().sum(dim=0) / 2
    nearest = torch.full_like(halves, torch.inf)
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    latest = torch.tensor([start], device=points.device)
    for index in range(count):
        chosen[index : index + 1] = latest
        distances = halves + halves[latest] - (columns[:, latest].T @ columns)[0]
        torch.minimum(nearest, distances.clamp_(min=0), out=nearest)
        nearest[latest] = -1.0  # Never again, even where all points are equal.
        if (index + 1) % _PROGRESS_EVERY == 0 or index + 1 == count:
            progress(index + 1, float(nearest.max().clamp(min=0) * 2) ** 0.5)
        latest = nearest.argmax(dim=0, keepdim=True)
    return chosen
