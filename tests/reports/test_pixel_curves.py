"""Pixel ROC and PRO curves of the page: means computed independently, what is shared, and what kept none."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adbench.benchmark_suites.sampled_curve import FALSE_POSITIVE_RATES, CurveName
from adbench.reports import conclusions, pixel_curves
from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.pixel_curves import build_pixel_curves
from adbench.reports.schema import KeptCurve, RunResult
from adbench.reports.side_files import SideFiles
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]
PRO = FALSE_POSITIVE_RATES[FALSE_POSITIVE_RATES <= 0.3]


def curve(power: float, name: CurveName = "pro") -> KeptCurve:
    heights = (FALSE_POSITIVE_RATES**power).tolist()
    return KeptCurve(split="test", name=name, x=tuple(FALSE_POSITIVE_RATES.tolist()), y=tuple(heights))


@pytest.fixture
def built(make_result: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Store runs, given as (method, category, seed, power of the PRO curve or None), and build the curves."""

    def build(*cells: tuple[str, str, int, float | None], beside: SideFiles | None = None) -> Any:
        store = ResultStore(tmp_path_factory.mktemp("store"))
        store.prepare()
        for method, category, seed, power in cells:
            curves = () if power is None else (curve(power),)
            metrics = {"aupro_030": 0.5, "image_auroc": 0.5}
            own = {"method": method, "category": category, "seed": seed, "metrics": metrics, "gallery": None}
            store.append(make_result(**own, curves=curves))
        runs = store.runs()
        board: Leaderboard = build_leaderboard(runs, store.images(), created=runs["finished_at"].max(), resamples=20)
        return board, build_pixel_curves(board, store.curves, beside or SideFiles())

    return build


def expected(*powers: float) -> list[float]:
    return list(np.mean([PRO**power for power in powers], axis=0))


def lines(board: Leaderboard, view: Any) -> dict[str, list[float]]:
    return {board.entries[line["entry"]].method: line["y"] for line in view["lines"]}


def test_categories_are_means_over_own_seeds_and_the_mean_is_over_shared_cells(built: Callable[..., Any]) -> None:
    board, found = built(
        ("a", "x", 0, 0.1), ("a", "x", 1, 0.3), ("a", "y", 0, 0.5), ("b", "x", 0, 0.2), ("b", "y", 0, 0.6)
    )  # fmt: skip
    assert list(found["kinds"]) == ["pro"], "no run has pixel AUROC or sPRO"
    kind = found["kinds"]["pro"]
    assert kind["x"] == PRO.tolist() and kind["x"][-1] == 0.3
    places = {board.categories[place].category: place for place in range(len(board.categories))}
    of_dataset = kind["datasets"]["smoke"]["phantom"]
    x = lines(board, of_dataset[places["x"]])
    assert x["a"] == pytest.approx(expected(0.1, 0.3), abs=6e-4)
    assert x["b"] == pytest.approx(expected(0.2), abs=6e-4)
    mean = kind["slices"][0]
    assert (mean["n_categories"], mean["able"], mean["kept"]) == (2, 5, 5)
    means = lines(board, mean)
    assert means["a"] == pytest.approx(expected(0.1, 0.5), abs=6e-4), "seed 1 is not shared"
    assert means["b"] == pytest.approx(expected(0.2, 0.6), abs=6e-4)


def test_categories_weigh_alike_whatever_their_seeds(built: Callable[..., Any]) -> None:
    cells = [("x", 0, 0.1), ("x", 1, 0.3), ("y", 0, 0.8)]
    board, found = built(*((method, *cell) for method in "ab" for cell in cells))
    mean = lines(board, found["kinds"]["pro"]["slices"][0])
    over_seeds = np.mean([expected(0.1, 0.3), expected(0.8)], axis=0)
    assert mean["a"] == mean["b"] == pytest.approx(list(over_seeds), abs=6e-4)


def test_runs_without_curves_are_counted(built: Callable[..., Any]) -> None:
    _, found = built(("a", "x", 0, 0.1), ("a", "y", 0, None), ("b", "x", 0, None), ("b", "y", 0, None))
    mean = found["kinds"]["pro"]["slices"][0]
    assert (mean["able"], mean["kept"]) == (4, 1)
    _, none = built(("a", "x", 0, None))
    assert none["kinds"]["pro"]["slices"][0]["lines"] == []
    assert none["kinds"]["pro"]["datasets"] == {}


def test_many_categories_lie_beside_the_page_and_only_runs_shown_are_read(
    built: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_curves, "MOST_LINES", 1)
    beside = SideFiles()
    _, found = built(("a", "x", 0, 0.1), ("a", "y", 0, 0.2), beside=beside)
    file = found["kinds"]["pro"]["datasets"]["smoke"]["phantom"]
    assert file["file"].removeprefix("parts/") in beside.contents
    assert file["places"] == [0, 1]

    board, _ = built(("a", "x", 0, 0.1), ("a", "y", 0, 0.2))
    asked: list[str] = []

    def read(run_ids: Iterable[str], columns: list[str]) -> pd.DataFrame:
        asked.extend(run_ids)
        return pd.DataFrame(columns=columns)

    board.sorted.runs.loc[board.sorted.runs["place"] == 0, "standing"] = "older"
    build_pixel_curves(board, read, SideFiles())
    assert asked == board.sorted.runs.loc[board.sorted.runs["place"] == 1, "run_id"].tolist()


def test_points_at_other_rates_are_left_out(built: Callable[..., Any]) -> None:
    board, _ = built(("a", "x", 0, 0.1))
    row = {"run_id": board.sorted.runs["run_id"][0], "split": "test", "name": "pro", "y": np.array([0.0, 1.0])}
    mean = build_pixel_curves(board, lambda *_: pd.DataFrame([row]), SideFiles())["kinds"]["pro"]["slices"][0]
    assert (mean["able"], mean["kept"], mean["lines"]) == (1, 0, [])


def test_a_conclusion_says_who_leads_where() -> None:
    rates = np.array([0.0, 0.05, 0.3])
    own: dict[str, Any] = {"marked": 0.05, "what": "PRO", "n_categories": 2}
    high, low, late = [0.1, 0.6, 0.9], [0.1, 0.4, 0.8], [0.0, 0.2, 0.95]
    leads = conclusions.of_curves(np.array([low, high]), rates, ["b", "a"], **own)
    assert leads == (
        "a finds most at every rate up to 0.3 (PRO 60.0 % at a rate of 0.05, b 40.0 %). That holds for these "
        "2 categories; curves have no intervals, so a small lead may be chance."
    )
    crossing = conclusions.of_curves(np.array([high, late]), rates, ["a", "c"], **own)
    assert "a finds most at a rate of 0.05 (PRO 60.0 % at a rate of 0.05, c 20.0 %), but c at 0.3" in crossing
    assert "a and b are alike" in conclusions.of_curves(np.array([high, high]), rates, ["a", "b"], **own)
    assert conclusions.of_curves(np.array([high]), rates, ["a"], **own).startswith("One method alone")
    assert conclusions.of_curves(np.zeros((0, 3)), rates, [], **own) == ""
