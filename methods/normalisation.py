"""Batch normalisation over all processes: a step on several of them is the step that one process would take."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of [N, C, H, W] whose statistics are those of the whole batch, however it is shared out.

    On one process, and in evaluation mode, it is ``nn.BatchNorm2d``. PyTorch's own SyncBatchNorm works on CUDA alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        values = x.float()
        places = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(places)  # Shares need not be equal.
        mean = _sum_over_processes(values.sum(dim=(0, 2, 3))) / places
        deviation = values - mean.view(1, -1, 1, 1)
        variance = _sum_over_processes(deviation.square().sum(dim=(0, 2, 3))) / places
        self._remember(mean.detach(), (variance * places / (places - 1)).detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        return (deviation * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _SumOverProcesses(torch.autograd.Function):
    """A sum that every process's loss depends on: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        return _summed(share)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _sum_over_processes(share: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(share)
    return total


def _summed(share: Tensor) -> Tensor:
    total = share.clone()
    dist.all_reduce(total)
    return total
