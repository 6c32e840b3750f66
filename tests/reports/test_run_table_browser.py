"""The run table in a real browser: sorted, searched, filtered, paged, shared by its address, safe with any name."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsing import BROWSER_TEST, choose, opened, run_cells, run_heading, show_runs
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from selenium_axe_python.axe import Axe

from adbench.reports import page_views, run_table
from adbench.reports.page import render_page
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore
from bench_page import Shape, write_store

pytestmark = BROWSER_TEST
Make = Callable[..., RunResult]
METHODS = ("recon", "ckaad", "patchcore")
VALUES = {"recon": 0.91, "ckaad": 0.099, "patchcore": 0.8}  # as text "9.9" would be above "91.0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, make_result: Make) -> ResultStore:
    """Three methods on three datasets of two modalities under two budgets, with failures: 36 runs."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    for dataset, modality in {"phantom": "industrial", "elpv": "industrial", "ct": "medical"}.items():
        for method in METHODS:
            own = {"dataset": dataset, "modality": modality, "method": method, "category": "one"}
            for seed in (2, 10, 1):
                store.append(make_result(**own, seed=seed, metrics={"image_auroc": VALUES[method], "image_ap": 0.5}))
            error = f"RuntimeError: {method} & co ran out of memory"
            store.append(make_result(**own, seed=0, budget="full", status="failed", error=error))
    return store


@pytest.fixture(scope="module")
def page(store: ResultStore) -> Path:
    return render_page(store)


@pytest.fixture
def driver(page: Path, tmp_path: Path) -> Iterator[Any]:
    with opened(page, tmp_path) as found:
        show_runs(found)
        yield found
        assert found.get_log("browser") == []


def count(driver: Any) -> str:
    return str(driver.find_element(By.ID, "run-count").text)


def search(driver: Any, words: str) -> None:
    """Type into the search box, and wait until the table has followed."""
    box = driver.find_element(By.ID, "run-search")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(words or Keys.DELETE)
    time.sleep(0.4)


def fragment(driver: Any) -> str:
    time.sleep(0.3)
    return str(driver.execute_script("return location.hash"))


def test_library_waits_until_the_table_comes_near(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as driver:
        assert driver.execute_script("return typeof DataTable") == "undefined"
        assert count(driver) == "27 of 36 runs are of what is chosen above (budget smoke)."
        show_runs(driver)
        assert driver.execute_script("return typeof DataTable") == "function"
        assert driver.execute_script("return typeof jQuery") == "undefined"
        assert driver.get_log("browser") == []


def test_printing_draws_the_table_that_nobody_has_seen(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as driver:
        driver.execute_script("dispatchEvent(new Event('beforeprint'))")
        assert len(run_cells(driver, "Status")) == 27


@pytest.mark.parametrize(
    ("title", "rising"),
    [
        ("Seed", [str(seed) for seed in (1, 2, 10) for _ in range(9)]),
        ("Method", [method for method in sorted(METHODS) for _ in range(9)]),
        ("Image AUROC", [value for value in ("9.9", "80.0", "91.0") for _ in range(9)]),
    ],
)
def test_columns_sort_by_mouse_and_by_keyboard(driver: Any, title: str, rising: list[str]) -> None:
    run_heading(driver, title).click()
    time.sleep(0.1)
    assert run_cells(driver, title) == rising
    assert run_heading(driver, title).get_attribute("aria-sort") == "ascending"
    button = run_heading(driver, title).find_element(By.CSS_SELECTOR, "[role=button]")
    button.send_keys(Keys.ENTER)
    time.sleep(0.1)
    assert run_cells(driver, title) == rising[::-1]
    assert run_heading(driver, title).get_attribute("aria-sort") == "descending"
    assert len(driver.find_elements(By.CSS_SELECTOR, "#run-table [aria-sort]")) == 1


def test_every_column_of_values_can_be_sorted(driver: Any) -> None:
    heads = driver.find_elements(By.CSS_SELECTOR, "#run-table thead th")
    sortable = [head.text for head in heads if head.find_elements(By.CSS_SELECTOR, "[role=button][tabindex='0']")]
    assert sortable == ["Status", "Method", "Category", "Seed", "Budget", "Image AUROC", "Fit (s)", "Finished (UTC)"]


def test_undefined_values_are_last_in_both_directions(driver: Any) -> None:
    driver.find_element(By.ID, "run-every").click()
    for _ in range(2):
        run_heading(driver, "Image AUROC").click()
        time.sleep(0.1)
        assert run_cells(driver, "Image AUROC")[-9:] == ["–"] * 9


def test_search_finds_words_in_what_is_not_shown(driver: Any) -> None:
    driver.find_element(By.ID, "run-every").click()
    search(driver, "MEMORY ckaad &")
    assert set(run_cells(driver, "Method")) == {"ckaad"}
    assert count(driver).startswith("3 runs found, 1 to 3 shown. All 36 runs are looked at")
    search(driver, "<b>")
    assert count(driver).startswith("0 runs found. ")
    assert "No run is found." in driver.find_element(By.ID, "run-table").text


def test_each_column_filter_chooses_of_all_values(driver: Any) -> None:
    driver.find_element(By.ID, "run-every").click()
    expected = {"status": (3, "failed", 9), "method": (4, "ckaad", 12), "category": (4, "ct/one", 12)}
    expected |= {"budget": (3, "full", 9), "seed": (5, "10", 9)}
    for name, (options, value, found) in expected.items():
        assert len(Select(driver.find_element(By.ID, f"run-{name}")).options) == options
        choose(driver, f"run-{name}", value)
        assert count(driver).startswith(f"{found} runs found")
        assert set(run_cells(driver, name.capitalize())) == {value}
        choose(driver, f"run-{name}", "")
    choose(driver, "run-method", "ckaad")
    choose(driver, "run-seed", "1")
    assert count(driver).startswith("3 runs found")


def test_table_follows_the_filters_of_the_page_and_says_so(driver: Any) -> None:
    choose(driver, "modality", "medical")
    assert count(driver) == (
        "9 runs found, 1 to 9 shown. 9 of 36 runs are of what is chosen above (budget smoke, medical)."
    )
    assert set(run_cells(driver, "Category")) == {"ct/one"}
    choose(driver, "budget", "full")
    assert set(run_cells(driver, "Status")) == {"failed"}
    choose(driver, "metric", "image_ap")
    assert run_cells(driver, "Image AP") == ["–"] * 3
    driver.find_element(By.ID, "run-every").click()
    assert count(driver).startswith("36 runs found, 1 to 36 shown. All 36 runs are looked at")


def test_address_restores_search_filters_and_sort(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as driver:
        show_runs(driver)
        driver.find_element(By.ID, "run-every").click()
        search(driver, "one")
        choose(driver, "run-status", "ok")
        choose(driver, "run-category", "elpv/one")
        for _ in range(2):
            run_heading(driver, "Seed").click()
            time.sleep(0.1)
        rows, kept = run_cells(driver, "Method"), fragment(driver)
        assert run_cells(driver, "Seed") == ["10"] * 3 + ["2"] * 3 + ["1"] * 3
    assert kept == "#search=one&status=ok&run-category=elpv%2Fone&run-sort=-seed&every=1"
    with opened(page, tmp_path, fragment=kept) as driver:
        show_runs(driver)
        assert run_cells(driver, "Method") == rows
        assert run_heading(driver, "Seed").get_attribute("aria-sort") == "descending"
        assert fragment(driver) == kept
        driver.execute_script("location.hash = arguments[0]", "#run-method=recon&run-sort=record&run-seed=77")
        WebDriverWait(driver, 10).until(lambda one: set(run_cells(one, "Method")) == {"recon"})
        assert count(driver).startswith("9 runs found")
        assert driver.find_elements(By.CSS_SELECTOR, "#run-table [aria-sort]") == []
        assert fragment(driver) == "#run-method=recon"
        assert driver.get_log("browser") == []


def test_rows_beside_the_page_are_said_and_loaded_and_all_are_downloaded(
    store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_table, "MOST_BYTES", 3000)
    monkeypatch.setattr(run_table, "FIRST_BYTES", 2500)
    monkeypatch.setattr(run_table, "PART_BYTES", 2500)
    monkeypatch.setattr(page_views, "MOST_VIEW_BYTES", 1000)
    with opened(render_page(store), tmp_path) as driver:
        show_runs(driver)
        assert "are not loaded" in count(driver)
        choose(driver, "run-status", "failed")
        driver.find_element(By.ID, "run-every").click()
        driver.find_element(By.ID, "run-all").click()
        WebDriverWait(driver, 20).until(lambda one: count(one).startswith("9 runs found"))
        assert "not loaded" not in count(driver)
        assert len(run_cells(driver, "Status")) == 9
        driver.find_element(By.ID, "runs-csv").click()
        file = tmp_path / "adbench-runs.csv"
        WebDriverWait(driver, 20).until(lambda _: file.exists())
        time.sleep(0.2)  # until the browser has closed it
        assert driver.get_log("browser") == []
    stored = store.runs().set_index("run_id")
    table = pd.read_csv(file).set_index("run_id").loc[stored.index]
    assert table["error"].fillna("").tolist() == stored["error"].fillna("").tolist()
    render_page(store)


NAMES = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)> & </td></table>",
    "long": "n" * 300,
    "right to left": "\u202eشذوذ مرئي\u202c קטגוריה",
    "emoji": "🧪🔬👩\u200d🔬",
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_names_are_text_in_cells_lists_and_search(tmp_path: Path, make_result: Make, kind: str, width: int) -> None:
    name = NAMES[kind]
    store = ResultStore(tmp_path / "out")
    store.prepare()
    odd = {"method": name, "dataset": name, "category": name}
    store.append(make_result(**odd))
    store.append(make_result(**odd, seed=1, status="failed", error=f"RuntimeError: {name}"))
    store.append(make_result())
    with opened(render_page(store), tmp_path, width=width) as driver:
        show_runs(driver)
        assert run_cells(driver, "Method").count(name) == 2
        label = f"{name}/{name}"
        assert run_cells(driver, "Category").count(label) == 2
        search(driver, name if kind != "emoji" else "runtimeerror")  # the driver types no emoji
        assert count(driver).startswith("1 run " if kind == "emoji" else "2 runs ")
        choose(driver, "run-method", name)
        choose(driver, "run-category", label)
        choose(driver, "run-status", "failed")
        for title in ("Method", "Category"):
            driver.execute_script("arguments[0].click()", run_heading(driver, title))
            time.sleep(0.1)
        assert run_cells(driver, "Method") == [name]
        driver.find_element(By.CSS_SELECTOR, "#run-table .link").click()
        assert f"RuntimeError: {name}" in driver.execute_script("return document.getElementById('card').textContent")
        driver.find_element(By.ID, "card-close").click()
        assert driver.execute_script("return document.querySelectorAll('#runs img, #runs script').length") == 0
        widths = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1] == width
        assert driver.get_log("browser") == []  # neither an alert nor a request that the policy has refused


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_table_shuts_nobody_out(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with opened(page, tmp_path, width) as driver:
        if dark:
            driver.find_element(By.ID, "theme").click()
        show_runs(driver)
        driver.execute_script("document.querySelector('#run-table [role=button]').click()")
        time.sleep(0.2)
        checker = Axe(driver)
        checker.inject()  # type: ignore[no-untyped-call]
        found = checker.run("'#runs'")
        assert len(found["passes"]) > 15, "axe-core has looked at the table"
        assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]] == []


def test_ten_thousand_runs_are_paged_sorted_and_searched_quickly(tmp_path: Path) -> None:
    store = write_store(tmp_path / "out", Shape(methods=10, datasets=10, categories=20, seeds=5, seconds=60))
    with opened(render_page(store), tmp_path) as driver:
        show_runs(driver)
        if driver.find_element(By.ID, "run-all").is_displayed():
            driver.find_element(By.ID, "run-all").click()
        WebDriverWait(driver, 30).until(lambda one: count(one).startswith("10,000 runs found, 1 to 50 shown"))
        assert len(run_cells(driver, "Method")) == 50
        began = time.perf_counter()
        run_heading(driver, "Image AUROC").click()
        WebDriverWait(driver, 10, 0.02).until(
            lambda _: run_heading(driver, "Image AUROC").get_attribute("aria-sort") == "ascending"
        )
        first = [float(text) for text in run_cells(driver, "Image AUROC")]
        assert first == sorted(first)
        driver.find_element(By.CSS_SELECTOR, ".dt-paging-button.next").click()
        assert count(driver).startswith("10,000 runs found, 51 to 100 shown")
        second = [float(text) for text in run_cells(driver, "Image AUROC")]
        assert first[-1] <= second[0] and second == sorted(second)
        driver.find_element(By.ID, "run-search").send_keys("method03 dataset07")
        WebDriverWait(driver, 10, 0.02).until(lambda one: count(one).startswith("100 runs found, 1 to 50 shown"))
        assert time.perf_counter() - began < 5
        assert driver.get_log("browser") == []
