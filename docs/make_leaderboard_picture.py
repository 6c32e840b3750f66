"""Writes docs/images/leaderboard.png: ``python docs/make_leaderboard_picture.py [PAGE]``, after ``make quickstart``.

It is the top of the page (default: adbench-results/report/index.html) in Chromium, which has to be installed.
"""

import shutil
import sys
import time
from pathlib import Path

from selenium import webdriver

WIDTH, HEIGHT = 1400, 1440


def main(page: str = "adbench-results/report/index.html") -> None:
    """Open the page without a window, and keep what a reader sees first."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(Path(page).absolute().as_uri())
        drawn = "return document.documentElement.dataset.ready && !document.querySelector('#ranks[aria-busy]')"
        while not driver.execute_script(drawn):
            time.sleep(0.1)
        driver.save_screenshot(str(Path(__file__).parent / "images" / "leaderboard.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
