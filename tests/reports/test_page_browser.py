"""The page in a real browser: drawn without errors, sortable, filterable, inert, usable on a phone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import (
    BROWSER_TEST,
    choose,
    headline,
    opened,
    scroll_to_figure,
    scroll_to_figures,
    show_runs,
    sort_button,
    sort_state,
    unnamed,
    violations,
    visited,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from sklearn.metrics import roc_auc_score

from adbench.orchestrator.export import export
from adbench.reports.page import render_page
from adbench.reports.schema import ImageScores, PublishedValue, RunResult, SuitePlan
from adbench.reports.store import ResultStore

HOSTILE = "<script>alert(1)</script>"
ENDING = "</script><img src=x onerror=alert(2)>"

pytestmark = BROWSER_TEST


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_result: Callable[..., RunResult]) -> Path:
    """Four methods on three datasets of two modalities, with failures, gaps and hostile names."""
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    datasets = {"phantom": "industrial", "elpv": "industrial", "ct": "medical"}
    for position, method in enumerate(("recon", "ckaad", HOSTILE, 'a,b "c"\nd')):
        for dataset, modality in datasets.items():
            for seed in range(3):
                store.append(
                    make_result(
                        method=method,
                        dataset=dataset,
                        category=ENDING if dataset == "elpv" else "one",
                        modality=modality,
                        seed=seed,
                        fit_seconds=float(10**position),
                        metrics={"image_auroc": 0.6 + 0.1 * ((position + (dataset == "ct") * 2) % 4)},
                    )
                )
    store.append(make_result(method="recon", category="extra", status="failed", error=ENDING + HOSTILE))
    store.append(make_result(method="ckaad", category="extra", budget="full", selection="test"))
    return render_page(store)


@pytest.fixture(scope="module")
def driver(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(page, tmp_path_factory.mktemp("browser")) as found:
        yield found


def test_page_draws_without_a_message_in_the_console(driver: Any) -> None:
    scroll_to_figures(driver)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.querySelectorAll('#heat .heatmaplayer image').length") > 0
    assert driver.execute_script("return document.querySelectorAll('#scatter .points path').length") > 0
    assert driver.execute_script("return document.querySelectorAll('#ranks .points path').length") == 4


def test_a_method_that_lacks_cells_says_so(driver: Any) -> None:
    rows = driver.find_elements(By.CSS_SELECTOR, "#headline tbody tr:not(.apart) th")
    lacking = {row.text.split("\n")[0] for row in rows if "finished 9 of 10 cells" in row.text}
    assert len(lacking) == len(rows)  # the cell in the category that one method alone tried, and failed


def test_a_page_of_failures_has_no_empty_words(tmp_path: Path, make_result: Callable[..., RunResult]) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    store.append(make_result(status="failed"))
    with opened(render_page(store), tmp_path) as driver:
        assert Select(driver.find_element(By.ID, "metric")).first_selected_option.text == "none"
        text = driver.find_element(By.TAG_NAME, "main").text
        assert "No run has a value of any metric here." in text
        assert "no metric" not in text
        assert not driver.find_element(By.ID, "legend").is_displayed()
        assert driver.get_log("browser") == []


def test_columns_sort_by_click(driver: Any) -> None:
    sort_button(driver, "fit_seconds").click()
    rising = [float(text.replace(",", "")) for text in headline(driver, "fit_seconds")]
    assert rising == sorted(rising)
    assert len(set(rising)) == 4
    assert sort_state(driver, "fit_seconds") == "ascending"
    sort_button(driver, "fit_seconds").click()
    assert [float(text.replace(",", "")) for text in headline(driver, "fit_seconds")] == rising[::-1]
    assert sort_state(driver, "fit_seconds") == "descending"


def test_columns_sort_by_keyboard(driver: Any) -> None:
    sort_button(driver, "method").send_keys(Keys.ENTER)
    before = headline(driver, "method")
    assert sort_state(driver, "method") == "ascending"
    assert driver.switch_to.active_element == sort_button(driver, "method")
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert headline(driver, "method") == before[::-1] != before
    assert sort_state(driver, "method") == "descending"
    assert driver.find_elements(By.CSS_SELECTOR, "#headline [aria-sort]") == [
        driver.find_element(By.CSS_SELECTOR, "#headline th[data-key='method']")
    ]


def test_filters_change_what_is_shown(driver: Any) -> None:
    sort_button(driver, "method").click()
    before = headline(driver, "image_auroc")
    choose(driver, "modality", "medical")
    assert "in 1 of 1 category" in driver.find_element(By.ID, "scope").text
    assert headline(driver, "image_auroc") != before
    options = [option.text for option in Select(driver.find_element(By.ID, "dataset")).options]
    assert options == ["all", "ct"]
    choose(driver, "modality", "")
    choose(driver, "budget", "full")
    assert "1 method compared" in driver.find_element(By.ID, "scope").text
    assert "tuned on test" in driver.find_element(By.ID, "headline").text
    choose(driver, "budget", "smoke")
    assert headline(driver, "image_auroc") == before


def duels(driver: Any) -> list[list[str]]:
    """The differences in the table of all pairs, by row and column."""
    script = """
        return [...document.querySelectorAll("#duels tbody tr")].map((row) =>
          [...row.querySelectorAll("td")].map((cell) => (cell.querySelector(".mean") ?? cell).textContent));
    """
    return [[str(cell) for cell in row] for row in driver.execute_script(script)]


def test_differences_follow_the_filters(driver: Any) -> None:
    conclusion = driver.find_element(By.ID, "conclusion")
    assert "On these 3 categories" in conclusion.text
    assert "Friedman's test" in conclusion.text
    table = duels(driver)
    assert [len(row) for row in table] == [4] * 4
    for row, column in ((0, 1), (1, 3)):
        there, back = (text.lstrip("▲▼ ") for text in (table[row][column], table[column][row]))
        assert {there[0], back[0]} == {"+", "−"}
        assert there[1:] == back[1:]
    assert [table[place][place] for place in range(4)] == ["–"] * 4
    choose(driver, "dataset", "ct")
    assert "On this one category" in conclusion.text
    assert "Nothing can be said of other categories" in conclusion.text
    choose(driver, "dataset", "")
    choose(driver, "budget", "full")
    assert "nothing to compare" in conclusion.text
    assert not driver.find_element(By.ID, "ranks").is_displayed()
    assert not driver.find_element(By.ID, "difference-csv").is_displayed()
    choose(driver, "budget", "smoke")
    assert duels(driver) == table


def scored(make_result: Callable[..., RunResult], method: str, skill: float, place: int, **more: Any) -> RunResult:
    """A run whose image scores have this skill, with the AUROC they have."""
    labels = np.arange(60, dtype=np.int64) % 2
    scores = (skill * labels + np.random.default_rng(place).normal(size=60)).astype(np.float32)
    names = tuple(f"{index:02d}" for index in range(60))
    images = ImageScores(split="test", image_ids=names, labels=labels, defect_types=("x",) * 60, scores=scores)
    metrics = {"image_auroc": float(roc_auc_score(labels, scores))}
    fields = {"category": f"c{place}", "images": (images,), "metrics": metrics, **more}
    return make_result(method=method, gallery=None, **fields)


@pytest.mark.parametrize(
    ("skills", "seeds", "images", "expected"),
    [
        (
            {"good": 2.0, "bad": 0.5},
            1,
            True,
            ["On these 6 categories good is ahead of bad: difference", "not seeds", "finds a difference (p = .031)"],
        ),
        (
            {"a": 1.0, "b": 1.0, "c": 0.2},
            1,
            True,
            ["a and b share the best average rank. a is ahead of c; it cannot be told apart from b (0.0 points"],
        ),
        (
            {"good": 2.0, "bad": 0.5},
            2,
            False,
            ["nothing tells how much", "it has fewer than three seeds in some category"],
        ),
        ({"good": 2.0, "bad": 0.5}, 3, False, ["Chance: seeds, not the choice of test images"]),
    ],
)
def test_conclusions_say_what_was_shown_and_what_is_missing(
    tmp_path: Path,
    make_result: Callable[..., RunResult],
    skills: dict[str, float],
    seeds: int,
    images: bool,
    expected: list[str],
) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for method, skill in skills.items():
        for place in range(6):
            for seed in range(seeds):
                own = {} if images else {"images": ()}
                noise = np.random.default_rng(seed).normal(0, 0.05)
                store.append(scored(make_result, method, skill + noise, place, seed=seed, **own))
    with opened(render_page(store), tmp_path) as driver:
        text = driver.find_element(By.ID, "conclusion").text.replace("\u00a0", " ")
        assert [part for part in expected if part not in text] == [], text
        assert driver.get_log("browser") == []


def test_run_table_is_searched_and_shows_full_records(driver: Any) -> None:
    show_runs(driver)
    search = driver.find_element(By.ID, "run-search")
    search.send_keys("recon failed")
    WebDriverWait(driver, 10).until(
        lambda one: one.find_element(By.ID, "run-count").text.startswith("1 run found, 1 to 1 shown.")
    )
    driver.find_element(By.CSS_SELECTOR, "#run-table .link").click()
    card = driver.find_element(By.ID, "card")
    assert "dataset_fingerprint" in card.text
    assert ENDING + HOSTILE in card.text
    driver.find_element(By.ID, "card-close").click()
    assert not card.is_displayed()
    search.send_keys(Keys.CONTROL, "a")
    search.send_keys(Keys.DELETE)


def test_dataset_details_list_every_seed(driver: Any) -> None:
    node = driver.find_element(By.CSS_SELECTOR, "#details details[data-name='ct']")
    driver.execute_script("arguments[0].querySelector('summary').click()", node)
    WebDriverWait(driver, 10).until(lambda _: node.find_elements(By.TAG_NAME, "table"))
    heads = [head.text for head in node.find_elements(By.CSS_SELECTOR, "thead th")]
    assert heads[-4:] == ["seed 0", "seed 1", "seed 2", "mean"]
    assert len(node.find_elements(By.CSS_SELECTOR, "tbody tr")) == 4
    assert len(node.find_elements(By.CSS_SELECTOR, "tbody .interval")) == 4 * 4  # of each run, and of their mean


def test_gallery_loads_its_tiles_when_opened(driver: Any) -> None:
    shown = "return [...document.querySelectorAll('details.gallery img')].filter((i) => i.naturalWidth > 0).length"
    assert driver.execute_script(shown) == 0
    driver.execute_script("document.querySelector('details.gallery summary').click()")
    WebDriverWait(driver, 10).until(lambda one: one.execute_script(shown) > 0)


def test_theme_toggles(driver: Any) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    before = driver.execute_script(background)
    driver.find_element(By.ID, "theme").click()
    assert driver.execute_script(background) != before
    driver.find_element(By.ID, "theme").click()
    assert driver.execute_script(background) == before


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_shuts_anybody_out(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with opened(page, tmp_path, width) as driver:
        if dark:
            driver.find_element(By.ID, "theme").click()
        scroll_to_figures(driver)
        assert violations(driver) == []
        assert unnamed(driver) == []
        places = visited(driver, 60)
        assert places == sorted(places) and len(set(places)) > 15, "the tab key goes down the page"
        if width == 1280 and not dark:  # The check would have told.
            driver.execute_script(
                "document.querySelector('#budget').parentElement.replaceWith(document.querySelector('#budget'))"
            )
            assert any("select-name" in line for line in violations(driver))


def test_hostile_names_are_text(driver: Any) -> None:
    assert HOSTILE in headline(driver, "method")
    assert driver.execute_script("return document.scripts.length") == 5
    assert driver.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    scroll_to_figure(driver, "heat")
    drawn = driver.execute_script("return document.querySelector('#heat').textContent")
    assert HOSTILE in drawn
    assert ENDING[:20] in drawn
    assert ENDING in driver.find_element(By.ID, "coverage").text
    # an open alert would have made any of these calls raise, and a blocked script would be in the log
    assert driver.get_log("browser") == []


@pytest.mark.parametrize(
    ("button", "name"),
    [
        ("runs-csv", "adbench-runs"),
        ("headline-csv", "adbench-leaderboard"),
        ("difference-csv", "adbench-differences"),
    ],
)
def test_csv_holds_what_the_page_shows(page: Path, tmp_path: Path, button: str, name: str) -> None:
    with opened(page, tmp_path) as driver:
        driver.find_element(By.ID, button).click()
        file = tmp_path / f"{name}.csv"
        WebDriverWait(driver, 20).until(lambda _: file.exists())
        time.sleep(0.2)  # until the browser has closed it
    table = pd.read_csv(file)
    if name == "adbench-runs":
        stored = ResultStore(page.parents[1]).runs().set_index("run_id")
        table = table.set_index("run_id").loc[stored.index]
        assert table["method"].tolist() == stored["method"].tolist()
        assert table["category"].tolist() == stored["category"].tolist()
        assert table["image_auroc"].tolist() == pytest.approx(stored["image_auroc"].tolist(), nan_ok=True)
    elif name == "adbench-differences":
        assert len(table) == 6
        assert set(table["first"]) | set(table["second"]) == {"recon", "ckaad", HOSTILE, 'a,b "c"\nd'}
        assert table["difference"].between(table["low"], table["high"]).all()
        assert (table[["won", "tied", "lost"]].sum(axis=1) == 3).all()
    else:
        assert set(table["method"]) == {"recon", "ckaad", HOSTILE, 'a,b "c"\nd'}
        assert table["image_auroc"].between(table["image_auroc_low"], table["image_auroc_high"]).all()
        assert set(table["image_auroc_interval"]) == {"images+seeds"}


def test_latex_is_what_export_writes(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as driver:
        driver.find_element(By.ID, "headline-latex").click()
        file = tmp_path / "adbench-leaderboard.tex"
        WebDriverWait(driver, 20).until(lambda _: file.exists())
        time.sleep(0.2)  # until the browser has closed it
    assert file.read_bytes() == export([f"out={page.parents[1]}"], "latex", "methods")


def test_page_begins_with_the_metric_that_its_suite_ranks_by(
    tmp_path: Path, make_result: Callable[..., RunResult]
) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for method, image, pixel in (("a", 0.9, 0.2), ("b", 0.8, 0.3)):
        store.append(make_result(method=method, metrics={"image_auroc": image, "pixel_ap": pixel}))
    store.write_plan(SuitePlan(name="quickstart", title="Quickstart", rank_by="pixel_ap", cells=()))
    with opened(render_page(store), tmp_path) as driver:
        assert driver.find_element(By.ID, "metric").get_attribute("value") == "pixel_ap"
        assert headline(driver, "method") == ["b", "a"]
        assert headline(driver, "rank") == ["1.00", "2.00"]
        assert sort_state(driver, "rank") == "ascending"


def published_rows(driver: Any) -> list[list[str]]:
    """The cells of each row of published values, without what is under a method's name."""
    script = """
        return [...document.querySelectorAll("#headline tr.published")]
          .map((row) => [...row.children].map((cell) => cell.firstChild?.textContent ?? ""));
    """
    return list(driver.execute_script(script))


def test_published_values_are_shown_on_request_greyed_and_unranked(
    tmp_path: Path, make_result: Callable[..., RunResult]
) -> None:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for dataset in ("phantom", "elpv"):
        for method, value in (("a", 0.9), ("b", 0.8)):
            metrics = {"image_auroc": value, "pixel_ap": value}
            store.append(make_result(method=method, dataset=dataset, category="one", metrics=metrics))
    best = PublishedValue(
        method=HOSTILE, dataset="elpv", category="", metric="image_auroc", value=0.999, source=ENDING
    )
    store.write_plan(SuitePlan(name="q", title="Q", rank_by="image_auroc", cells=(), published=(best,)))
    with opened(render_page(store), tmp_path) as driver:
        box = driver.find_element(By.ID, "published")
        assert box.is_displayed() and not box.is_selected() and published_rows(driver) == []
        ranks, means = headline(driver, "rank"), headline(driver, "image_auroc")
        box.click()
        note = driver.find_element(By.ID, "published-note")
        assert published_rows(driver) == [] and "choose one above (elpv)" in note.text  # means go over two datasets
        choose(driver, "dataset", "elpv")
        (row,) = published_rows(driver)
        assert row[0] == HOSTILE and [cell for cell in row[1:] if cell] == ["99.9"]
        shown = driver.find_element(By.CSS_SELECTOR, "#headline tr.published th")
        assert "published" in shown.text and "elpv, all categories" in shown.text
        assert "never ranked" in note.text and f"{HOSTILE}: {ENDING}." in note.text
        assert (headline(driver, "rank"), headline(driver, "image_auroc")) == (ranks, means)
        assert driver.execute_script("return document.querySelectorAll('#headline .published .best').length") == 0
        colour = "return getComputedStyle(document.querySelector(arguments[0])).color"
        grey = driver.execute_script(colour, "#headline tr.published td")
        assert grey != driver.execute_script(colour, "#headline tbody tr:not(.apart) td")
        sort_button(driver, "image_auroc").click()
        sort_button(driver, "image_auroc").click()
        last = "return document.querySelector('#headline tbody:last-child tr:last-child').className"
        assert "published" in driver.execute_script(last)  # below the ranked rows, whatever sorts these
        choose(driver, "dataset", "phantom")
        assert published_rows(driver) == []
        assert driver.execute_script("return document.scripts.length") == 5
        assert driver.get_log("browser") == []


def test_page_without_published_values_offers_none(driver: Any) -> None:
    assert not driver.find_element(By.ID, "published").is_displayed()


def scroll_mark(driver: Any) -> tuple[bool, bool, bool]:
    """Whether the headline table is marked as going on at the left and at the right, and whether a line says so."""
    table = driver.execute_script("return document.querySelector('#headline').parentElement.className")
    return (
        "more-left" in table,
        "more-right" in table,
        driver.find_element(By.CSS_SELECTOR, ".sideways").is_displayed(),
    )


def test_wide_table_shows_that_it_scrolls(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path, width=390) as driver:
        wait = WebDriverWait(driver, 10)
        wait.until(lambda one: scroll_mark(one) == (False, True, True))
        for position, expected in ((40, (True, True, True)), (10**6, (True, False, True))):
            driver.execute_script(
                "document.querySelector('#headline').parentElement.scrollLeft = arguments[0]", position
            )
            wait.until(lambda one, expected=expected: scroll_mark(one) == expected)


def test_table_that_fits_is_not_marked(driver: Any) -> None:
    script = "document.querySelectorAll('#columns input:checked').forEach((box) => box.click())"
    checked = driver.execute_script(
        "return [...document.querySelectorAll('#columns input')].map((box) => box.checked)"
    )
    driver.execute_script(script)
    WebDriverWait(driver, 10).until(lambda one: scroll_mark(one) == (False, False, False))
    restore = (
        "document.querySelectorAll('#columns input').forEach((b, i) => b.checked !== arguments[0][i] && b.click())"
    )
    driver.execute_script(restore, checked)


def test_phone_needs_no_sideways_scrolling(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path, width=390) as driver:
        driver.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        time.sleep(0.5)
        widths = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [390, 390]
        assert driver.get_log("browser") == []
