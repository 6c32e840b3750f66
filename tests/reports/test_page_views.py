"""Views in a real browser: shared by their address, followed by every part, loaded from files beside the page."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    BROWSER_TEST,
    choose,
    headline,
    opened,
    scroll_to_figure,
    show_runs,
    sort_button,
    sort_state,
    wait_ready,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from adbench.reports import page_views, run_table
from adbench.reports.page import render_page
from adbench.reports.schema import PlannedCell, PublishedValue, RunResult, SuitePlan
from adbench.reports.store import ResultStore

pytestmark = BROWSER_TEST
Make = Callable[..., RunResult]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, make_result: Make) -> ResultStore:
    """Three methods on three datasets of two modalities under two budgets, with failures and published values."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    for dataset, modality in {"phantom": "industrial", "elpv & co": "industrial", "ct": "medical"}.items():
        for method in ("a", "b", "c"):
            for seed in range(3):
                place = {"method": method, "dataset": dataset, "modality": modality, "seed": seed}
                store.append(make_result(**place))
        store.append(make_result(dataset=dataset, modality=modality, method="a", budget="full"))
        store.append(make_result(dataset=dataset, modality=modality, method="c", category="bad", status="failed"))
    best = PublishedValue(
        method="paper", dataset="ct", category="", metric="image_auroc", value=0.99, source="table 1"
    )
    store.write_plan(SuitePlan(name="q", title="Q", rank_by="image_auroc", cells=(), published=(best,)))
    return store


def shown(driver: Any) -> dict[str, Any]:
    """All that the address keeps, as the page shows it."""
    names = ["budget", "modality", "dataset", "metric", "cost-axis", "run-search", "run-status"]
    script = """
        return [...arguments[0].map((name) => document.getElementById(name).value),
          document.getElementById("published").checked,
          [...document.querySelectorAll("#headline thead th")].map((head) => [head.dataset.key, head.ariaSort])];
    """
    return dict(zip([*names, "published", "columns"], driver.execute_script(script, names), strict=True))


def fragment(driver: Any) -> str:
    """The address's fragment, once it is written."""
    time.sleep(0.3)
    return str(driver.execute_script("return location.hash"))


def test_address_restores_the_whole_view(store: ResultStore, tmp_path: Path) -> None:
    path = render_page(store)
    with opened(path, tmp_path) as driver:
        assert fragment(driver) == ""
        entries = driver.execute_script("return history.length")
        choose(driver, "modality", "medical")
        choose(driver, "dataset", "ct")
        choose(driver, "metric", "pixel_ap")
        choose(driver, "cost-axis", "peak_rss_mb")
        driver.execute_script("document.querySelector('#columns input[value=image_ap]').click()")
        for _ in range(2):
            driver.execute_script("arguments[0].click()", sort_button(driver, "pixel_ap"))
        driver.execute_script("document.getElementById('published').click()")
        driver.find_element(By.ID, "run-search").send_keys("ct & bad")
        choose(driver, "run-status", "failed")
        before, rows, kept = shown(driver), headline(driver, "method"), fragment(driver)
        assert driver.execute_script("return history.length") == entries
        driver.find_element(By.CSS_SELECTOR, ".sections a[href='#cost']").click()
        assert fragment(driver) == kept
        assert driver.get_log("browser") == []
    with opened(path, tmp_path, fragment=kept) as driver:
        assert shown(driver) == before
        assert headline(driver, "method") == rows
        assert sort_state(driver, "pixel_ap") == "ascending"
        show_runs(driver)
        assert driver.find_element(By.ID, "run-count").text.startswith("0 runs found")
        assert driver.find_elements(By.CSS_SELECTOR, "#headline tr.published")
        assert fragment(driver) == kept
        driver.execute_script("location.hash = arguments[0]", "#budget=full&search=")
        WebDriverWait(driver, 10).until(lambda one: shown(one)["budget"] == "full")
        assert shown(driver)["metric"] == "image_auroc" and not shown(driver)["published"]
        assert driver.get_log("browser") == []


@pytest.mark.parametrize(
    "wrong",
    [
        "#budget=none&modality=x&dataset=%3Cscript%3E&metric=old&cost=0&sort=-no&columns=old&status=odd&published=2",
        "#%E0%A4%A&&&=&sort=",
        "#nowhere",
        "#coverage",
    ],
)
def test_wrong_and_outdated_addresses_fall_back(store: ResultStore, tmp_path: Path, wrong: str) -> None:
    path = render_page(store)
    with opened(path, tmp_path) as driver:
        plain = shown(driver)
    with opened(path, tmp_path, fragment=wrong) as driver:
        assert shown(driver) == plain
        assert fragment(driver) == ""
        assert driver.get_log("browser") == []


def test_images_and_coverage_follow_the_filters_and_count_what_they_hide(store: ResultStore, tmp_path: Path) -> None:
    visible = """
        return [...document.querySelectorAll(arguments[0])].filter((one) => !one.closest("[hidden]"))
          .map((one) => one.dataset.dataset);
    """
    with opened(render_page(store), tmp_path) as driver:
        rows = driver.execute_script(visible, "#images .cases")
        assert set(rows) == {"phantom", "elpv & co", "ct"} and len(rows) == 9
        choose(driver, "modality", "medical")
        assert driver.execute_script(visible, "#images .cases") == ["ct"] * 3
        assert set(driver.execute_script(visible, "#coverage [data-dataset]")) == {"ct"}
        assert "the other 9 are not shown" in driver.find_element(By.ID, "images-scope").text
        choose(driver, "budget", "full")
        assert driver.execute_script(visible, "#images .cases") == ["ct"]
        assert driver.execute_script(visible, "#coverage .failure") == []
        assert "None of" in driver.find_element(By.ID, "coverage-scope").text
        choose(driver, "budget", "smoke")
        choose(driver, "modality", "")
        assert driver.execute_script(visible, "#images .cases") == rows
        assert driver.get_log("browser") == []


def test_what_is_planned_for_a_budget_without_runs_is_shown(tmp_path: Path, make_result: Make) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    store.append(make_result())
    place: dict[str, Any] = {"method": "padim", "dataset": "phantom", "category": "texture", "seed": 0}
    cells = tuple(PlannedCell(run_id=f"never {budget}", budget=budget, **place) for budget in ("smoke", "full"))
    store.write_plan(SuitePlan(name="q", title="Q", rank_by="image_auroc", cells=cells))
    with opened(render_page(store), tmp_path) as driver:
        entries = [one.text for one in driver.find_elements(By.CSS_SELECTOR, "#coverage .remarks li")]
        assert [f"padim {budget}: planned" in " ".join(entries) for budget in ("smoke", "full")] == [True, True]
        assert "1 of 1 entries below" in driver.find_element(By.ID, "coverage-scope").text
        assert driver.get_log("browser") == []


@pytest.fixture
def crowded(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of the store when little fits into it."""
    monkeypatch.setattr(run_table, "MOST_BYTES", 3000)
    monkeypatch.setattr(run_table, "FIRST_BYTES", 2500)
    monkeypatch.setattr(run_table, "PART_BYTES", 2500)
    monkeypatch.setattr(page_views, "MOST_VIEW_BYTES", 1000)
    return render_page(store)


def test_files_beside_the_page_are_loaded_from_disk_when_needed(
    store: ResultStore, crowded: Path, tmp_path: Path
) -> None:
    total = len(store.runs())
    with opened(crowded, tmp_path) as driver:
        wait = WebDriverWait(driver, 20)
        count = driver.find_element(By.ID, "run-count")
        assert "are not loaded" in count.text
        choose(driver, "metric", "pixel_ap")
        wait.until(lambda one: "Loading" not in one.find_element(By.ID, "conclusion").text)
        scroll_to_figure(driver, "heat")
        wait.until(lambda one: one.find_elements(By.CSS_SELECTOR, "#heat .heatmaplayer image"))
        assert driver.find_elements(By.CSS_SELECTOR, "#duels tbody td .mean")
        driver.execute_script("document.querySelector('#details details[data-name=ct] summary').click()")
        wait.until(
            lambda one: len(one.find_elements(By.CSS_SELECTOR, "#details details[data-name=ct] tbody tr")) == 4
        )
        cells = driver.find_elements(By.CSS_SELECTOR, "#details [data-name=ct] tbody td:nth-last-child(4)")
        assert sum(cell.text[:1].isdigit() for cell in cells) == 3  # the first seed of each method
        driver.find_element(By.ID, "run-every").click()
        driver.find_element(By.ID, "run-all").click()
        wait.until(lambda _: count.text.startswith(f"{total} runs found"))
        assert "not loaded" not in count.text
        assert not driver.find_element(By.ID, "run-all").is_displayed()
        assert driver.get_log("browser") == []


def test_the_card_of_a_run_beside_the_page_is_that_which_is_wanted_last(
    store: ResultStore, crowded: Path, tmp_path: Path
) -> None:
    runs = store.runs()
    oldest = runs.sort_values("finished_at")["run_id"].iloc[0]
    with opened(crowded, tmp_path, fragment=f"#run={oldest}") as driver:
        card = driver.find_element(By.ID, "card")
        WebDriverWait(driver, 20).until(lambda _: "The command that repeats it" in card.text)
        assert oldest in card.text and f"run={oldest}" in fragment(driver)
    with opened(crowded, tmp_path, fragment=f"#run={oldest}") as driver:
        driver.execute_script("document.getElementById('card').close()")
        driver.find_element(By.ID, "run-every").click()
        WebDriverWait(driver, 20).until(lambda one: "not loaded" not in one.find_element(By.ID, "run-count").text)
        assert not driver.find_element(By.ID, "card").is_displayed()
        assert "run=" not in fragment(driver).replace("run-", "")
        assert driver.get_log("browser") == []


def test_page_without_its_files_says_so(crowded: Path, tmp_path: Path) -> None:
    alone = tmp_path / "moved" / "index.html"
    alone.parent.mkdir()
    shutil.copyfile(crowded, alone)
    with opened(alone, tmp_path) as driver:
        wait = WebDriverWait(driver, 20)
        before = headline(driver, "pixel_ap")
        choose(driver, "metric", "pixel_ap")
        for name in ("conclusion", "heat", "scatter"):
            wait.until(lambda one, name=name: "copy the whole folder" in one.find_element(By.ID, name).text)
        assert sorted(headline(driver, "pixel_ap")) == sorted(before)
        driver.find_element(By.ID, "run-all").click()
        wait.until(lambda one: "copy the whole folder" in one.find_element(By.ID, "run-count").text)
        driver.execute_script("document.querySelector('#details summary').click()")
        wait.until(lambda one: "copy the whole folder" in one.find_element(By.ID, "details").text)
        driver.execute_script("location.hash = 'run=beside'")
        wait.until(lambda one: "copy the whole folder" in one.find_element(By.ID, "card").text)
        driver.execute_script("document.getElementById('card').close()")
        choose(driver, "metric", "image_auroc")
        assert scroll_to_figure(driver, "heat").find_elements(By.CSS_SELECTOR, ".heatmaplayer image")
        driver.refresh()
        wait_ready(driver)


NAMES = {
    "markup": "<script>alert(1)</script>",
    "long": "n" * 300,
    "right to left": "\u202eشذوذ مرئي\u202c קטגוריה",
    "emoji": "🧪🔬👩\u200d🔬 🏴\U000e0067\U000e0062\U000e007f",
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_odd_names_are_text_and_break_nothing(tmp_path: Path, make_result: Make, kind: str, width: int) -> None:
    name = NAMES[kind]
    store = ResultStore(tmp_path / "out")
    store.prepare()
    odd = {"method": name, "dataset": name, "category": name}
    for seed in range(3):
        store.append(make_result(**odd, seed=seed))
        store.append(make_result(**{**odd, "method": "plain"}, seed=seed))
    store.append(make_result(**odd, seed=9, status="failed", error=f"RuntimeError: {name}", notes=name))
    with opened(render_page(store), tmp_path, width=width) as driver:
        choose(driver, "dataset", name)
        driver.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        show_runs(driver)
        driver.find_element(By.CSS_SELECTOR, "#run-table .link").click()
        time.sleep(0.5)
        assert name in headline(driver, "method")
        for part in ("coverage", "runs", "images", "details", "duels"):
            content = driver.execute_script("return document.getElementById(arguments[0]).textContent", part)
            assert name in content, part
        widths = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1] == width
        assert driver.execute_script("return document.scripts.length") == 5
        kept = fragment(driver)
        assert driver.get_log("browser") == []
        driver.execute_script("location.hash = ''")
        driver.execute_script("location.hash = arguments[0]", kept)
        WebDriverWait(driver, 10).until(lambda one: shown(one)["dataset"] == name)
