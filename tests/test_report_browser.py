"""The page in a real browser: Debian's Chromium, without a screen. Where there is none, these tests fail."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from chromium import OUTSIDE, set_screen, start_chromium
from PIL import Image
from report_material import Material

from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.markup import clean_text
from recbole_unisid.report.page import write_report

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 2'>",
    "&lt;b&gt; is no markup & never was",
    "“quoted” \"quoted\" 'quoted' `${window.hacked = 3}` {{7 * 7}} $title",
    "שלום עולם \u202eright-to-left override",
    "مرحبا بالعالم 12.50 (x)",
    "a line\u2028separator and a bell\x07",
    "W" * 10_000,
    "<style>*{display:none}</style><!-- comment",
    "😀 emoji, é combining e\u0301, 漢字",
]
SECTIONS = {
    **{
        "summary": "circle",
        "protocol": "dl",
        "leaderboard": "table",
        "differences": "circle",
        "slices": "circle",
    },
    **{
        "cases": "rect",
        "controls": "rect",
        "learning": "polyline",
        "cost": "rect",
        "size": "circle",
        "health": "path",
    },
    **{"purity": "rect", "collisions": "bdi", "explorer": "details", "people": "bdi"},
}
TALLEST = """
const drawn = [...arguments[0].querySelectorAll(arguments[1])].map((element) => element.getBoundingClientRect());
return Math.max(0, ...drawn.map((box) => box.width + box.height));
"""


class Browser:
    """One Chromium with the page in it."""

    def __init__(self, page, profile):
        self.address = page.as_uri()
        self.driver = start_chromium(profile)
        self.find = self.driver.find_element
        self.script = self.driver.execute_script

    def open(self, width, height=900, dark=False, media="screen"):
        """Load the page anew on a screen of some size and wait until it is ready."""
        set_screen(self.driver, width, height, dark, media)
        self.driver.get(self.address)
        self.wait("return document.getElementById('explorer').dataset.ready")

    def wait(self, script):
        """Wait for a script's answer to be true; returns it."""
        until = time.monotonic() + 30
        while not (found := self.script(script)):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.05)
        return found

    def pictures(self):
        """Every visible section as pixels, uint8 [height, width, 3], cut from one screenshot."""
        boxes = self.script(
            "return Object.fromEntries([...document.querySelectorAll('section')].map((one) => [one.id, "
            "one.getBoundingClientRect()]).map(([id, box]) => [id, "
            "[box.top + scrollY, box.bottom + scrollY, box.left, box.right].map(Math.round)]))"
        )
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))
        return {name: pixels[a:b, c:d] for name, (a, b, c, d) in boxes.items() if b > a}

    def search(self, words):
        """Type into the token search; returns the results' buttons."""
        field = self.find("id", "token-search")
        field.clear()
        if max(words) <= "\uffff":
            field.send_keys(words)
        else:  # some versions of ChromeDriver type no others
            put = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
            self.driver.execute_script(put, field, words)
        self.wait("return document.getElementById('token-status').textContent")
        time.sleep(0.3)  # the search waits for a pause in typing
        return self.driver.find_elements("css selector", "#token-results button")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return Material(tmp_path_factory.mktemp("browser"), titles=[*HOSTILE])


@pytest.fixture(scope="module")
def browser(material, tmp_path_factory):
    page = write_report(gather_report(material.write_runs()), material.root)
    found = Browser(page, tmp_path_factory.mktemp("profile"))
    yield found
    found.driver.quit()


@pytest.mark.parametrize(
    ("width", "dark", "media"),
    [
        (390, False, "screen"),
        (390, True, "screen"),
        (1440, False, "screen"),
        (1440, True, "screen"),
        (794, True, "print"),
    ],
)
def test_every_section_draws_and_nothing_overflows(browser, width, dark, media):
    browser.open(width, dark=dark, media=media)
    assert browser.script("return document.documentElement.scrollWidth") <= width
    assert browser.script(OUTSIDE) == []
    assert browser.script("return [...document.querySelectorAll('section')].map((one) => one.id)") == list(
        SECTIONS
    )
    pictures = browser.pictures()
    for ident, shape in SECTIONS.items():
        if media == "print" and ident == "explorer":
            assert ident not in pictures  # nothing to search on paper
            continue
        assert browser.script(TALLEST, browser.find("id", ident), shape) > 8, (ident, shape)
        background = np.median(pictures[ident].reshape(-1, 3), axis=0)
        assert (background.sum() < 200) == (dark and media == "screen"), ident
        drawn = (np.abs(pictures[ident].astype(int) - background).sum(axis=2) > 60).mean()
        assert drawn > 0.005, f"{ident} is nearly empty"


def test_no_request_leaves_the_page_and_the_console_stays_silent(browser):
    browser.driver.get_log("browser"), browser.driver.get_log("performance")
    browser.open(1440)
    browser.search("lotion")[0].click()
    browser.script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    time.sleep(0.3)
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    ours = [one["request"]["url"] for one in sent if one["documentURL"] == browser.address]
    assert ours == [browser.address]
    assert browser.driver.get_log("browser") == []


def test_search_finds_an_item_and_shows_its_siblings_by_keyboard_alone(browser, material):
    from selenium.webdriver.common.keys import Keys

    browser.open(1440)
    title = material.titles[60]
    assert [one.text for one in browser.search(title)] == [title]
    browser.find("id", "token-search").send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    panel = browser.find("id", "token-item")
    assert panel.find_element("tag name", "h3").text == title
    codes = [line.split("\t") for line in _tokens(material)[1:]]
    mine = codes[60][1].split()
    others = [(item, row.split()) for item, row in codes if item != material.names[60]]
    for length, block in zip((3, 2, 1), panel.find_elements("css selector", ".siblings"), strict=True):
        alike = [item for item, row in others if row[:length] == mine[:length]]
        assert f"{len(alike)} other item" in block.text
        new = [item for item, row in others if item in alike and row[: length + 1] != mine[: length + 1]]
        new = alike if length == 3 else new
        shown = [one.text for one in block.find_elements("tag name", "li")]
        assert shown == [material.titles[material.names.index(item)] for item in new][:12]
    assert len(alike) > 5


def _tokens(material):
    (folder,) = (material.root / "runs" / "toys" / "UniSID").glob("2020-*")
    return (folder / "tokens.tsv").read_text().splitlines()


def test_search_finds_items_by_name_and_by_codes(browser, material):
    browser.open(390)
    assert material.titles[100] in [one.text for one in browser.search("i100")]
    codes = _tokens(material)[101].split("\t")[1]
    assert browser.search(codes)[0].text == material.titles[100]
    assert browser.search("no such word at all") == []
    assert browser.find("id", "token-status").text == "0 items"


def test_the_tree_opens_down_to_titles(browser):
    browser.open(1440)
    for _ in range(3):
        browser.script("[...document.querySelectorAll('#token-tree details:not([open])')].at(-1).open = true")
        time.sleep(0.2)
    titles = browser.script(
        "return [...document.querySelectorAll('#token-tree button.item')].map((b) => b.textContent)"
    )
    assert titles


def test_hostile_titles_are_shown_as_text(browser):
    browser.open(390)
    for title in HOSTILE:
        shown = clean_text(title, 300)
        words = "no markup" if "lt;b" in title else shown.split()[0][:40]
        found = [one for one in browser.search(words) if one.get_property("textContent") == shown]
        assert found, title
        found[0].click()
        assert browser.script("return document.querySelector('#token-item h3').textContent") == shown
        assert browser.script("return document.documentElement.scrollWidth") <= 390
    assert browser.script(OUTSIDE) == []
    listed = browser.script(
        "return [...document.querySelectorAll('#collisions bdi')].map((one) => one.textContent)"
    )
    assert {clean_text(title, 120) for title in HOSTILE[:6]} <= set(listed)
    assert browser.script("return [typeof window.hacked, document.images.length]") == ["undefined", 0]


def test_the_theme_can_be_turned(browser):
    browser.open(1440)
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = browser.script(colour)
    browser.find("id", "theme").click()
    assert browser.script(colour) != before
    browser.find("id", "theme").click()
    assert browser.script(colour) == before


def test_everything_seen_is_also_named(browser):
    browser.open(1440)
    silent = browser.script(
        "return [...document.querySelectorAll('svg')].filter((one) => !one.parentElement.closest('svg') && "
        "!(one.getAttribute('role') === 'img' && one.getAttribute('aria-label')) && "
        "one.getAttribute('aria-hidden') !== 'true').map((one) => one.outerHTML.slice(0, 200))"
    )
    assert silent == []
    assert browser.script("return [...document.querySelectorAll('input')].every((one) => one.labels.length)")
    assert browser.script("return document.querySelectorAll('h1').length") == 1
