"""What the page shows equals what plain pandas makes of the Parquet files, under every filter."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsing import BROWSER_TEST, choose, launched, show, wait_ready
from selenium.webdriver.support.ui import WebDriverWait

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports.page import render_page
from adbench.reports.schema import COSTS, METRIC_COLUMNS, PlannedCell, RunResult, SuitePlan
from adbench.reports.store import ResultStore

pytestmark = BROWSER_TEST
CELL = ["dataset", "category", "seed"]
PLACES = {("phantom", "gear"): "industrial", ("phantom", "weave"): "industrial", ("elpv", "mono"): "industrial"}
PLACES |= {("ct", "lung"): "medical"}


def day(number: int) -> dict[str, datetime]:
    return dict.fromkeys(("started_at", "finished_at"), datetime(2026, 3, number, tzinfo=UTC))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, make_result: Callable[..., RunResult]) -> Path:
    """Two suites and budgets, gaps, failures, trials, older data, repeated runs, metrics that are undefined."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()

    def add(method: str, place: tuple[str, str], seed: int, number: int = 2, **more: Any) -> None:
        own = {"method": method, "dataset": place[0], "category": place[1], "modality": PLACES[place], "seed": seed}
        result = make_result(**{**own, **day(number), "gallery": None, "history": (), "images": (), **more})
        if place[0] == "ct" and result.record.status == "ok":
            result.record.metrics["pixel_ap"] = None
        store.append(result)

    for method in ("a", "b", "c", "d"):
        for place in PLACES:
            for seed in range(3):
                if (method, seed) != ("c", 1) and (method != "d" or place == ("ct", "lung")):
                    status = "failed" if (method, place[1], seed) == ("b", "mono", 2) else "ok"
                    add(method, place, seed, suite="one" if seed else "two", status=status)
                if method in "ab" and seed < 2:
                    add(method, place, seed, budget="full", suite="two")
    add("a", ("elpv", "mono"), 0, 1, run_id="older", dataset_fingerprint="0" * 16)
    add("a", ("elpv", "mono"), 1, 1, run_id="repeated")
    add("b", ("phantom", "gear"), 1, 3, run_id="failed-later", status="failed")
    add("b", ("ct", "lung"), 1, 3, run_id="again")
    for number in range(5):
        add("a", ("ct", "lung"), 0, run_id=f"trial-{number}", sweep_id="s", params=f'{{"gamma":{number}}}')
    cell = PlannedCell(run_id="never", method="e", dataset="ct", category="lung", seed=0, budget="smoke")
    store.write_plan(SuitePlan(name="one", title="One", rank_by="image_auroc", cells=(cell,)))
    return Path(render_page(store)).parents[1]


@pytest.fixture(scope="module")
def runs(out: Path) -> pd.DataFrame:
    """All runs, with their ``standing`` by its definition."""
    found = pd.read_parquet(out / "runs").sort_values(["finished_at", "run_id"]).reset_index(drop=True)
    found["standing"] = "current"
    trial = found["sweep_id"].notna() & (found["selection"] == "none")
    newest = found[~trial].groupby(["budget", "dataset", "category"])["dataset_fingerprint"].transform("last")
    found.loc[found["dataset_fingerprint"] != newest.reindex(found.index), "standing"] = "older"
    found.loc[trial, "standing"] = "trial"
    own = found[found["standing"] == "current"].assign(ok=lambda frame: frame["status"] == "ok")
    last = own.sort_values("ok", kind="stable").drop_duplicates(["method", "budget", *CELL], keep="last")
    found.loc[own.index.difference(last.index), "standing"] = "repeated"
    assert set(found["standing"]) == {"current", "older", "repeated", "trial"}
    return found


@pytest.fixture(scope="module")
def driver(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(tmp_path_factory.mktemp("browser")) as found:
        show(found, (out / "report" / "index.html").as_uri())
        wait_ready(found)
        boxes = "document.querySelectorAll('#columns input:not(:checked)').forEach((box) => box.click())"
        found.execute_script(boxes)
        yield found


def text_of(driver: Any, selector: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def test_counts_of_runs_and_of_the_coverage(driver: Any, runs: pd.DataFrame) -> None:
    chips = [text_of(driver, f".top .chip.{name}") for name in ("ok", "failed")]
    assert chips == [f"{(runs['status'] == 'ok').sum()} runs ok", f"{(runs['status'] == 'failed').sum()} failed"]
    current = runs[runs["standing"] == "current"]
    missing = 0
    for _, own in current.groupby("budget"):
        cells = own[CELL].drop_duplicates()
        missing += len(cells) * own["method"].nunique() - len(own)
    counts = runs["standing"].value_counts()
    text = " ".join(text_of(driver, "#coverage > p").split())
    found = re.findall(
        r"(\d+) (failed cell|missing|planned|runs? (?:is|are) of older|runs? (?:is|are) super|trials)", text
    )
    assert [int(number) for number, _ in found] == [
        *((current["status"] == "failed").sum(), missing, 1, counts["older"], counts["repeated"], counts["trial"])
    ]


def shared(rows: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Methods with values in half of the categories, and their rows in the cells that all of these have."""
    places = rows.drop_duplicates(["method", "dataset", "category"]).groupby("method").size()
    methods = places.index[2 * places >= len(rows[["dataset", "category"]].drop_duplicates())]
    own = rows[rows["method"].isin(methods)]
    return sorted(methods), own[own.groupby(CELL)["method"].transform("nunique") == len(methods)]


@pytest.mark.parametrize("budget", ["smoke", "full"])
@pytest.mark.parametrize(
    "chosen", [{}, {"modality": "medical"}, {"modality": "industrial"}, {"dataset": "phantom"}, {"dataset": "elpv"}]
)
def test_tables_under_every_filter(driver: Any, runs: pd.DataFrame, budget: str, chosen: dict[str, str]) -> None:
    choose(driver, "modality", "")
    choose(driver, "budget", budget)
    for name, value in chosen.items():
        choose(driver, name, value)
    rows = runs[(runs["standing"] == "current") & (runs["budget"] == budget)]
    for name, value in chosen.items():
        rows = rows[rows[name] == value]
    methods, both = shared(rows[rows["status"] == "ok"])
    numbers = [len(methods), *(len(frame[CELL].drop_duplicates()) for frame in (both, rows))]
    numbers += [len(frame[["dataset", "category"]].drop_duplicates()) for frame in (both, rows)]
    assert [int(one) for one in re.findall(r"\d+", text_of(driver, "#scope"))][:5] == numbers
    table = cells_of(driver, "#headline", ".mean")
    assert sorted(table) == methods
    for metric in METRIC_COLUMNS:
        values = shared(both[both[metric].notna()])[1]
        means = values.groupby(["method", "dataset", "category"])[metric].mean().unstack("method")
        expected = 100 * means.mean()
        found = {method: float(row[metric]) for method, row in table.items() if metric in row}
        assert found == pytest.approx(expected.to_dict(), abs=0.0501), metric
        if metric == "image_auroc":
            ranks = means.rank(axis=1, ascending=not METRICS[metric].higher_is_better)
            assert {one: float(table[one]["rank"]) for one in methods} == pytest.approx(
                ranks.mean().to_dict(), abs=0.00501
            )
            assert {one: int(table[one]["wins"]) for one in methods} == (ranks == 1).sum().to_dict()
    costs = cells_of(driver, "#costs", "")
    known = both.groupby("method")[[*COSTS]].mean()
    assert len(costs) == len(methods)
    for method, row in costs.items():
        spent = [None if text == "–" else float(text.replace(",", "")) for text in list(row.values())[1:5]]
        own = [float(value) for value in known.loc[method].to_numpy()]
        assert spent == [None if value != value else pytest.approx(value, rel=0.006) for value in own]


def cells_of(driver: Any, table: str, inner: str) -> dict[str, dict[str, str]]:
    """By the method that begins a row, the texts of its cells by the keys of the columns, or by their places."""
    script = """
        const [table, inner] = arguments;
        const heads = [...document.querySelectorAll(`${table} thead th`)].map((one, at) => one.dataset.key ?? at);
        const rows = [...document.querySelectorAll(`${table} tbody tr:not(.apart)`)].map((row) => [...row.children]);
        const shown = (cell) => ((inner && cell.querySelector(inner)) || cell.firstChild || cell).textContent;
        return rows.map((row) => row.map((cell, at) => [heads[at], shown(cell)]));
    """
    rows = [dict(row) for row in driver.execute_script(script, table, inner)]
    return {next(iter(row.values())): row for row in rows}


def test_rows_of_the_run_table_and_of_its_file(
    driver: Any, runs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert text_of(driver, "#run-count").startswith(f"{len(runs)} runs found")
    folder = tmp_path_factory.mktemp("download")
    driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    driver.execute_script("document.getElementById('runs-csv').click()")
    file = folder / "adbench-runs.csv"
    WebDriverWait(driver, 20).until(lambda _: file.exists())
    time.sleep(0.2)  # until the browser has closed it
    table = pd.read_csv(file).set_index("run_id").sort_index()
    expected = runs.set_index("run_id").sort_index()
    assert table["standing"].to_dict() == expected["standing"].to_dict()
    for name in ("status", *METRIC_COLUMNS, "fit_seconds", "seed"):
        assert table[name].tolist() == pytest.approx(expected[name].tolist(), nan_ok=True), name
    assert driver.get_log("browser") == []
