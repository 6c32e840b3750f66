"""Two processes of a lane: they stop alike, and the leader alone finds what one process would. As a script: a process
of two, which meets the other several times."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from adbench.orchestrator.cell import Cell, Watch
from adbench.orchestrator.compose import compose
from adbench.orchestrator.errors import CellStoppedError
from adbench.orchestrator.lane_group import ALONE, LaneGroup
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import make_plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from adbench.reports.schema import RunResult

Facts = dict[str, Any]
Meeting = Callable[[LaneGroup, Path], Facts]


def _cell(*overrides: str, workers: int = 2) -> Cell:
    parsed = parse_overrides(
        [
            "suite=smoke",
            "method=ckaad",
            "category=weave",
            "method.epochs=4",
            f"workers_per_lane={workers}",
            *overrides,
        ]
    )
    (cell,) = make_plan(compose(parsed), parsed).cells
    return cell


def _watched(workers: int) -> Cell:
    watch = Watch(metric="val_image_auroc", shares=(0.5,))
    return _cell("method.anomaly_ratio=0.25", workers=workers).model_copy(update={"watch": watch})


def _facts(result: RunResult) -> Facts:
    record = result.record
    return {
        "status": record.status,
        "error": record.error,
        "world_size": record.world_size,
        "scores": [images.scores.tolist() for images in result.images],
        "watched": [step for step, name, _ in result.history if name == "val_image_auroc"],
        "losses": [value for _, name, value in result.history if name == "loss"],
    }


def decisions(group: LaneGroup, folder: Path) -> Facts:
    """The leader decides what is done next, and stops at the second step; the group goes on."""
    steps: list[int] = []
    ended = ""

    def report(step: int, values: Mapping[str, float]) -> None:
        if group.leads and step == 2:
            raise TimeoutError("too long")
        steps.append(step)

    agreed = group.agreed(report)
    first = group.decided(lambda: "train" if group.leads else "nobody hears this")
    try:
        for step in range(1, 4):
            agreed(step, {})
    except (TimeoutError, CellStoppedError) as stopped:
        ended = type(stopped).__name__
    return {"first": first, "steps": steps, "ended": ended, "then": group.decided(lambda: os.getpid())}


def out_of_step(group: LaneGroup, folder: Path) -> Facts:
    """The follower is a step behind."""
    agreed = group.agreed(lambda step, values: None)
    try:
        agreed(7 if group.leads else 6, {})
    except RuntimeError as error:
        return {"error": str(error)}
    return {}


def one_cell(group: LaneGroup, folder: Path) -> Facts:
    """A watched cell, of which the leader gets a result."""
    return _facts(run_cell(_watched(2), Surroundings(cache_dir=str(folder / "cache")), group=group))


def stopped_cell(group: LaneGroup, folder: Path) -> Facts:
    """The leader is told to abandon the cell at its second epoch."""
    steps: list[int] = []

    def report(step: int, values: Mapping[str, float]) -> None:
        if group.leads and step == 2:
            raise CellStoppedError
        steps.append(step)

    try:
        run_cell(_cell(), Surroundings(), report, group)
    except CellStoppedError:
        return {"steps": steps}
    return {}


def late_cell(group: LaneGroup, folder: Path) -> Facts:
    """The time limit is over after the first epoch."""
    try:
        return _facts(run_cell(_cell(), replace(Surroundings(), timeout=1e-3), group=group))
    except CellStoppedError:
        return {"status": "stopped"}


def lonely_cell(group: LaneGroup, folder: Path) -> Facts:
    """The follower dies amid the training."""

    def report(step: int, values: Mapping[str, float]) -> None:
        if not group.leads and step == 2:
            torch.save({}, folder / "lonely_cell-1.pt")
            os._exit(0)

    return _facts(run_cell(_cell(), Surroundings(), report, group))


MEETINGS: tuple[Meeting, ...] = (decisions, one_cell, stopped_cell, late_cell, out_of_step, lonely_cell)
"""In this order: one group serves all, and the last ends it."""


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory,
    two_processes: Callable[[str, Path], AbstractContextManager[None]],
) -> dict[str, tuple[Facts, Facts]]:
    """What the leader and its follower saw, by the name of the meeting."""
    folder = tmp_path_factory.mktemp("lane")
    with two_processes(__file__, folder):
        pass
    names = [meeting.__name__ for meeting in MEETINGS]
    return {name: (torch.load(folder / f"{name}-0.pt"), torch.load(folder / f"{name}-1.pt")) for name in names}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name"),
]

Found = dict[str, tuple[Facts, Facts]]


def test_the_leader_decides_for_both(found: Found) -> None:
    leader, follower = found["decisions"]
    assert leader["first"] == follower["first"] == "train"
    assert leader["steps"] == follower["steps"] == [1]
    assert (leader["ended"], follower["ended"]) == ("TimeoutError", "CellStoppedError")
    assert leader["then"] == follower["then"], "both go on with the next decision"


def test_processes_out_of_step_both_know(found: Found) -> None:
    for facts in found["out_of_step"]:
        assert "one is at 6, another at 7" in facts["error"]


def test_the_leader_finds_what_one_process_finds(found: Found) -> None:
    leader, follower = found["one_cell"]
    torch.set_num_threads(1)
    alone = _facts(run_cell(_watched(1), Surroundings()))
    assert (leader["status"], follower["status"], alone["status"]) == ("ok", "ok", "ok"), leader["error"]
    assert (leader["world_size"], alone["world_size"]) == (2, 1)
    assert leader["watched"] == alone["watched"] == [2] and follower["watched"] == []
    assert len(leader["losses"]) == 4
    assert leader["losses"] == follower["losses"] == pytest.approx(alone["losses"], rel=2e-3)
    for ours, theirs in zip(leader["scores"], alone["scores"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.03 * np.ptp(theirs))
    assert follower["scores"] == [], "a follower predicts nothing"


def test_a_stop_ends_the_cell_of_both(found: Found) -> None:
    assert found["stopped_cell"] == ({"steps": [1]}, {"steps": [1]})


def test_a_time_limit_fails_the_leaders_cell_alone(found: Found) -> None:
    leader, follower = found["late_cell"]
    assert leader["status"] == "failed" and "cell_timeout" in leader["error"]
    assert len(leader["losses"]) == 1
    assert follower == {"status": "stopped"}


def test_a_dead_follower_fails_the_cell(found: Found) -> None:
    leader, _ = found["lonely_cell"]
    assert leader["status"] == "failed" and "Another worker of the lane does not answer" in leader["error"]
    assert len(leader["losses"]) == 2


def test_alone_nothing_is_shared() -> None:
    def report(step: int, values: Mapping[str, float]) -> None:
        raise AssertionError

    assert ALONE.agreed(report) is report
    assert ALONE.decided(lambda: 5) == 5


def one_of_two(folder: Path, rank: int) -> None:
    """Hold every meeting."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    group = LaneGroup(rank, 2)
    for meeting in MEETINGS:
        torch.save(meeting(group, folder), folder / f"{meeting.__name__}-{rank}.pt")
    os._exit(0)  # The group is broken: nothing can be closed in order.


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]), int(sys.argv[2]))
