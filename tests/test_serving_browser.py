"""The demo page and the OpenAPI page in a real browser, served by ``recbole-unisid serve``."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from chromium import OUTSIDE, set_screen, start_chromium
from PIL import Image
from serving_material import HOSTILE, LEVELS, Service, UntrainedRun, write_export

TITLES = "return [...document.querySelectorAll('{} > li > .title > bdi')].map((one) => one.textContent)"


class Page:
    """The demo page in one Chromium."""

    def __init__(self, service, profile):
        self.service, self.driver = service, start_chromium(profile)
        self.find, self.script = self.driver.find_element, self.driver.execute_script

    def open(self, width=1440, dark=False):
        """Load the page anew and wait until it is ready."""
        set_screen(self.driver, width, dark=dark)
        self.driver.get(self.service.address)
        self.wait("return document.body.dataset.ready")
        return self

    def wait(self, script, *values):
        """Wait for a script's answer to be true; returns it."""
        until = time.monotonic() + 30
        while not (found := self.script(script, *values)):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.03)
        return found

    def type(self, words, *keys):
        """Type into the search, wait for what matches, press keys; returns the matching titles."""
        self.find("id", "search").send_keys(words)
        matching = "return [...document.querySelectorAll('#matches li')].map((one) => one.textContent)"
        self.wait("return !document.getElementById('matches').hidden")
        found = self.script(matching)
        self.find("id", "search").send_keys(*keys)
        return found

    def recommended(self, history):
        """Wait until the recommendations belong to so long a history; returns their names."""
        self.wait(
            "return document.getElementById('status').textContent.endsWith(arguments[0])",
            f"a history of {history}.",
        )
        return self.script("return [...document.querySelectorAll('#next > li')].map((one) => one.dataset.id)")

    def pixels(self):
        """The page as uint8 [height, width, 3]."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))

    def requests(self):
        """Addresses asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(f"--export={write_export(tmp_path_factory.mktemp('demo') / 'export')}")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def page(service, tmp_path_factory):
    page = Page(service, tmp_path_factory.mktemp("profile"))
    yield page
    page.driver.quit()


def test_typing_a_title_brings_recommendations(page):
    """Some letters, Enter: the item is in the history, and what the service recommends is shown."""
    from selenium.webdriver.common.keys import Keys

    page.open()
    titles = UntrainedRun().titles
    assert page.type("lavender comb", Keys.ENTER)[0] == "lavender comb 56"
    assert page.script(TITLES.format("#history")) == ["lavender comb 56"]
    assert page.recommended(1) == page.service.recommended(["i56"])
    # Recommendations change with the history, by arrow keys this time.
    assert len(page.type("soap mirror", Keys.ARROW_DOWN, Keys.ENTER)) > 1
    second = page.script(TITLES.format("#history"))[1]
    history = ["i56", f"i{titles.index(second)}"]
    assert page.recommended(2) == page.service.recommended(history)
    shown = page.script(TITLES.format("#next"))
    assert [title.split() for title in shown] == [
        titles[int(item[1:])].split() for item in page.recommended(2)
    ]


def test_tokens_stand_beside_items_and_shared_ones_are_marked(page):
    """Every item's codes; the longest prefix shared with an item of the history, and with which."""
    from selenium.webdriver.common.keys import Keys

    page.open()
    run = UntrainedRun()
    for count, item in enumerate((20, 33, 41), start=1):
        page.type(f"i{item}", Keys.ENTER)
        found = page.recommended(count)
    codes = run.codes.tolist()
    rows = page.script(
        "return [...document.querySelectorAll('#next > li')].map((row) => [...row.querySelectorAll('.title .chip')]"
        ".map((chip) => [Number(chip.textContent), chip.classList.contains('shared')]))"
    )
    lengths = []
    for name, chips in zip(found, rows, strict=True):
        mine = codes[int(name[1:])]
        assert [code for code, _ in chips] == mine
        alike = [
            next((n for n in range(LEVELS) if mine[n] != codes[other][n]), LEVELS) for other in (20, 33, 41)
        ]
        assert [shared for _, shared in chips] == [level < max(alike) for level in range(LEVELS)]
        lengths.append(max(alike))
    assert len(set(lengths)) > 1
    reasons = page.driver.find_elements("css selector", "#next .why")
    assert len(reasons) == sum(length > 0 for length in lengths)
    assert page.find("id", "legend").is_displayed()


def test_everything_can_be_done_with_the_mouse(page):
    """A starter, Add, Similar, options, the crosses, Clear."""
    page.open()
    page.driver.find_elements("css selector", "#starters button")[2].click()
    first = page.recommended(1)
    page.find("css selector", "#next .tools button").click()
    assert first[0] not in page.recommended(2)
    page.find("id", "seen").click()
    page.find("css selector", "#count option:first-child").click()
    page.wait("return document.querySelectorAll('#next > li').length === 5")
    item = page.script("return document.querySelector('#next > li').dataset.id")
    page.driver.find_elements("css selector", "#next .tools button")[1].click()
    page.wait("return document.querySelectorAll('.like li').length === 5")
    similar = page.script("return document.querySelector('.like bdi').textContent")
    assert similar == page.service.ask(f"similar?item={item}&k=1")[1]["items"][0]["title"]
    page.find("css selector", "#history button").click()
    assert page.recommended(1)
    page.find("css selector", "#next .tools button").click()
    page.recommended(2)
    page.find("id", "clear").click()
    assert page.script("return document.querySelectorAll('#next > li').length") == 0
    assert page.find("id", "starters").is_displayed()


def test_keys_close_the_list_and_take_the_last_item_back(page):
    """Escape, Backspace, and words that nothing has."""
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.type("brush", Keys.ESCAPE)
    assert not page.find("id", "matches").is_displayed()
    assert page.find("id", "search").get_attribute("aria-expanded") == "false"
    page.find("id", "search").send_keys(" no such")
    page.wait("return document.getElementById('search-status').textContent === 'No item has these words.'")
    page.find("id", "search").clear()
    page.type("i20", Keys.ENTER)
    page.recommended(1)
    page.find("id", "search").send_keys(Keys.BACKSPACE)
    assert page.script("return document.querySelectorAll('#history li').length") == 0


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1440, False), (1440, True)])
def test_hostile_titles_are_text_and_nothing_overflows(page, width, dark):
    """Markup, scripts, 10,000 letters, right-to-left: shown as they are, on a phone too, light and dark."""
    from selenium.webdriver.common.keys import Keys

    page.open(width, dark)
    for count, title in enumerate(HOSTILE, start=1):
        page.type(title[:20] if count == 1 else f"i{count}", Keys.ENTER)
        page.recommended(count)
    shown = page.script(TITLES.format("#history"))
    for title, text in zip(HOSTILE[:6], shown, strict=False):
        assert text.split() == title.replace("\x07", " ").split()
    assert page.script("return [typeof window.hacked, document.images.length]") == ["undefined", 0]
    assert page.script("return document.documentElement.scrollWidth") <= width
    assert page.script(OUTSIDE) == []
    pixels = page.pixels()
    background = np.median(pixels.reshape(-1, 3), axis=0)
    assert (background.sum() < 200) == dark
    assert (np.abs(pixels.astype(int) - background).sum(axis=2) > 60).mean() > 0.01


def test_every_control_has_a_name_and_the_theme_can_be_turned(page):
    """What a screen reader needs."""
    page.open()
    page.find("css selector", "#starters button").click()
    page.recommended(1)
    nameless = page.script(
        "return [...document.querySelectorAll('button, input, select, [role=img], [role=listbox]')].filter((one) => "
        "!one.getAttribute('aria-label') && !(one.labels && one.labels.length) && !one.textContent.trim())"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = page.script(colour)
    page.find("id", "theme").click()
    assert page.script(colour) != before


def test_a_service_that_has_gone_is_said_in_the_page(service, page):
    """An answer that is an error, and none at all, are shown; nothing hangs."""
    page.open()
    page.script("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.find("css selector", "#starters button").click()
    page.wait("return document.getElementById('status').textContent.includes('Failed to fetch')")


def test_the_openapi_page_is_drawn_and_no_request_leaves(page):
    """Swagger UI from this service alone; a question can be tried from it."""
    page.open()
    page.requests(), page.driver.get_log("browser")
    page.driver.get(page.service.address + "docs")
    page.wait("return document.querySelectorAll('.opblock').length === 5")
    paths = page.script(
        "return [...document.querySelectorAll('.opblock-summary-path')].map((one) => one.textContent)"
    )
    expected = ["/recommend", "/similar", "/items", "/health", "/metrics"]
    assert [path.replace("\u200b", "") for path in paths] == expected
    page.driver.find_elements("css selector", ".opblock-summary-control")[3].click()
    page.wait("return document.querySelector('.try-out__btn')")
    page.find("css selector", ".try-out__btn").click()
    page.find("css selector", ".execute").click()
    page.wait(
        "return [...document.querySelectorAll('.live-responses-table')].some((one) => "
        "one.textContent.includes('UniSID'))"
    )
    assert (np.ptp(page.pixels().reshape(-1, 3), axis=0) > 100).all()
    asked = page.requests()
    assert len(asked) >= 4
    assert [one for one in asked if not one.startswith(page.service.address)] == []
    assert page.driver.get_log("browser") == []
    page.open()
    page.find("css selector", "#starters button").click()
    page.recommended(1)
    assert [one for one in page.requests() if not one.startswith(page.service.address)] == []
    assert page.driver.get_log("browser") == []
