"""Search, curves, ROC and cards in a real browser: drawn without a message, chosen by selects, opened by keyboard."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from browsing import BROWSER_TEST, choose, launched, scroll_to_figure, scroll_to_figures, show, show_runs, wait_ready
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from adbench.reports.page import render_page
from adbench.reports.schema import Card, RunResult, SearchRecord, SuitePlan
from adbench.reports.store import ResultStore
from adbench.reports.studies import JOURNAL

HOSTILE = "<img src=x onerror=alert(1)>"

pytestmark = BROWSER_TEST


def search(store: ResultStore, name: str, objectives: int) -> None:
    journal = Path(store.out) / JOURNAL
    journal.parent.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=name,
        sampler=optuna.samplers.RandomSampler(seed=0),
        directions=[StudyDirection.MAXIMIZE] * objectives,
    )
    study.optimize(
        lambda trial: (trial.suggest_float("rate", 0.1, 1), trial.suggest_int("depth", 1, 4))[:objectives],
        n_trials=12,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_result: Callable[..., RunResult]) -> Path:
    store = ResultStore(tmp_path_factory.mktemp("store") / "out")
    store.prepare()
    for dataset in ("elpv", "visa"):
        for gamma in (0.1, 0.5):
            for seed in range(3):
                own = {"method": "kist", "dataset": dataset, "seed": seed, "category": "a", "gallery": None}
                metrics = {"image_auroc": 0.6 + gamma / 10 + seed / 50}
                store.append(make_result(**own, params=json.dumps({"gamma": gamma}), metrics=metrics))
    for seed in range(3):
        tuned = {"sweep_id": "one", "selection": "val", "params": '{"gamma":0.9}', "gallery": None}
        metrics = {"image_auroc": 0.9 + seed / 50}
        store.append(make_result(method="kist", dataset="elpv", category="a", seed=seed, metrics=metrics, **tuned))
    search(store, "one", 1)
    search(store, "two", 2)
    one = SearchRecord(
        sweep_id="one",
        suite="q",
        method="kist",
        data=("elpv/a",),
        budget="smoke",
        objective=("val_image_auroc",),
        sampler="tpe",
        scheduler="asha",
        trials=12,
        complete=12,
        stopped=0,
        failed=0,
        lane_seconds=5400.0,
        best=(0.9,),
        setting={"gamma": 0.9},
    )
    store.write_search(one)
    store.write_search(replace(one, sweep_id="two", objective=("a", "b"), best=(0.9, 0.8), data=("visa/a",)))
    store.write_search(replace(one, sweep_id="without-trials"))
    about = Card(
        kind="method",
        name="kist",
        facts=(("summary", f"what it is {HOSTILE}"),),
        text="Rebuilt from the paper.",
        head=("parameter", "default"),
        rows=(("gamma", "0.3"),),
    )
    cards = (about, replace(about, kind="dataset", name="elpv"))
    store.write_plan(SuitePlan(name="q", title="Q", rank_by="image_auroc", cells=(), cards=cards))
    return render_page(store)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def driver(browser: Any, page: Path) -> Iterator[Any]:
    show(browser, page.as_uri())
    wait_ready(browser)
    yield browser
    assert browser.get_log("browser") == []


def options(driver: Any, name: str) -> list[str]:
    return [option.get_attribute("value") for option in Select(driver.find_element(By.ID, name)).options]


def drawn(driver: Any, place: str) -> int:
    """How many marks, bars and lines the figures within an element have, legends apart."""
    marks = ", ".join(f".cartesianlayer {mark}" for mark in (".points path", ".js-line"))
    script = f"return document.querySelector(arguments[0]).querySelectorAll('{marks}').length"
    return int(driver.execute_script(script, place))


def titles(driver: Any) -> list[str]:
    return [node.text for node in driver.find_elements(By.CSS_SELECTOR, "#sweep-figures h3")]


def test_sweeps_are_drawn_and_chosen(driver: Any) -> None:
    assert options(driver, "sweep") == ["one", "two", "without-trials"]
    single = ["Optimisation history", "Importance of the parameters", "Parallel coordinates", "Slices"]
    assert titles(driver) == single
    scroll_to_figures(driver)
    assert drawn(driver, "#sweep-figures") > 24
    text = driver.find_element(By.ID, "search").text
    assert "12 complete" in text and "1.5 h of lanes" in text
    gains = driver.find_element(By.ID, "sweep-gains").text
    assert "tuned and default cannot be told apart on the same 3 cells" in gains and "+25.0" in gains
    choose(driver, "sweep", "two")
    assert titles(driver)[0] == "Pareto front: a and b"
    assert options(driver, "sweep-objective") == ["a", "b"]
    scroll_to_figures(driver)
    before = driver.find_element(By.ID, "sweep-figures").text
    choose(driver, "sweep-objective", "b")
    scroll_to_figures(driver)
    assert driver.find_element(By.ID, "sweep-figures").text != before
    assert "nothing to compare" in driver.find_element(By.ID, "sweep-gains").text
    choose(driver, "sweep", "without-trials")
    assert "are not in sweeps/optuna.journal" in driver.find_element(By.ID, "sweep-problem").text
    assert titles(driver) == []
    choose(driver, "dataset", "visa")
    assert options(driver, "sweep") == ["two"]


def test_the_sweep_and_objective_shown_are_in_the_address(driver: Any) -> None:
    choose(driver, "sweep", "two")
    choose(driver, "sweep-objective", "b")
    WebDriverWait(driver, 10).until(lambda one: "sweep=two&objective=b" in one.current_url)
    shown = titles(driver)
    show(driver, driver.current_url)
    assert [driver.find_element(By.ID, name).get_attribute("value") for name in ("sweep", "sweep-objective")] == [
        "two",
        "b",
    ]
    assert titles(driver) == shown
    show(driver, driver.current_url.replace("two", "nowhere"))
    assert driver.find_element(By.ID, "sweep").get_attribute("value") == "one"


def test_a_figure_of_a_search_is_printed_alone(driver: Any) -> None:
    driver.execute_script("window.print = () => {}")  # the dialog, which nobody closes here
    scroll_to_figure(driver, "sweep-figure-0")
    button = driver.find_element(By.CSS_SELECTOR, "#sweep-figure-0 .modebar-btn[data-title^='Print']")
    driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', { bubbles: true }))", button)
    driver.execute_script("""
        addEventListener("beforeprint", () => {
          window.alone = document.querySelector(".alone .main-svg")?.checkVisibility();
        });
    """)
    driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert driver.execute_script("return window.alone")
    assert driver.find_elements(By.CSS_SELECTOR, ".alone, .one-figure") == []


def test_curves_and_roc_follow_the_filters(driver: Any) -> None:
    assert options(driver, "curve-parameter") == ["gamma"]
    scroll_to_figures(driver)
    assert drawn(driver, "#curve") == 2 + 1  # two points and the line between them
    assert "2 categories" in driver.find_element(By.ID, "curve-caption").text
    assert drawn(driver, "#roc") == 4  # a curve of each row, and chance
    assert len(options(driver, "roc-category")) == 2
    before = driver.execute_script("return document.querySelector('#roc .js-line').getAttribute('d')")
    choose(driver, "dataset", "visa")
    assert "1 category" in driver.find_element(By.ID, "curve-caption").text
    assert len(options(driver, "roc-category")) == 1
    scroll_to_figures(driver)
    assert driver.execute_script("return document.querySelector('#roc .js-line').getAttribute('d')") != before
    choose(driver, "metric", "image_auroc")
    driver.find_element(By.ID, "theme").click()
    scroll_to_figures(driver)
    assert drawn(driver, "#curve") == 3


def focus(driver: Any) -> Any:
    return driver.switch_to.active_element


def wait_for_address(driver: Any, *, run: bool) -> None:
    """Until the address names a run, or none: it follows a moment later."""
    WebDriverWait(driver, 10).until(lambda one: ("run=" in one.current_url) == run)


def test_cards_open_and_close_by_keyboard(driver: Any) -> None:
    card = driver.find_element(By.ID, "card")
    opener = driver.find_element(By.CSS_SELECTOR, "#headline tbody .link")
    opener.send_keys(Keys.ENTER)
    assert card.is_displayed() and focus(driver).get_attribute("id") == "card-title"
    assert f"what it is {HOSTILE}" in card.text and "Rebuilt from the paper." in card.text and "gamma" in card.text
    focus(driver).send_keys(Keys.ESCAPE)
    assert not card.is_displayed() and focus(driver) == opener
    show_runs(driver)
    run = driver.find_element(By.CSS_SELECTOR, "#run-table .link")
    run.send_keys(Keys.SPACE)
    assert card.is_displayed() and "adbench run suite=quickstart" in card.text
    wait_for_address(driver, run=True)
    driver.find_element(By.CSS_SELECTOR, "#card .link").send_keys(Keys.ENTER)
    assert driver.find_element(By.ID, "card-title").text == "kist"
    wait_for_address(driver, run=False)
    focus(driver).send_keys(Keys.ESCAPE)
    assert not card.is_displayed() and focus(driver) == run


def test_a_run_has_an_address(browser: Any, page: Path) -> None:
    row = ResultStore(page.parents[1]).runs().iloc[-1]
    show(browser, f"{page.as_uri()}#run={row['run_id']}")
    wait_ready(browser)
    card = browser.find_element(By.ID, "card")
    assert card.is_displayed() and row["run_id"] in card.text and row["split_hash"] in card.text
    browser.find_element(By.ID, "card-close").click()
    assert not card.is_displayed()
    wait_for_address(browser, run=False)
    show(browser, f"{page.as_uri()}#run=nowhere")
    wait_ready(browser)
    assert "does not hold that run" in browser.find_element(By.ID, "card").text
    assert browser.get_log("browser") == []
