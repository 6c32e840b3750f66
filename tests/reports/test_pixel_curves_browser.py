"""The part with ROC and PRO curves in a real browser: chosen, shared by address, by keyboard, from side files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import BROWSER_TEST, choose, opened, scroll_to_figure, wait_ready

from adbench.reports import pixel_curves
from adbench.reports.page import render_page
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

pytestmark = BROWSER_TEST
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(params=["in the page", "beside it"])
def page(
    request: pytest.FixtureRequest, tmp_path: Path, make_result: Callable[..., RunResult], monkeypatch: Any
) -> Path:
    if request.param == "beside it":
        monkeypatch.setattr(pixel_curves, "MOST_LINES", 0)
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for dataset in ("phantom", "elpv"):
        for method in ("padim", HOSTILE):
            for seed in range(2):
                own = {"method": method, "dataset": dataset, "category": "a", "seed": seed, "gallery": None}
                store.append(make_result(**own))
    store.append(make_result(method="padim", dataset="old", category="b", gallery=None, curves=()))
    return render_page(store)


@pytest.fixture
def driver(page: Path, tmp_path: Path) -> Iterator[Any]:
    with opened(page, tmp_path, fragment="#curve=pro") as driver:
        yield driver
        assert driver.get_log("browser") == []


def drawn(driver: Any) -> list[str]:
    """Names of the curves."""
    scroll_to_figure(driver, "roc")
    return list(driver.execute_script("return document.getElementById('roc').data.map((one) => one.name)"))


def text(driver: Any, name: str) -> str:
    return str(driver.find_element(By.ID, name).text)


def test_a_curve_is_chosen_and_shared_by_the_address(driver: Any, page: Path) -> None:
    assert Select(driver.find_element(By.ID, "roc-curve")).first_selected_option.text == "PRO"
    assert len(drawn(driver)) == 2
    span = "return document.getElementById('roc').layout.xaxis.range"
    assert driver.execute_script(span) == pytest.approx([-0.003, 0.303])
    assert "at a rate of 0.05" in text(driver, "roc-conclusion") and HOSTILE in text(driver, "roc-conclusion")
    assert "1 of 9 runs here kept no such curve" in text(driver, "roc-caption")
    assert "out=" in text(driver, "roc-caption")
    choose(driver, "roc-curve", "pixel_roc")
    assert drawn(driver)[-1] == "chance"
    WebDriverWait(driver, 10).until(lambda one: "curve=pixel_roc" in one.current_url)
    choose(driver, "roc-curve", "image_roc")
    WebDriverWait(driver, 10).until(lambda one: "curve=" not in one.current_url)
    assert "seed 0" in drawn(driver)[0]
    assert text(driver, "roc-conclusion").startswith("With at most 5 % false alarms")


def test_a_category_is_drawn_and_follows_the_filters(driver: Any) -> None:
    category = Select(driver.find_element(By.ID, "roc-category"))
    assert [option.text for option in category.options] == ["mean of 2 categories", "elpv/a", "phantom/a"]
    category.select_by_visible_text("elpv/a")
    WebDriverWait(driver, 10).until(lambda one: "this one category" in text(one, "roc-conclusion"))
    assert len(drawn(driver)) == 2
    WebDriverWait(driver, 10).until(lambda one: "category=elpv%2Fa" in one.current_url)
    driver.refresh()
    wait_ready(driver)
    assert Select(driver.find_element(By.ID, "roc-category")).first_selected_option.text == "elpv/a"
    choose(driver, "dataset", "phantom")
    category = Select(driver.find_element(By.ID, "roc-category"))
    assert [option.text for option in category.options] == ["mean of 1 category", "phantom/a"]
    choose(driver, "dataset", "old")
    assert "The run here kept no such curve" in text(driver, "roc")


def test_an_unknown_curve_becomes_the_first(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path, fragment="#curve=nonsense") as driver:
        assert Select(driver.find_element(By.ID, "roc-curve")).first_selected_option.text == "image ROC"
        WebDriverWait(driver, 10).until(lambda one: "curve=" not in one.current_url)
