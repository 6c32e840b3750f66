"""The workers of a lane: one leads, all train. Needs no Ray."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from adbench.orchestrator.errors import CellStoppedError

Report = Callable[[int, Mapping[str, float]], None]
"""What a method calls with the step and its values once an epoch, and what may raise to stop it."""

_Value = TypeVar("_Value")

_PATIENCE = timedelta(days=14)
"""How long a follower waits for the leader, which predicts, judges and asks for cells alone."""

_BETWEEN_CELLS = 0
"""Where processes meet that train nothing; steps of a training count from 1."""


class LaneGroup:
    """The processes that train a cell together. That of rank 0 leads: it alone asks for cells, watches the time,
    predicts and judges; the others, its followers, share the training.

    Where there are several, all make theirs at the same time, after ``torch.distributed`` is set up. Who waits for a
    process that has failed waits until somebody ends it; who waits for one that dies gets RuntimeError.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.leads = rank == 0
        self.size = size
        # Not the group that trains: on CUDA that one carries tensors of GPUs alone, and its patience is shorter.
        self._channel: Any = dist.new_group(backend="gloo", timeout=_PATIENCE) if size > 1 else None

    def decided(self, decide: Callable[[], _Value]) -> _Value:
        """What ``decide`` returns to the leader, on every process; called once all are ready to hear it."""
        if self.size == 1:
            return decide()
        self._meet(_BETWEEN_CELLS)
        decision: list[Any] = [decide() if self.leads else None]
        dist.broadcast_object_list(decision, src=0, group=self._channel)
        value: _Value = decision[0]
        return value

    def agreed(self, report: Report) -> Report:
        """``report`` for a method that trains on all processes: if the leader's raises, all stop at that step.

        A follower calls its own after the leader's, and raises CellStoppedError if that one raised. Everybody raises
        RuntimeError if they are at different steps.
        """
        if self.size == 1:
            return report
        return self._leading(report) if self.leads else self._following(report)

    def _leading(self, report: Report) -> Report:
        def lead(step: int, values: Mapping[str, float]) -> None:
            try:
                report(step, values)
            except BaseException:
                self._meet(step, stop=True)
                raise
            self._meet(step)

        return lead

    def _following(self, report: Report) -> Report:
        def follow(step: int, values: Mapping[str, float]) -> None:
            if self._meet(step):
                raise CellStoppedError
            report(step, values)

        return follow

    def _meet(self, place: int, *, stop: bool = False) -> bool:
        """Wait until everybody is here; True if somebody wants to stop."""
        state = torch.tensor([place, -place, int(stop)])
        dist.all_reduce(state, dist.ReduceOp.MAX, group=self._channel)
        last, first, stopped = state.tolist()
        if last != -first:
            raise RuntimeError(f"the lane's workers are out of step: one is at {-first}, another at {last}")
        return bool(stopped)


ALONE = LaneGroup()
"""The group of a process that shares nothing."""
