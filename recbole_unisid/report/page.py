"""``report.html``: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import recbole_unisid
from recbole_unisid.files import write_text
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.sections import overview, people, quality, tokens, training
from recbole_unisid.report.tables import write_leaderboard
from recbole_unisid.report.wording import listed

#: In the order of the page.
_SECTIONS = (
    *(overview.summary, overview.protocol, quality.leaderboard, quality.differences, quality.slices),
    *(quality.cases, quality.controls, training.learning, training.cost, training.size),
    *(tokens.health, tokens.purity, tokens.collisions, tokens.explorer, people.people),
)


def write_report(report: Report, folder: Path) -> Path:
    """Write ``report.html``, whose path comes back, and the files of the leaderboard, each whole or not at all."""
    page = folder / "report.html"
    write_leaderboard(report.board, folder)
    write_text(page, draw_page(report))
    return page


def draw_page(report: Report) -> str:
    """Draw a report as HTML without any reference to another file."""
    drawn = [draw(report) for draw in _SECTIONS]
    links = [tag("li", tag("a", one.title.partition(",")[0], href=f"#{one.ident}")) for one in drawn]
    models = listed(report.labels)
    return standalone(
        "page.html",
        ["page.css"],
        ["page.js", "explorer.js"],
        title=join([f"{report.board.dataset}: {models}"]),
        dataset=join([report.board.dataset]),
        models=join([models]),
        links=join(links),
        sections=join(Markup(one.html + "\n") for one in drawn),
    )


def standalone(template: str, styles: Sequence[str], scripts: Sequence[str], **parts: str) -> str:
    """Fill a page of ``assets/`` with its styles and scripts, and with parts that are HTML.

    Its content security policy forbids every request, and every script and style but the two in it: a title
    could not run even if it came in as markup.
    """
    style, script = ("".join(map(_asset, names)) for names in (styles, scripts))
    return Template(_asset(template)).substitute(
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        version=recbole_unisid.__version__,
        **parts,
    )


def _asset(name: str) -> str:
    return files("recbole_unisid.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The name by which a content security policy knows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
