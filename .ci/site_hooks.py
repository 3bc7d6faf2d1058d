"""What the site needs beyond docs/: the results, CONTRIBUTING and CHANGELOG stand elsewhere in the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]


def outside_pages() -> list[str]:
    """Pages of the site that are not under docs/, by their path in the checkout."""
    return [
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "results").rglob("*.md")),
    ]


def on_config(config: Any) -> Any:
    """Leave pages out of the navigation that are not there (yet): a model's page comes with its model."""
    there = set(outside_pages()) | {path.name for path in (ROOT / "docs").glob("*.md")}
    config["nav"] = _present(config["nav"], there)
    return config


def _present(entries: list[Any], there: set[str]) -> list[Any]:
    kept: list[Any] = []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            target = _present(target, there)
        if target and (isinstance(target, list) or target in there):
            kept.append({title: target})
    return kept


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere; those of results/ are reached by links alone."""
    for name in sorted(outside_pages()):
        page = File.generated(config, name, abs_src_path=str(ROOT / name))
        files.append(page)
    config["not_in_nav"] = None
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links out of docs/, which are right in the checkout, into links within the site."""
    if "/" not in page.file.src_uri:
        markdown = re.sub(r"\]\(\.\./", "](", markdown)
    else:
        markdown = re.sub(r"\]\(\.\./docs/", "](../", markdown)
    return re.sub(r"\]\(docs/", "](", markdown)
