"""A real browser that shows the page from the disk, without network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402
from selenium_axe_python.axe import Axe  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
BROWSER_TEST = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed (looked on PATH)"),
    pytest.mark.skipif(DRIVER is None, reason="no chromedriver is installed (looked on PATH)"),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def launched(folder: Path) -> Iterator[Any]:
    """A browser without network, that keeps its profile and what it downloads in ``folder``."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        # a request that leaves the machine fails, and is then in the console
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
        yield driver
    finally:
        driver.quit()


def show(driver: Any, address: str, width: int = 1280, *, dark: bool = False) -> None:
    """Load a page in a window of this width, in one that prefers this theme."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    # a click must not meet a page that still scrolls smoothly to its target
    wishes = {"prefers-reduced-motion": "reduce", "prefers-color-scheme": "dark" if dark else "light"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get("about:blank")  # or another fragment of the page before would not load it again
    driver.get_log("performance")
    driver.get(address)


@contextmanager
def opened(path: Path, folder: Path, width: int = 1280, fragment: str = "") -> Iterator[Any]:
    """A browser that shows the page at this fragment, after its script has drawn everything."""
    with launched(folder) as driver:
        show(driver, path.as_uri() + fragment, width)
        wait_ready(driver)
        yield driver


def wait_ready(driver: Any) -> None:
    """Until the page has drawn everything."""
    WebDriverWait(driver, 60).until(
        lambda one: one.execute_script("return document.documentElement.dataset.ready") == "true"
    )


def headline(driver: Any, key: str) -> list[str]:
    """The shown first lines of a column, from top to bottom."""
    script = """
        const heads = [...document.querySelectorAll("#headline thead th")];
        const index = heads.findIndex((head) => head.dataset.key === arguments[0]);
        return [...document.querySelectorAll("#headline tbody tr:not(.apart)")]
          .map((row) => (row.children[index].querySelector(".mean") ?? row.children[index]).textContent);
    """
    return list(driver.execute_script(script, key))


def sort_button(driver: Any, key: str) -> Any:
    """The heading of a column."""
    return driver.find_element(By.CSS_SELECTOR, f"#headline th[data-key='{key}'] button")


def sort_state(driver: Any, key: str) -> str | None:
    """How a column is sorted, if it is."""
    head = driver.find_element(By.CSS_SELECTOR, f"#headline th[data-key='{key}']")
    state: str | None = head.get_attribute("aria-sort")
    return state


def choose(driver: Any, name: str, value: str) -> None:
    """Choose in the list of this id."""
    Select(driver.find_element(By.ID, name)).select_by_value(value)


def show_runs(driver: Any) -> None:
    """Scroll to the run table, and wait until it is drawn."""
    driver.execute_script("document.getElementById('runs').scrollIntoView()")
    WebDriverWait(driver, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#run-table tbody tr"))


def run_cells(driver: Any, title: str) -> list[str]:
    """The shown cells of a column of the run table, from top to bottom."""
    script = """
        const titles = [...document.querySelectorAll("#run-table .dt-column-title")].map((one) => one.textContent);
        return [...document.querySelectorAll("#run-table tbody tr")]
          .map((row) => row.children[titles.indexOf(arguments[0])]?.textContent).filter((one) => one !== undefined);
    """
    return list(driver.execute_script(script, title))


def run_heading(driver: Any, title: str) -> Any:
    """The heading of a column of the run table."""
    return driver.find_element(By.XPATH, f"//table[@id='run-table']//th[.//span[text()='{title}']]")


def violations(driver: Any) -> list[str]:
    """What axe-core finds wrong with all that the page can show, a line for each rule."""
    driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; });")
    checker = Axe(driver)
    checker.inject()  # type: ignore[no-untyped-call]
    found = checker.run()
    assert len(found["passes"]) > 15, "axe-core has looked at the page"
    return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


CONTROLS = {
    "button",
    "link",
    "combobox",
    "checkbox",
    "searchbox",
    "textbox",
    "DisclosureTriangle",
    "region",
    "dialog",
}


def unnamed(driver: Any) -> list[str]:
    """Roles of the controls and places that a screen reader would announce without a name."""
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    known = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    controls = [(role, name) for role, name in known if role in CONTROLS]
    assert controls, "there are links at least"
    return [role for role, name in controls if not name.strip()]


def visited(driver: Any, most: int) -> list[int]:
    """Where the tab key leads from the page's top: places of elements in the document, the end not gone beyond."""
    script = "return [...document.querySelectorAll('*')].indexOf(document.activeElement)"
    driver.execute_script("scrollTo(0, 0); document.activeElement.blur();")
    places: list[int] = []
    for _ in range(most):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        place = int(driver.execute_script(script))
        if places and place <= places[0]:
            break
        places.append(place)
    return places
