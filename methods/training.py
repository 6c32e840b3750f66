"""The training loop that all gradient methods share. Runs unchanged on one process or on several (DDP)."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from adbench.methods.base import Context

CHECKPOINT_SECONDS = 30.0
"""Time between checkpoints: short cells write none, long ones lose at most this much."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    ``indices`` and ``seeds`` are int64 [B]: the training images and a seed for each, so that what is drawn for an
    image does not depend on the process that computes it. ``total`` is the size of the whole batch. ``generator`` (on
    the CPU) is in the same state on every process: what it draws is drawn for the whole batch, see ``share``. A step
    takes no randomness from elsewhere, so that a resumed run repeats an unbroken one.
    """

    indices: Tensor
    seeds: Tensor
    total: int
    generator: torch.Generator
    rank: int = 0
    world: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of ``rows``, which were drawn for the whole batch; all if they are too few to deal."""
        return rows[self.rank :: self.world] if len(rows) >= self.world else rows

    def draw(self, device: torch.device, one: Callable[[torch.Generator], Tensor]) -> Tensor:
        """``one(generator)`` for each image, stacked [B, ...]; the generator is on ``device``, seeded by the image's
        seed, and so in the same state at every call of ``draw``: draw once, or take all from one tensor."""
        generator = torch.Generator(device)
        return torch.stack([one(generator.manual_seed(seed)) for seed in self.seeds.tolist()])


class Trainable(Protocol):
    """What the loop needs of a method. Optimisers and steps belong to the method."""

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch, the first is 0: learning rates, stages, labels. After a resume it is called for
        the epoch that goes on, on the state that the epoch before it left."""
        ...

    def train_step(self, batch: Batch) -> Mapping[str, Tensor]:
        """One step; returns named scalar losses."""
        ...

    def train_state(self) -> dict[str, Any]:
        """State dicts of modules and optimisers, for the checkpoint."""
        ...

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        ...


class TrainingDivergedError(RuntimeError):
    """A loss became NaN or infinite."""


def train(method: Trainable, context: Context, *, n_images: int, batch_size: int, epochs: int) -> None:
    """Train for ``epochs`` over ``n_images`` images, in an order drawn from the context's seed.

    Under DDP each process takes its share of every batch; where shares are equal, losses are those of one process.
    Resumes from the context's checkpoint, bit for bit: the random state is a function of (seed, epoch) alone. Raises
    TrainingDivergedError on a loss that is not finite, and whatever ``context.report`` raises to stop the run.
    Reported losses are means over the epoch and all processes.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    context.epochs = epochs
    history = _resume(method, context)
    began = time.monotonic() - context.resumed_seconds
    saved = time.monotonic()
    for epoch in range(len(history), epochs):
        method.start_epoch(epoch)
        generator = torch.Generator().manual_seed(epoch_seed(context.seed, epoch))
        sums: dict[str, Tensor] = {}
        batches = torch.randperm(n_images, generator=generator).split(batch_size)  # type: ignore[no-untyped-call]
        for indices in batches:
            seeds = torch.randint(2**62, (len(indices),), generator=generator)
            whole = Batch(indices, seeds, len(indices), generator, rank, world)
            losses = method.train_step(replace(whole, indices=whole.share(indices), seeds=whole.share(seeds)))
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        means = _means(sums, len(batches) * world)
        _check_finite(means, epoch)
        history.append(means)
        context.report(epoch + 1, means)
        if rank == 0 and epoch + 1 < epochs and time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save_checkpoint(method, context, history, time.monotonic() - began)
            saved = time.monotonic()


def optimise(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[nn.Parameter],
    clip_norm: float | None = None,
) -> None:
    """Backward, average the gradients over all processes, clip their norm if asked, and step."""
    parameters = list(parameters)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if dist.is_initialized() and dist.get_world_size() > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    optimizer.step()


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision where it pays: bfloat16 on CUDA devices that have it, float32 elsewhere."""
    usable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch that no other (seed, epoch) shares by accident."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8], "big") >> 1


def _means(sums: Mapping[str, Tensor], count: int) -> dict[str, float]:
    """The same on every process, so that all of them see a divergence and none is left waiting for the others."""
    totals = torch.stack(list(sums.values()))
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(totals)
    return dict(zip(sums, (totals / count).tolist(), strict=True))


def _check_finite(losses: Mapping[str, float], epoch: int) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingDivergedError(f"{name} is {value} in epoch {epoch + 1}: training diverged (lower lr?)")


def _checkpoint_path(context: Context) -> Path | None:
    return context.checkpoint_dir / "last.pt" if context.checkpoint_dir else None


def _save_checkpoint(method: Trainable, context: Context, history: list[dict[str, float]], seconds: float) -> None:
    path = _checkpoint_path(context)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with temporary.open("wb") as file:
        torch.save(
            {"code": context.code_version, "history": history, "seconds": seconds, "state": method.train_state()},
            file,
        )
        file.flush()
        os.fsync(file.fileno())  # A rename that outlives its content would leave a torn checkpoint.
    temporary.replace(path)


def _resume(method: Trainable, context: Context) -> list[dict[str, float]]:
    """Restore the checkpoint, if there is one of this code; the losses of the epochs it holds, reported once more."""
    path = _checkpoint_path(context)
    if path is None or not path.exists():
        return []
    try:
        stored = torch.load(path, map_location=context.device, weights_only=True)
        code, history, seconds, state = (stored[key] for key in ("code", "history", "seconds", "state"))
    except Exception as error:  # Damaged in whatever way: it saves time, but is not needed.
        context.notes.append(f"an unreadable checkpoint was dropped ({type(error).__name__}): trained from the start")
        path.unlink(missing_ok=True)
        return []
    if code != context.code_version:
        context.notes.append("a checkpoint of another version of the code was dropped: trained from the start")
        path.unlink(missing_ok=True)
        return []
    method.load_train_state(state)
    context.resumed_seconds = seconds
    for epoch, means in enumerate(history):
        context.report(epoch + 1, means)
    return list(history)
