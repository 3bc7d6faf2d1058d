"""Debian's Chromium without a screen, driven by Selenium. Where it is required and missing, tests fail."""

from __future__ import annotations

import os
import shutil

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ),
)
#: Elements of the page that stand outside the screen, boxes that scroll by themselves left out.
OUTSIDE = """
return [...document.querySelectorAll('body *')].filter((element) => {
  if (element.closest('.scroll') && !element.classList.contains('scroll')) return false;
  const box = element.getBoundingClientRect();
  return !element.closest('.skip') && box.width > 0 && (box.left < -1 || box.right > innerWidth + 1);
}).map((element) => element.outerHTML.slice(0, 200));
"""


def start_chromium(profile):
    """A WebDriver with logs of the console and of every request."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    chromium, driver = (
        os.environ.get(name.upper()) or shutil.which(name) for name in ("chromium", "chromedriver")
    )
    if not chromium or not driver:
        # .ci/run installs it and asks for it; elsewhere the other tests are worth running without.
        absent = pytest.fail if os.environ.get("RECBOLE_UNISID_BROWSER") == "required" else pytest.skip
        absent("Chromium is missing: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def set_screen(driver, width, height=900, dark=False, media="screen"):
    """A screen (or paper) of some size, light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
