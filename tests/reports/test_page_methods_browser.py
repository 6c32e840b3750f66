"""Methods that are hidden, names in figures, and figures in a window that changes, in a real browser."""

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from browsing import BROWSER_TEST, headline, opened, scroll_to_figure, scroll_to_figures, wait_ready
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from adbench.reports.page import render_page
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

pytestmark = BROWSER_TEST

METHODS = [f"method_{letter}_of_a_long_name & co" for letter in "abcdefghij"]
GONE = METHODS[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_result: Callable[..., RunResult]) -> Path:
    """Ten methods of nearly equal cost and quality."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    for position, method in enumerate(METHODS):
        for category in ("one", "two"):
            quality = 0.8 - 0.01 * (position // 4) + (0.001 if category == "two" and position % 3 else 0)
            cost = 10.0 + position % 4
            metrics = {"image_auroc": quality}
            store.append(make_result(method=method, category=category, fit_seconds=cost, metrics=metrics))
    return render_page(store)


@pytest.fixture
def driver(page: Path, tmp_path: Path) -> Iterator[Any]:
    with opened(page, tmp_path) as found:
        yield found
        assert found.get_log("browser") == []


def shown(driver: Any) -> dict[str, list[str]]:
    """The methods that each part names."""
    script = """
        const texts = (query, within = document) => [...within.querySelectorAll(query)].map((one) => one.textContent);
        const full = (id) => byName(document.getElementById(id));
        const byName = (graph) => graph.data.flatMap((trace) => trace.meta?.names ? trace.hovertext : []);
        const rows = (id) => texts(`#${id} tbody th`);
        return {
          headline: rows("headline"), costs: rows("costs"), duels: rows("duels"),
          heat: document.getElementById("heat").layout.xaxis.ticktext,
          heads: texts("#duels thead th").slice(1),
          ranks: document.getElementById("ranks").data[1].hovertext,
          dots: texts("#ranks .yaxislayer-above .ytick text, #ranks .ytick text"),
          cost: full("scatter"),
          images: [...document.querySelectorAll("#images .cases:not([hidden]) strong")].map((one) => one.textContent),
          roc: document.getElementById("roc").data?.map((trace) => trace.name) ?? [],
        };
    """
    return {part: [str(name) for name in names] for part, names in driver.execute_script(script).items()}


def naming(names: list[str], method: str) -> list[str]:
    letter = method.split("_")[1]
    return [name for name in names if f"method_{letter}_" in name]


def test_hidden_methods_leave_every_part_and_change_no_number(driver: Any) -> None:
    scroll_to_figures(driver)
    before = shown(driver)
    ranks = dict(zip(headline(driver, "method"), headline(driver, "rank"), strict=True))
    assert [part for part in before if not naming(before[part], GONE)] == []
    driver.find_element(By.ID, "method-count").click()
    box = driver.find_element(By.XPATH, f"//div[@id='method-boxes']/label[contains(., '{GONE[:9]}')]/input")
    box.send_keys(Keys.SPACE)
    scroll_to_figures(driver)
    after = shown(driver)
    assert [part for part in after if naming(after[part], GONE)] == []
    for part, names in before.items():
        assert sorted(after[part]) == sorted(name for name in names if name not in naming(names, GONE)), part
    left = dict(zip(headline(driver, "method"), headline(driver, "rank"), strict=True))
    assert left == {name: rank for name, rank in ranks.items() if naming([name], GONE) == []}
    assert driver.switch_to.active_element == box
    note = driver.find_element(By.ID, "hidden-note").text
    assert note.startswith(f"Hidden: {GONE}")
    assert "what is hidden still counts in ranks" in note
    assert driver.find_element(By.ID, "method-count").text == "Methods: 9 of 10"
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not box.is_displayed()
    assert driver.switch_to.active_element == driver.find_element(By.ID, "method-count")


def test_hidden_methods_are_in_the_address(driver: Any) -> None:
    driver.find_element(By.ID, "method-count").click()
    driver.find_element(By.ID, "methods-none").click()
    assert headline(driver, "method") == []
    assert "All methods are hidden" in driver.find_element(By.ID, "heat").text
    for box in driver.find_elements(By.CSS_SELECTOR, "#method-boxes input")[2:4]:
        box.click()
    expected = headline(driver, "method")
    assert len(expected) == 2
    WebDriverWait(driver, 10).until(lambda one: one.current_url.count("hide=") == 8)
    address = driver.current_url
    driver.get("about:blank")
    driver.get(address)
    wait_ready(driver)
    assert headline(driver, "method") == expected
    driver.find_element(By.ID, "method-count").click()
    driver.find_element(By.ID, "methods-all").click()
    assert len(headline(driver, "method")) == len(METHODS)
    WebDriverWait(driver, 10).until(lambda one: "hide=" not in one.current_url)


def names_in(driver: Any, figure: str) -> list[tuple[str, list[float]]]:
    """The names that a figure shows beside its points, and the edges of each: left, top, right, bottom."""
    script = """
        return [...document.querySelectorAll(`#${arguments[0]} .textpoint text`)].filter((one) => one.textContent)
          .map((one) => [one.textContent, one.getBoundingClientRect()])
          .map(([text, box]) => [text, [box.left, box.top, box.right, box.bottom]]);
    """
    return [(name, edges) for name, edges in driver.execute_script(script, figure)]


@pytest.mark.parametrize("width", [1280, 390])
def test_names_in_the_cost_figure_do_not_cover_each_other(page: Path, tmp_path: Path, width: int) -> None:
    with opened(page, tmp_path, width) as driver:
        scroll_to_figure(driver, "scatter")
        found = names_in(driver, "scatter")
        assert 2 <= len(found) <= len(METHODS)
        for (one, a), (other, b) in combinations(found, 2):
            across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            assert min(across, down) < 3, (one, other)
        note = driver.find_element(By.ID, "cost-unnamed").text
        assert bool(note) == (len(found) < len(METHODS))


def test_figures_keep_their_height_when_the_window_changes(driver: Any) -> None:
    script = (
        "return ['ranks', 'heat', 'roc', 'scatter'].map((id) => document.querySelector(`#${id} svg`).clientHeight)"
    )
    width = "return document.querySelector('#scatter svg').clientWidth"
    scroll_to_figures(driver)
    before, wide = driver.execute_script(script), driver.execute_script(width)
    assert min(before) > 150
    for size in (500, 900):
        window = {"width": size, "height": 5000, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
        WebDriverWait(driver, 10).until(lambda one, wide=wide: one.execute_script(width) != wide)
        wide = driver.execute_script(width)
        assert driver.execute_script(script) == before
