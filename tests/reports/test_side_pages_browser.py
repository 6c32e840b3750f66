"""The pages beside the leaderboard in a real browser: drawn, inert, usable on a phone; a watched page renewed."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from browsing import BROWSER_TEST, launched, show, unnamed, violations, visited, wait_ready
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from adbench.reports.compare_page import Comparison, render_comparison
from adbench.reports.history import histories, suite_rows
from adbench.reports.index_page import render_index
from adbench.reports.page import render_page
from adbench.reports.pairing import Side, pair
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> שלום 🙂 " + "long" * 75

pytestmark = BROWSER_TEST


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(tmp_path_factory.mktemp("browser")) as found:
        yield found


def assert_calm(driver: Any, path: Path) -> None:
    """No message, no dialog, no request but for the page, nothing wider than the window, no markup from names."""
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert set(asked) == {path.as_uri()}
    root = "document.documentElement"
    assert driver.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert driver.find_elements(By.CSS_SELECTOR, "img, script") == []
    assert HOSTILE in driver.execute_script("return document.body.textContent")


def check_for_everybody(driver: Any, path: Path) -> None:
    """On a phone and a desk, light and dark, with all that can be opened open; leaves it at a desk, as it opens."""
    for width in (390, 1280):
        for dark in (True, False):
            show(driver, path.as_uri(), width, dark=dark)
            background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(16, 19, 24)") == dark
            assert violations(driver) == []
            assert unnamed(driver) == []
            assert_calm(driver, path)
            places = visited(driver, 40)
            assert places == sorted(places) and len(places) > 1
    show(driver, path.as_uri())


@pytest.fixture(scope="module")
def stores(make_result: Callable[..., RunResult], tmp_path_factory: pytest.TempPathFactory) -> list[ResultStore]:
    """Two versions of two methods on three categories, one of each name hostile; one cell is not in the second."""
    found = []
    for version in (1, 2):
        store = ResultStore(tmp_path_factory.mktemp(f"v{version}"))
        store.prepare()
        day = datetime(2026, 3, version, tzinfo=UTC)
        for method in ("ckaad", HOSTILE):
            for category in ("a", "b", HOSTILE)[: 4 - version]:
                changes: dict[str, Any] = {"method_version": str(version), "started_at": day, "finished_at": day}
                metrics = {"image_auroc": 0.5 + 0.2 * version, "pixel_auroc": 0.9}
                store.append(make_result(method=method, category=category, metrics=metrics, suite=HOSTILE, **changes))
        found.append(store)
    return found


def test_the_page_of_a_comparison(driver: Any, stores: list[ResultStore], tmp_path: Path) -> None:
    before, after = (Side(store.runs(), store.images()) for store in stores)
    sides = [
        [Side(side.runs[side.runs["method"] == name], side.images) for side in (before, after)]
        for name in ("ckaad", HOSTILE)
    ]
    pairings = [one for name, (a, b) in zip(("ckaad", HOSTILE), sides, strict=True) for one in pair(name, a, b)]
    path = tmp_path / "index.html"
    path.write_text(render_comparison(Comparison("A " + HOSTILE, "B", tuple(pairings), ("kist, in A alone",))))
    check_for_everybody(driver, path)
    rows = driver.execute_script(
        "return [...document.querySelectorAll('table')].map((one) => one.tBodies[0].rows.length)"
    )
    assert rows == [2, 3, 3] * 2  # metrics; then for each metric two categories and the mean
    first = driver.find_element(By.CSS_SELECTOR, "table tbody tr").text
    assert "70.0 90.0" in first
    assert "+20.00" in first
    assert [one.text for one in driver.find_elements(By.CSS_SELECTOR, ".chip.test")] == ["1 not paired"] * 2
    where = driver.execute_script("""
        const place = (selector) => document.querySelector(selector).getBoundingClientRect();
        const bar = place(".forest .bar"), mark = place(".forest b");
        return (mark.left + mark.width / 2 - bar.left) / bar.width;
    """)
    assert 0.5 < where <= 1.01  # B is better: right of the middle
    driver.find_elements(By.TAG_NAME, "summary")[1].click()
    assert driver.find_elements(By.TAG_NAME, "details")[1].get_attribute("open") == "true"


def test_the_index_of_several_folders(driver: Any, stores: list[ResultStore], tmp_path: Path) -> None:
    render_page(stores[1])
    path = tmp_path / "all.html"
    path.write_text(render_index(stores, suite_rows(stores), histories(stores), path))
    check_for_everybody(driver, path)
    assert len(driver.find_elements(By.CSS_SELECTOR, "#suite-table tbody tr")) == 2
    lines = driver.find_elements(By.CSS_SELECTOR, "svg.history")
    assert len(lines) == 2
    assert [len(one.find_elements(By.TAG_NAME, "circle")) for one in lines] == [2, 2]
    driver.find_element(By.CSS_SELECTOR, "#suite-table a").click()
    WebDriverWait(driver, 60).until(
        lambda one: one.current_url == (Path(stores[1].out) / "report/index.html").as_uri()
    )


def test_a_watched_page_renews_itself_or_says_that_it_is_old(
    driver: Any, make_result: Callable[..., RunResult], tmp_path: Path
) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    store.append(make_result())
    path = render_page(store, watched=True)
    driver.get_log("browser")
    show(driver, path.as_uri())
    rendered = "return document.getElementById('watch')?.dataset.rendered"
    first = driver.execute_script(rendered)
    wait_ready(driver)
    store.append(make_result(method="padim"))
    render_page(store, watched=True)
    WebDriverWait(driver, 30).until(lambda one: one.execute_script(rendered) not in (None, first))
    wait_ready(driver)
    assert "padim" in driver.find_element(By.ID, "headline").text
    driver.find_element(By.ID, "theme").click()  # it is being read
    second = driver.execute_script(rendered)
    store.append(make_result(method="kist"))
    render_page(store, watched=True)
    WebDriverWait(driver, 30).until(lambda one: one.find_element(By.ID, "reload").is_displayed())
    assert driver.execute_script(rendered) == second
    driver.find_element(By.ID, "reload").click()
    WebDriverWait(driver, 30).until(lambda one: one.execute_script(rendered) not in (None, second))
    assert driver.get_log("browser") == []
    plain = render_page(store).read_text()
    assert not re.search(r'file:|id="watch"', plain[: plain.index("<main")])
