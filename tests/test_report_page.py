"""The page without a browser: its figures, its files, what it refuses."""

from __future__ import annotations

import functools
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_material import MODELS, Material

from recbole_unisid.errors import UserError
from recbole_unisid.items.catalogue import Catalogue
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.page import draw_page, write_report
from recbole_unisid.report.run_files import find_runs, load_runs


class Figures(HTMLParser):
    """Collects the `data` elements of a page, and all ids and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: list[tuple[dict[str, str | None], str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._open = tag == "data"
        if self._open:
            self.figures.append((found, ""))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        self.outside += [v for k, v in attributes if k in ("src", "srcset", "action", "data", "xlink:href")]

    def handle_data(self, text):
        if self._open:
            self.figures[-1] = (self.figures[-1][0], text)
            self._open = False


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Material(tmp_path_factory.mktemp("report")).write_runs()


@pytest.fixture(scope="module")
def report(runs):
    return gather_report(runs)


@pytest.fixture(scope="module")
def page(report):
    return draw_page(report)


def in_file(folders, model, key):
    """Mean over seeds of a figure, straight from the files."""
    values = []
    for folder in folders:
        result = json.loads((folder / "result.json").read_text())
        if result["model"] == model:
            steps = [int(step) if step.isdigit() else step for step in key.split(" ")]
            values.append(functools.reduce(lambda value, step: value[step], steps, result))
    assert len(values) == 2
    return np.mean(values)


def test_every_figure_is_that_of_result_json(runs, page):
    figures = Figures(page).figures
    assert len(figures) > 150
    for attributes, text in figures:
        expected = in_file(runs, attributes["data-model"], attributes["data-key"])
        assert float(attributes["value"]) == pytest.approx(expected, rel=1e-12, abs=1e-15), attributes
        key = attributes["data-key"]
        if key.startswith(("test ", "controls ")):
            assert text == f"{expected:.4f}", attributes
        elif key.startswith("parameters"):
            assert text == f"{expected:,.0f}", attributes


def test_the_leaderboard_shows_every_model_under_every_candidate_set(page):
    shown = {(a["data-model"], a["data-key"]) for a, _ in Figures(page).figures}
    for model in MODELS:
        for candidates, metric in (("full", "recall@10"), ("full", "ndcg@10"), ("sampled99", "hit@10")):
            assert (model, f"test {candidates} {metric}") in shown
        assert ((model, "test full_unfiltered ndcg@10") in shown) == (model != "Pop")


def test_zeros_are_no_ranks(report):
    assert ("full_unfiltered", "ndcg@10") not in report.intervals["Pop"]


def test_controls_of_some_runs_and_warnings_of_the_runs_are_shown(tmp_path):
    material = Material(tmp_path)
    plain = material.write_run("ItemID", 1, 0.3, tokens=False)
    unified = material.write_run("UniSID", 1, 0.1, tokens=True)
    result = json.loads((plain / "result.json").read_text())
    (plain / "result.json").write_text(json.dumps(result | {"order_note": "The order <leaks>."}))
    page = draw_page(gather_report([plain, unified], notes=["Another warning."]))
    assert "nearest text to the last item" in page
    assert "The order &lt;leaks&gt;." in page
    assert "Another warning." in page


def test_links_lead_to_sections_and_nothing_leads_outside(page):
    found = Figures(page)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert found.outside == []
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_same_runs_same_page(runs, page):
    assert draw_page(gather_report(list(reversed(runs)))) == page


def test_a_run_alone_and_without_tokens_or_examples(tmp_path):
    material = Material(tmp_path, examples=False)
    folder = material.write_run("ItemID", 1, 0.1, tokens=False)
    page = write_report(gather_report([folder]), tmp_path).read_text()
    assert "No model here has tokens" in page
    assert "kept no examples" in page
    assert 'id="token-data"' not in page


def test_titles_come_from_the_item_file_given(tmp_path):
    folder = Material(tmp_path, titles=["A title"]).write_run("UniSID", 1, 0.1, tokens=True)
    settings = folder / "config.yaml"
    settings.write_text(settings.read_text().replace(str(tmp_path / "data"), "elsewhere"))
    (folder / "examples.json").unlink()
    assert "A title" not in draw_page(gather_report([folder]))
    assert "A title" in draw_page(gather_report([folder], item_file=tmp_path / "data" / "toys" / "toys.item"))


def test_titles_are_those_of_the_run_whatever_became_of_the_item_file(tmp_path):
    material = Material(tmp_path, titles=["A title"])
    folder = material.write_run("UniSID", 1, 0.1, tokens=True)
    ids = ["[PAD]", *material.names]
    Catalogue(
        ids, ["[PAD]", *(f"kept {name}" for name in material.names)], [""] * len(ids), material.counts
    ).save(folder / "items.tsv")
    categories = gather_report([folder]).items.categories
    assert set(categories) == set(material.names)
    file = tmp_path / "data" / "toys" / "toys.item"
    for damage in (file.read_text(), "no header\n"):
        file.write_text(damage)
        items = gather_report([folder]).items
        assert items.titles[material.names[0]] == f"kept {material.names[0]}"
    assert items.categories == {}
    with pytest.raises(UserError, match=r"toys\.item"):
        gather_report([folder], item_file=file)


def test_runs_with_other_settings_are_rows_of_their_own(tmp_path):
    material = Material(tmp_path)
    runs = [material.write_run("UniSID", seed, 0.1, True, id_dim=dim) for seed in (1, 2) for dim in (8, 16)]
    runs.append(material.write_run("ItemID", 1, 0.1, False, id_dim=64))
    report = gather_report(runs)
    assert sorted(report.labels) == ["ItemID", "UniSID (id_dim=16)", "UniSID (id_dim=8)"]
    assert [run.result["seed"] for run in report.runs["UniSID (id_dim=8)"]] == [1, 2]


def test_a_variant_is_named_by_what_is_set(tmp_path):
    """A setting that a run leaves unset does not fill its label."""
    material = Material(tmp_path)
    own = material.write_run("UniSID", 1, 0.1, True, tokenizer="lsh", tokens_file=None)
    given = material.write_run("UniSID", 1, 0.1, True, tokenizer="file", tokens_file="codes/ours.tsv")
    labels = sorted(gather_report([own, given]).labels)
    assert labels == ["UniSID (tokenizer=file, tokens_file=ours)", "UniSID (tokenizer=lsh)"]


def test_a_run_older_than_a_setting_has_what_stood_for_it(tmp_path):
    material = Material(tmp_path)
    older = material.write_run("UniSID", 1, 0.1, True)
    same = material.write_run("UniSID", 2, 0.1, True, candidates="sampled99", schedule="constant")
    assert sorted(gather_report([older, same]).labels) == ["UniSID"]
    other = material.write_run("UniSID", 3, 0.1, True, schedule="cosine")
    assert len(gather_report([older, same, other]).labels) == 2


def test_labels_that_are_cut_stay_apart(tmp_path):
    """Runs of two settings are not taken for two seeds of one."""
    material, long = Material(tmp_path), "{title} is a title, told here in as many words as it takes: "
    runs = [material.write_run("UniSID", seed, 0.1, True, text_template=f"{long}{seed}") for seed in (1, 2)]
    assert len({run.variant for run in load_runs(runs)}) == 2


def test_unfinished_damaged_and_mixed_runs_are_refused_in_one_line(tmp_path):
    material = Material(tmp_path)
    one, other = (material.write_run("ItemID", seed, 0.1, False) for seed in (1, 2))

    def refused(match, *folders):
        with pytest.raises(UserError, match=match) as caught:
            write_report(gather_report(folders), tmp_path)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "report.html").exists()

    whole = (one / "result.json").read_text()
    refused("no finished run")
    refused("no result.json", tmp_path)
    (one / "result.json").write_text(whole[: len(whole) // 2])
    refused("cannot be read as JSON", one, other)
    (one / "result.json").write_text(whole.replace('"complete"', '"running"'))
    refused("not complete", one, other)
    (one / "result.json").write_text(whole.replace('"raw"', '"shuffled:7"'))
    refused("protocol", one, other)
    (one / "result.json").write_text(whole.replace('"ndcg@10": 0.', '"ndcg@10": 1.'))
    refused("not of one run", one, other)
    (one / "result.json").write_text(whole)
    (one / "examples.json").write_text('{"people": [{"user": 1}]}')
    refused("cannot be read as examples", one, other)
    (one / "examples.json").unlink()
    (one / "ranks.npz").write_bytes(b"PK")
    refused("cannot be read as ranks", one, other)


def test_runs_are_found_below_folders(runs, tmp_path):
    root = runs[0].parents[2]
    assert find_runs([root]) == sorted(runs)
    assert find_runs([runs[0], runs[0].parent]) == sorted(run for run in runs if run.parent == runs[0].parent)
    with pytest.raises(UserError, match="no finished run"):
        find_runs([tmp_path])


def test_the_reference_is_checked(runs):
    some = [run for run in runs if run.parent.name in ("UniSID", "Pop")]
    assert gather_report(some).board.reference == "Pop"
    assert gather_report(some, reference="UniSID").board.reference == "UniSID"
    with pytest.raises(UserError, match="Nobody"):
        gather_report(some, reference="Nobody")


def test_the_command_names_models_data_and_seeds(runs, report):
    command = report.command
    assert "--dataset=toys" in command
    assert "--seeds=2020,2021" in command
    assert all(model in command for model in MODELS)
    assert gather_report(runs[:1], command="make it so").command == "make it so"


def test_paths_of_this_machine_stay_here(runs, page):
    assert str(Path(runs[0]).parents[3]) not in page
