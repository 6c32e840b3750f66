"""Schedules keep the bounds that any list schedule keeps; durations are those of the most alike recorded runs."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from adbench.datasets.errors import RequestError
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.record import recorded_params
from adbench.orchestrator.simulate import (
    CELL_OVERHEAD_SECONDS,
    LANE_START_SECONDS,
    recorded_seconds,
    simulate,
    simulation,
)

PlanOf = Callable[..., Plan]


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    """Several categories, four seeds."""
    from adbench.orchestrator.compose import compose
    from adbench.orchestrator.overrides import parse_overrides
    from adbench.orchestrator.plan import make_plan

    parsed = parse_overrides(["suite=smoke", "method=recon", "dataset=phantom", "seed=range(0,4)"])
    return make_plan(compose(parsed), parsed).cells


@given(st.data(), st.integers(1, 15))
def test_schedules_keep_the_known_bounds(cells: tuple[Cell, ...], data: st.DataObject, lanes: int) -> None:
    seconds = {cell.run_id: data.draw(st.floats(0.1, 1000.0)) for cell in cells}
    schedule = simulate(cells, seconds, lanes)
    total, longest = sum(seconds.values()), max(seconds.values())
    overhead = LANE_START_SECONDS + CELL_OVERHEAD_SECONDS * len(cells)
    assert schedule.busy == pytest.approx(total)
    assert schedule.makespan >= max(total / lanes, longest) + LANE_START_SECONDS - 1e-6
    assert schedule.makespan <= total / lanes + (1 - 1 / lanes) * longest + overhead + 1e-6  # Graham, 1966
    assert 0 <= schedule.idle < 1


def _row(cell: Cell, seconds: float, **changed: object) -> dict[str, object]:
    start = pd.Timestamp("2026-01-01", tz="UTC")
    facts = {key: getattr(cell, key) for key in ("method", "dataset", "category", "budget", "image_size")}
    times = {"started_at": start, "finished_at": start + pd.Timedelta(seconds=seconds)}
    return {**facts, "params": recorded_params(cell), "status": "ok", **times, **changed}


def test_the_most_alike_runs_count(cells: tuple[Cell, ...]) -> None:
    cell = cells[0]
    alike = [_row(cell, 10.0), _row(cell, 20.0), _row(cell, 90.0)]  # The median is 20.
    others = [_row(cell, 70.0, params="{}"), _row(cell, 1.0, status="failed"), _row(cell, 2.0, image_size=1024)]
    found, served = recorded_seconds([cell], pd.DataFrame([*alike, *others]))
    assert found == {cell.run_id: 20.0} and served == {"the same setting and images": 1}
    found, served = recorded_seconds([cell], pd.DataFrame(others))
    assert found == {cell.run_id: 70.0} and served == {"the same method and images": 1}
    found, served = recorded_seconds([cell], pd.DataFrame([_row(cell, 30.0, dataset="elpv", category="mono")]))
    assert found == {cell.run_id: 30.0} and served == {"the same method": 1}


def test_a_method_that_was_never_recorded_is_named(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(RequestError, match="how long these methods take: recon") as caught:
        recorded_seconds(cells, pd.DataFrame([_row(cells[0], 1.0, budget="full")]))
    assert "adbench run suite=smoke method=recon" in "\n".join(caught.value.lines())


def test_the_table_shows_the_price(cells: tuple[Cell, ...]) -> None:
    text = simulation(cells, pd.DataFrame([_row(cells[0], 3600.0)]), lanes=len(cells), price=2.0)
    assert f"{len(cells)} cells, {len(cells)} h 0 min of work" in text
    assert text.splitlines()[2].split()[0] == str(len(cells))
    assert float(text.splitlines()[2].split()[-1]) == pytest.approx(2.0 * len(cells), rel=0.01)


def test_the_command(adbench: Callable[..., Result], tmp_path: Path) -> None:
    missing = adbench("simulate", "suite=smoke", "--from", str(tmp_path / "nowhere"))
    assert missing.exit_code == 2 and "no results in" in missing.output
    run = adbench("run", "suite=smoke", "method=recon", "launcher=inprocess", f"out={tmp_path}")
    assert run.exit_code == 0, run.output
    told = adbench("simulate", "suite=smoke", "method=recon", "seed=range(0,50)", "--from", str(tmp_path))
    assert told.exit_code == 0, told.output
    assert [line.split()[0] for line in told.stdout.splitlines()[1:-1]] == ["lanes", "1", "2", "10", "40", "100"]
