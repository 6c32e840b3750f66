"""Batch normalisation over processes equals that of one process. As a script: one of those processes."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from adbench.methods.normalisation import SynchronisedBatchNorm


def learned(images: Tensor) -> dict[str, Tensor]:
    """A step's output, gradients and running statistics."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), SynchronisedBatchNorm(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    network[1].weight.data = torch.tensor([0.5, 1.0, 1.5, 2.0])
    output = network(images)
    # A sum over images, so that shares of different sizes add up to the whole.
    output.square().sum().backward()
    gradients = {f"grad.{name}": parameter.grad for name, parameter in network.named_parameters()}
    return {"output": output.detach(), **gradients, **dict(network[1].named_buffers())}


def images_of_five() -> Tensor:
    return 3 + 2 * torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_on_one_process_it_is_batch_normalisation() -> None:
    torch.manual_seed(0)
    ours, theirs = SynchronisedBatchNorm(3), nn.BatchNorm2d(3)
    images = images_of_five()
    for _ in range(2):
        assert torch.equal(ours(images), theirs(images))
        ours.eval()
        theirs.eval()
    alone = ours(images[:1])
    torch.testing.assert_close(alone[0], ours(images)[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name")
def test_two_processes_with_unequal_shares_are_one(
    tmp_path: Path, two_processes: Callable[[str, Path], AbstractContextManager[None]]
) -> None:
    with two_processes(__file__, tmp_path):
        pass
    whole = learned(images_of_five())
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    output = torch.empty_like(whole["output"])
    output[0::2], output[1::2] = (share["output"] for share in shares)
    torch.testing.assert_close(output, whole["output"], atol=1e-5, rtol=1e-5)
    for name, value in whole.items():
        if name.startswith("grad."):
            torch.testing.assert_close(sum(s[name] for s in shares), value, atol=1e-3, rtol=1e-4)
        elif name != "output":
            for share in shares:
                torch.testing.assert_close(share[name], value)


def one_of_two(folder: Path, rank: int) -> None:
    """A process's share: images 0, 2, 4 or 1, 3."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(learned(images_of_five()[rank::2]), folder / f"{rank}.pt")
    dist.barrier()  # neither goes while the other needs it


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # gloo's threads at times abort a usual exit
