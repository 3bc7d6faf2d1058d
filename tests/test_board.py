"""The board: every figure is that of the results, runs come along whole, and a phone can read it."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import OUTSIDE, set_screen, start_chromium
from report_material import MODELS, Material

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.files import write_json
from recbole_unisid.report.board import draw_board, gather_groups, write_board


class Figures(HTMLParser):
    """What the page shows as figures: the value behind each, the model and the way to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str, str]] = []
        self.links: list[str] = []
        self.group = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "section":
            self.group = given["id"]
        if tag == "data":
            self.found.append((self.group, given["data-model"], given["data-key"], given["value"]))
        if tag == "a":
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty runs of four protocols of two data sets, and one of a model that was trained elsewhere."""
    root = tmp_path_factory.mktemp("board")
    folders = []
    for name, split in (("toys", "leave_one_out"), ("toys", "global_time"), ("books", "leave_one_out")):
        material = Material(
            root / name / split, users=120, items=60, examples=False, slice_samples=5, epochs=2
        )
        seeds = tuple(range(2020, 2024 if split == "global_time" else 2022))
        for folder in material.write_runs(MODELS, seeds):
            change(folder, dataset=name, split=split)
            folders.append(folder)
    brought = material.write_run("LLM of eight GPUs", 1, 0.14, False)
    change(
        brought,
        "books",
        "leave_one_out",
        predictions={"form": "lists", "notes": [], "command": "sbatch train.sh"},
    )
    assert len(folders) == 40
    write_board([root], root / "site")
    return root / "site"


def change(folder: Path, dataset: str, split: str, **more: Any) -> None:
    result = json.loads((folder / "result.json").read_text())
    result |= {"dataset": dataset, **more}
    result["protocol"]["split"] = split
    write_json(folder / "result.json", result)


def test_every_figure_is_that_of_the_results(site: Path) -> None:
    """Each is the mean over the seeds of what the downloads say; every link leads to a file."""
    page = Figures((site / "index.html").read_text())
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in site.rglob("result.json"):
        result = json.loads(path.read_text())
        results.setdefault((path.parents[2].name, result["model"]), []).append(result)
    assert len(page.found) > 100
    for group, model, key, value in page.found:
        values = []
        for result in results[group, model]:
            for part in key.split(" "):
                if key == "training":
                    seconds = result["seconds"]
                    result = max(seconds["training"], seconds["per_epoch"] * result["epochs"])
                else:
                    result = result[part]
            values.append(result)
        assert float(value) == pytest.approx(np.mean(values), abs=1e-12), (group, model, key)
    for link in page.links:
        assert link == "#runs" or (site / link.replace("%20", " ")).is_file(), link
    assert sum(map(len, results.values())) == 41
    assert (site / "runs.csv").read_text().count("\n") == 42


def test_a_site_of_a_site_is_the_same(site: Path, tmp_path: Path) -> None:
    """The downloads are all that it takes."""
    write_board([site], tmp_path)
    assert (tmp_path / "index.html").read_text() == (site / "index.html").read_text()


def test_words_say_what_the_intervals_say(tmp_path: Path) -> None:
    """A clear winner, one that is level and cheaper, a rule, and a model of whose cost nothing is known."""
    material = Material(tmp_path, examples=False, slice_samples=5)
    for seed in (1, 2, 3):
        material.write_run("UniSID", seed, 0.4, False)
        material.write_run("ItemID", seed, 0.02, False)
    same = material.write_run("BSARec", 1, 0.4, False)
    for seconds, model in ((300.0, "UniSID"), (20.0, "BSARec")):
        for path in (tmp_path / "runs/toys" / model).glob("*/result.json"):
            result = json.loads(path.read_text())
            result["seconds"] |= {"training": seconds, "per_epoch": None}
            write_json(path, result)
    page = write_board([tmp_path / "runs"], tmp_path / "site").read_text()
    assert "The data cannot tell apart from it" in page
    assert "All others are significantly below." in page
    assert "<strong>Use BSARec</strong>" in page
    assert "Of fewer than 3 seeds: BSARec." in page
    rule = material.write_run("TransitionText", 1, 0.01, False)
    write_json(rule / "result.json", json.loads((rule / "result.json").read_text()) | {"epochs": 0})
    page = write_board([tmp_path / "runs"], tmp_path / "site").read_text()
    assert "Of fewer than 3 seeds: BSARec." in page
    result = json.loads((same / "result.json").read_text())
    result["seconds"]["training"] = None
    write_json(same / "result.json", result)
    page = write_board([tmp_path / "runs"], tmp_path / "site").read_text()
    assert "<strong>Use UniSID</strong>" in page
    assert "Not known: what BSARec took." in page


def test_the_newest_run_of_a_model_and_seed_counts(tmp_path: Path) -> None:
    """The same run in two folders is shown once."""
    for name in ("old", "new"):
        Material(tmp_path / name, examples=False, slice_samples=5).write_run("ItemID", 1, 0.1, False)
    # One name is one run, whatever a later version wrote of it.
    for more in ("", "text_template: '{title}'\n"):
        (settings,) = (tmp_path / "new").rglob("config.yaml")
        settings.write_text(settings.read_text() + more)
        (group,) = gather_groups([tmp_path])
        assert group.superseded == 1
        assert "Left out: 1 older run of the same models and seeds." in draw_board([group])
        assert "new" in group.report.runs["ItemID"][0].folder.parts


def test_a_downloaded_run_runs_again(ml_mini: Path, in_empty_folder: Path) -> None:
    """The settings on the site, without places, are those of the run: it is found as finished."""
    settings = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False, "id_dim": 8}
    result = recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    assert main(["board", "runs", "--to=site"]) == 0
    (config,) = Path("site").rglob("config.yaml")
    assert main(["board", "runs", "--to=small", "--small"]) == 0
    files = {path.name for path in Path("small").rglob("*") if path.is_file()}
    assert files == {"index.html", "runs.csv", "result.json", "config.yaml"}
    for link in Figures(Path("small/index.html").read_text()).links:
        assert link == "#runs" or (Path("small") / link).is_file()
    assert str(ml_mini) not in config.read_text()
    again = recbole_unisid.run(config_dict={"data_path": str(ml_mini)}, config_files=[config], verbose=False)
    assert again["run_dir"] == result["run_dir"]


def test_in_a_browser(site: Path, tmp_path: Path) -> None:
    """No request but the page, nothing outside a phone's screen, filters that filter."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    assert (site / "index.html").stat().st_size < 3_000_000
    driver = start_chromium(tmp_path / "profile")
    try:
        for width in (1280, 390):
            set_screen(driver, width)
            driver.get((site / "index.html").as_uri())
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            assert driver.execute_script(OUTSIDE) == []
        asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        addresses = {
            one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"
        }
        # Chromium fetches the parts of its own empty tab, from chrome: and data:.
        assert {one for one in addresses if one.startswith(("file:", "http"))} == {
            (site / "index.html").as_uri()
        }
        assert driver.get_log("browser") == []
        shown = "return [...document.querySelectorAll('.group:not([hidden]) .wide tbody tr:not([hidden]) th')].length"
        assert driver.execute_script(shown) == 16
        Select(driver.find_element(By.NAME, "dataset")).select_by_visible_text("books")
        assert driver.execute_script(shown) == 6
        driver.find_element(By.NAME, "model").send_keys("gpus")
        time.sleep(0.1)
        assert driver.execute_script(shown) == 1
        Select(driver.find_element(By.NAME, "seeds")).select_by_visible_text("3")
        assert driver.execute_script(shown) == 0
    finally:
        driver.quit()
