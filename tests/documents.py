"""README and docs/ as tests read them: pages, code blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

#: Commands that are ours; others in a page (pip, pytest) are not looked at.
_OURS = re.compile(r"^(recbole-unisid |python run_recbole_unisid\.py|torchrun .*run_recbole_unisid\.py)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def name(self) -> str:
        """For pytest: where it stands."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """A page's fenced blocks, in their order."""
    found, opened = [], None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        head = re.fullmatch(r'```(\w*)(?: title="([^"]+)")?', lines[opened - 1])
        assert head, f"{page.name}:{opened}: {lines[opened - 1]}"
        text = "\n".join(lines[opened : number - 1]) + "\n"
        found.append(Block(page.relative_to(ROOT).as_posix(), opened, head[1], head[2] or "", text))
        opened = None
    assert opened is None, f"{page.name}:{opened} is not closed"
    return found


def commands(page: Path) -> list[list[str]]:
    """Every command of ours on a page, in blocks and in running text, as a shell splits it."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line for block in blocks(page) if block.language in {"", "sh"} for line in block.text.splitlines()
    ]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines += re.findall(r"`([^`\n]+)`", prose)
    found = []
    for line in (part.strip() for joined in lines for part in joined.split("&&")):
        if _OURS.match(line):
            words = shlex.split(line.removesuffix(" &"))
            start = next(k for k, word in enumerate(words) if "recbole" in word)
            found.append([] if words[start] == "recbole-unisid" else ["run"])
            found[-1] += words[start + 1 :]
    return found
