"""When figures are drawn, in a real browser: after the tables, where the reader is, and all of them on paper."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    BROWSER_TEST,
    choose,
    headline,
    opened,
    scroll_to_figure,
    scroll_to_figures,
    sort_button,
    sort_state,
    wait_ready,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from adbench.reports.page import render_page
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

pytestmark = BROWSER_TEST
Make = Callable[..., RunResult]
FIGURES = ["ranks", "heat", "roc", "scatter"]
NOTHING_IS_NEAR = "window.IntersectionObserver = class { observe() {} unobserve() {} };"
WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((found) => window.shifts.push(...found.getEntries())).observe({ type: "layout-shift" });
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_result: Make) -> Path:
    """Six methods on twenty categories of two datasets: the figures are far from each other."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    for method in range(6):
        for category in range(20):
            metrics = {"image_auroc": 0.6 + 0.05 * method + 0.001 * category}
            place = {"method": f"m{method}", "dataset": "ab"[category % 2], "category": f"c{category:02d}"}
            store.append(make_result(**place, metrics=metrics, fit_seconds=10.0**method, gallery=None))
    return render_page(store)


@pytest.fixture
def driver(page: Path, tmp_path: Path) -> Iterator[Any]:
    with opened(page, tmp_path) as found:
        yield found
        assert found.get_log("browser") == []
        assert found.execute_script("return performance.getEntriesByType('resource').length") == 0


def has_run(driver: Any) -> bool:
    """Whether Plotly's script has."""
    return bool(driver.execute_script("return 'Plotly' in window"))


def waiting(driver: Any) -> list[str]:
    """The figures that are yet to be drawn as they are wanted now."""
    found = driver.find_elements(By.CSS_SELECTOR, ".plot[aria-busy]")
    return [str(one.get_attribute("id")) for one in found]


def heights(driver: Any) -> dict[str, int]:
    """Of the figures' places, and of all above the last section, whose table is drawn late too."""
    script = """
        const places = arguments[0].map((name) => document.getElementById(name));
        return [...places.map((one) => one.offsetHeight), document.getElementById("runs").offsetTop];
    """
    return dict(zip([*FIGURES, "all"], driver.execute_script(script, FIGURES), strict=True))


def test_tables_filters_and_theme_need_no_figures(driver: Any) -> None:
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOTHING_IS_NEAR})
    driver.refresh()
    wait_ready(driver)
    sort_button(driver, "method").click()
    sort_button(driver, "method").click()
    assert headline(driver, "method") == [f"m{place}" for place in range(5, -1, -1)]
    assert sort_state(driver, "method") == "descending"
    choose(driver, "dataset", "a")
    assert "in 10 of 10 categories" in driver.find_element(By.ID, "scope").text
    assert len(driver.find_elements(By.CSS_SELECTOR, "#duels tbody tr")) == 6
    driver.find_element(By.ID, "run-every").click()
    assert driver.find_elements(By.CSS_SELECTOR, "#run-table tbody tr")
    driver.find_element(By.ID, "theme").click()
    assert driver.find_element(By.ID, "theme").text == "Light theme"
    WebDriverWait(driver, 10).until(lambda one: "dataset=a" in one.current_url)
    assert waiting(driver) == FIGURES
    assert not has_run(driver)


def test_figures_are_drawn_where_the_reader_comes_and_nothing_moves(driver: Any) -> None:
    driver.execute_script(WATCH_SHIFTS)
    assert "scatter" in waiting(driver)
    before = heights(driver)
    scroll_to_figure(driver, "ranks")
    assert driver.execute_script("return document.querySelectorAll('#ranks .points path').length") == 6
    assert "scatter" in waiting(driver)
    scroll_to_figures(driver)
    assert waiting(driver) == []
    assert driver.execute_script("return document.querySelectorAll('#scatter .points path').length") == 6
    assert heights(driver) == before
    assert driver.execute_script("return window.shifts.length") == 0


def test_figures_follow_filters_and_theme_when_the_reader_comes_back(driver: Any) -> None:
    rows = "return [...document.querySelectorAll('#heat .ytick text')].map((one) => one.textContent)"
    colour = "return getComputedStyle(document.querySelector('#heat .ytick text')).fill"
    scroll_to_figures(driver)
    light = driver.execute_script(colour)
    assert len(driver.execute_script(rows)) == 20
    pointed_at = driver.execute_script("return document.getElementById('heat').data[0].hovertext[2][0]")
    assert pointed_at.startswith("a/c04<br>m5<br>85.40 %<br>95 % interval over test images")
    choose(driver, "dataset", "b")
    driver.find_element(By.ID, "theme").click()
    scroll_to_figure(driver, "heat")
    assert driver.execute_script(rows) == [f"b/c{place:02d}" for place in range(1, 20, 2)]
    assert driver.execute_script(colour) != light


def test_a_figure_is_printed_alone(driver: Any) -> None:
    driver.execute_script("window.print = () => { window.asked = true; }")  # the dialog, which nobody closes here
    scroll_to_figure(driver, "scatter")
    button = driver.find_element(By.CSS_SELECTOR, "#scatter .modebar-btn[data-title^='Print']")
    driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', { bubbles: true }))", button)
    assert driver.execute_script("return window.asked")
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    (box,) = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    place = driver.find_element(By.ID, "scatter").size
    assert [float(one) for one in box] == pytest.approx(
        [0.75 * (place[side] + 40) for side in ("width", "height")], abs=1
    )
    assert "one-figure" not in driver.find_element(By.TAG_NAME, "html").get_attribute("class")


def test_all_figures_are_printed(driver: Any) -> None:
    script = """
        addEventListener("beforeprint", () => {
          window.printed = arguments[0].filter((name) => document.querySelector(`#${name} .main-svg`));
        });
    """
    assert "scatter" in waiting(driver)
    driver.execute_script(script, FIGURES)
    driver.execute_cdp_cmd("Page.printToPDF", {})
    assert driver.execute_script("return window.printed") == FIGURES


@pytest.mark.parametrize("failed", [0, 2])
def test_page_without_figures_runs_no_plotly(tmp_path: Path, make_result: Make, failed: int) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for seed in range(failed):
        store.append(make_result(seed=seed, status="failed", images=(), gallery=None))
    with opened(render_page(store), tmp_path) as driver:
        driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        driver.find_element(By.ID, "theme").click()
        if failed:
            assert "No run has a value" in driver.find_element(By.ID, "heat").text
        assert waiting(driver) == []
        assert not has_run(driver)
        assert driver.get_log("browser") == []
