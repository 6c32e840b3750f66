"""One cell removed or failed changes exactly what it should: all else stays to the bit, and the coverage names it."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from adbench.reports.coverage import build_coverage
from adbench.reports.intervals import estimate_means
from adbench.reports.leaderboard import Aggregate, Leaderboard, Slice, build_leaderboard
from adbench.reports.resampling import resample_runs
from adbench.reports.schema import PlannedCell, RunResult, SuitePlan
from adbench.reports.store import ResultStore

pytestmark = pytest.mark.slow
METHODS, SEEDS, BUDGETS = ("a", "b", "c", "d"), (0, 1, 2), ("full", "smoke")
PLACES = {
    ("elpv", "mono"): "industrial",
    ("elpv", "poly"): "industrial",
    ("phantom", "gear"): "industrial",
    ("ct", "lung"): "medical",
}
METRICS = {"image_auroc": 1, "pixel_auroc": 1, "image_fpr95": -1}  # and whether larger is better
COSTS = ("fit_seconds", "predict_ms_per_image", "peak_rss_mb")
RESAMPLES = 50
CELLS = list(product(METHODS, PLACES, SEEDS, BUDGETS))


def metrics_of(method: str, place: tuple[str, str], seed: int) -> dict[str, float | None]:
    """Values with ties between methods; without masks in ct, nor for one method's seed of another dataset."""
    rng = np.random.default_rng([ord(method), ord(place[0][0]), ord(place[1][0]), seed])
    found: dict[str, float | None] = {name: round(float(rng.uniform(0.5, 0.7)), 1) for name in METRICS}
    if place[0] == "ct" or (method, place[1], seed) == ("b", "poly", 1):
        found["pixel_auroc"] = None
    return found


@pytest.fixture(scope="module")
def tables(
    tmp_path_factory: pytest.TempPathFactory, make_result: Callable[..., RunResult]
) -> dict[str, pd.DataFrame]:
    """All cells as ok and as failed, by run_id, and the image scores: the Parquet files of two stores."""
    found = {}
    for status in ("ok", "failed"):
        store = ResultStore(tmp_path_factory.mktemp(status))
        store.prepare()
        results = []
        for method, place, seed, budget in CELLS:
            own: dict[str, Any] = {"method": method, "dataset": place[0], "category": place[1], "seed": seed}
            own |= {"budget": budget, "modality": PLACES[place], "status": status, "gallery": None, "history": ()}
            if status == "ok":
                own |= {"metrics": metrics_of(method, place, seed)}
            else:
                own |= {"error": f"MemoryError: {method} {place[1]} {seed} {budget}"}
            results.append(make_result(**own))
            store.append(results[-1])
        store.compact()
        order = [result.record.run_id for result in results]
        found[status] = pd.read_parquet(Path(store.out) / "runs").set_index("run_id", drop=False).loc[order]
        if status == "ok":
            found["images"] = pd.read_parquet(Path(store.out) / "images")
    return found


def board_of(tables: dict[str, pd.DataFrame], states: dict[int, str]) -> tuple[pd.DataFrame, Leaderboard]:
    """The runs when cells are in these ``states`` (ok if not named), and their leaderboard."""
    order = tables["ok"].index  # as CELLS
    chosen = {
        state: [order[index] for index, own in states.items() if own == state] for state in ("missing", "failed")
    }
    kept = tables["ok"].drop([*chosen["missing"], *chosen["failed"]])
    runs = pd.concat([kept, tables["failed"].loc[chosen["failed"]]], ignore_index=True)
    names = [one.name for one in fields(PlannedCell)]
    cells = tuple(
        PlannedCell(**dict(zip(names, row, strict=True))) for row in tables["ok"][names].to_numpy().tolist()
    )
    plan = SuitePlan(name="quickstart", title="Q", rank_by="image_auroc", cells=cells)
    images = tables["images"][tables["images"]["run_id"].isin(runs.loc[runs["status"] == "ok", "run_id"])]
    created = datetime(2026, 2, 1, tzinfo=UTC)
    return runs, build_leaderboard(runs, images, plans=[plan], created=created, resamples=RESAMPLES)


def bits(value: Any) -> Any:
    """A value in a form that compares every float to the bit."""
    if is_dataclass(value):
        return {one.name: bits(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {key: bits(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def compared_on(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The methods compared and the cells that all of them have, of rows that each hold one."""
    held = {str(method): set(cells) for method, cells in rows.groupby("method")["cell"]}
    places = {method: {cell.split(",")[0] for cell in cells} for method, cells in held.items()}
    total = len(set().union(*places.values()))
    methods = [method for method in sorted(held) if 2 * len(places[method]) >= total]
    while methods and not set.intersection(*(held[one] for one in methods)):
        fewest = min(len(held[one]) for one in methods)
        methods.remove([one for one in methods if len(held[one]) == fewest][-1])
    return methods, sorted(set.intersection(*(held[one] for one in methods))) if methods else []


def on(rows: pd.DataFrame, methods: list[str], cells: list[str]) -> pd.DataFrame:
    return rows[rows["method"].isin(methods) & rows["cell"].isin(cells)]


def check_slice(part: Slice, board: Leaderboard, runs: pd.DataFrame, images: pd.DataFrame) -> None:
    """The slice has what follows from the rows by the definitions alone."""
    rows = runs[runs["budget"] == part.budget]
    rows = rows.assign(cell=rows["dataset"] + "/" + rows["category"] + ", seed " + rows["seed"].astype(str))
    present = set(rows["method"])
    for name in ("modality", "dataset"):
        rows = rows if getattr(part, name) is None else rows[rows[name] == getattr(part, name)]
    ok = rows[rows["status"] == "ok"]
    methods, cells = compared_on(ok)
    labels = [entry.label for entry in board.entries]
    assert [labels[entry] for entry in part.compared] == methods
    assert {labels[entry] for entry, _ in part.not_compared} == present - {*methods}
    assert (part.n_cells, part.n_shared_cells) == (rows["cell"].nunique(), len(cells))
    assert set(part.left_out) == {left_out(rows, methods, cell) for cell in {*rows["cell"]} - {*cells}}
    shared = on(ok, methods, cells)
    for entry, label in enumerate(labels):
        known = shared[shared["method"] == label][[*COSTS]].mean()
        cost = part.costs[entry]
        assert (cost is None) == (label not in methods)
        if cost is not None:
            assert [getattr(cost, name) for name in COSTS] == pytest.approx([known[name] for name in COSTS])
    for name in METRICS:
        defined = shared[shared[name].notna()]
        assert (name in part.metrics) == (len(defined) > 0)
        if len(defined):
            check_metric(part.metrics[name], name, labels, on(defined, *compared_on(defined)), images)


def left_out(rows: pd.DataFrame, methods: list[str], cell: str) -> str:
    status = rows[rows["cell"] == cell].set_index("method")["status"].to_dict()
    return (
        f"{cell}: {', '.join(f'{one} {known}' for one in methods if (known := status.get(one, 'missing')) != 'ok')}"
    )


def check_metric(found: Aggregate, name: str, labels: list[str], rows: pd.DataFrame, images: pd.DataFrame) -> None:
    """Means, ranks, wins, intervals and Friedman's test over rows of the compared methods and shared cells."""
    means = rows.groupby(["method", "dataset", "category"])[name].mean().unstack("method").round(12)
    estimates = {label: one for label, one in zip(labels, found.estimates, strict=True) if one is not None}
    assert list(estimates) == list(means.columns)
    better = means.rank(axis=1, ascending=METRICS[name] < 0)
    ahead = better.min(axis=1) == 1
    values = list(estimates.values())
    assert [one.mean for one in values] == pytest.approx(means.mean().tolist())
    assert [one.rank for one in values] == pytest.approx(better.mean().tolist())
    assert [one.wins for one in values] == [int((ahead & (better[one] == 1)).sum()) for one in estimates]
    assert found.n_cells * len(estimates) == len(rows)
    by_place = [
        own.pivot(index="method", columns="seed", values=name) for _, own in rows.groupby(["dataset", "category"])
    ]
    noise = None
    if name == "image_auroc":
        own = rows.assign(cell=rows["cell"].factorize()[0])
        row = own["method"].map({method: index for index, method in enumerate(estimates)})
        where = dict(zip(own["run_id"], zip(row, own["cell"], strict=True), strict=True))
        named = (own["dataset"] + "/" + own["category"]).groupby(own["cell"]).first()
        resampled = resample_runs(images, where, named.tolist(), (len(estimates), len(named)), RESAMPLES)
        columns = [np.flatnonzero(named == one) for one in named.unique()]
        found_noise = [resampled.noise(name, np.arange(len(estimates)), one) for one in columns]
        noise = [one for one in found_noise if one is not None]
    expected = estimate_means([one.to_numpy() for one in by_place], noise)
    assert found.interval == expected.interval
    ends = [(one.low, one.high) for one in values]
    known = zip(expected.low, expected.high, strict=True)
    assert ends == [(None, None) if np.isnan(low) else pytest.approx((low, high)) for low, high in known]
    if len(estimates) > 2 and len(means) > 1 and means.nunique(axis=1).max() > 1:
        assert found.comparison is not None and found.comparison.friedman is not None
        statistic = stats.friedmanchisquare(*(METRICS[name] * means[one] for one in estimates)).statistic
        assert found.comparison.friedman[0] == pytest.approx(statistic)


def covered(board: Leaderboard) -> dict[str, set[tuple[str, ...]]]:
    """What the coverage names: of each kind method, budget, category, seed, and for failures the error."""
    found = build_coverage(board)

    def named(one: Any, *more: str) -> set[tuple[str, ...]]:
        parts = [re.fullmatch(r"(.*) \(seed (.*)\)", cell) for cell in one.cells]
        return {
            (one.method, one.budget, part[1], seed, *more) for part in parts if part for seed in part[2].split(", ")
        }

    kinds = {
        "failed": set().union(*(named(one, one.error or "") for one in found.failures)),
        "missing": set().union(*map(named, found.missing)),
        "planned": set().union(*map(named, found.planned)),
    }
    assert {name: len(own) for name, own in kinds.items()} == {
        name: getattr(found, f"n_{name}") for name in ("failed", "missing", "planned")
    }
    return kinds


def check_coverage(board: Leaderboard, runs: pd.DataFrame) -> None:
    everywhere = {(method, budget, "/".join(place), str(seed)): place for method, place, seed, budget in CELLS}
    held = {
        (one.method, one.budget, f"{one.dataset}/{one.category}", str(one.seed)): one.error
        for one in runs.itertuples()
    }
    known = {cell[1:] for cell in held}
    present = {cell[:2] for cell in held}
    assert covered(board) == {
        "failed": {(*cell, error) for cell, error in held.items() if isinstance(error, str)},
        "missing": {cell for cell in everywhere if cell not in held and cell[1:] in known and cell[:2] in present},
        "planned": {cell for cell in everywhere if cell not in held},
    }


LOST = st.sampled_from(["missing", "failed"])
SINGLE = st.dictionaries(st.integers(0, len(CELLS) - 1), LOST, max_size=12)
WHOLE = st.dictionaries(st.tuples(st.sampled_from(METHODS), st.sampled_from([*PLACES])), LOST, max_size=6)
GEAR = [CELLS.index(("d", ("phantom", "gear"), seed, "full")) for seed in SEEDS]


@settings(max_examples=10, phases=(Phase.explicit, Phase.generate))  # shrinking takes minutes
@example({}, {}, 0)
@example(dict.fromkeys(GEAR[1:], "missing"), {("d", ("elpv", one)): "failed" for one in ("mono", "poly")}, GEAR[0])
@given(single=SINGLE, whole=WHOLE, cell=st.integers(0, len(CELLS) - 1))
def test_one_cell_changes_what_it_is_in_and_nothing_else(
    tables: dict[str, pd.DataFrame], single: dict[int, str], whole: dict[tuple[str, tuple[str, str]], str], cell: int
) -> None:
    """``single`` cells and ``whole`` categories of methods, in one budget, are lost before this one is."""
    lost = {index: state for index, own in enumerate(CELLS) if own[3] == "full" and (state := whole.get(own[:2]))}
    before = {index: state for index, state in {**lost, **single}.items() if index != cell}
    _, (dataset, _), _, budget = CELLS[cell]
    _, unchanged = board_of(tables, before)
    kept = {(one.budget, one.modality, one.dataset): bits(one) for one in unchanged.slices}
    aggregates = {}
    for state in ("missing", "failed"):
        runs, board = board_of(tables, {**before, cell: state})
        check_coverage(board, runs)
        for part in board.slices:
            inside = part.budget == budget and part.modality in (None, PLACES[CELLS[cell][1]])
            if inside and part.dataset in (None, dataset):
                check_slice(part, board, runs, tables["images"])
            else:
                assert bits(part) == kept[part.budget, part.modality, part.dataset]
        check_single_intervals(board, unchanged, cell, tables["ok"].index[cell])
        aggregates[state] = [bits(part.metrics) for part in board.slices]
    assert aggregates["missing"] == aggregates["failed"]


def check_single_intervals(board: Leaderboard, whole: Leaderboard, cell: int, run_id: str) -> None:
    """Of methods in categories, and of runs: those of all others are as they were.

    Within the cell's category a matrix product over all that share resamples may move the last bit.
    """
    method, place, _, budget = CELLS[cell]
    here = (budget, "/".join(place))
    found, before = (
        {
            (budget, some.categories[at].label, some.entries[entry].label, name): (one.low, one.high, one.interval)
            for (budget, name), own in some.cell_intervals.items()
            for (at, entry), one in own.items()
        }
        for some in (board, whole)
    )
    for key in (found.keys() | before.keys()) - {(*here, method, name) for name in METRICS}:
        if key[:2] != here:
            assert found[key] == before[key]
        else:
            assert found[key][:2] == pytest.approx(before[key][:2], rel=1e-9) and found[key][2] == before[key][2]
    runs = whole.sorted.runs.set_index("run_id").drop(run_id)
    inside = (runs["budget"] == budget) & (runs["dataset"] == place[0]) & (runs["category"] == place[1])
    for own, tolerance in ((runs.index[~inside], 0), (runs.index[inside], 1e-9)):
        kept = [run_id for run_id in own if run_id in board.run_intervals.index]
        now, then = (some.run_intervals.loc[kept].to_numpy() for some in (board, whole))
        np.testing.assert_allclose(now, then, rtol=tolerance)
