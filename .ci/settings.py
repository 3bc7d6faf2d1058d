"""Write the comments of properties/ and docs/settings.md from the descriptions in properties/settings.yaml.

python .ci/settings.py           write them
python .ci/settings.py --check   status 1 where a file is not what the descriptions say
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from recbole_unisid.config.settings import settings, words_of
from recbole_unisid.recbole_adapter.keys import defaults_of, keys_read, recbole_keys
from recbole_unisid.recbole_adapter.registry import OWN_MODELS, PUBLISHED_MODELS, known_models, resolve

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
WIDTH, COLUMN = 118, 32
TYPES = {"a whole number": "int", "a number": "float", "true or false": "bool", "a mapping": "dict"}
READERS = {
    "all": "every model",
    "ours": "our models",
    "recbole": "RecBole's models",
    "sequential": "sequential models",
}
INTRO = """\
# Settings

This page is written by `python .ci/settings.py`, from `properties/settings.yaml`. Every setting is a `--key=value`, a
line of a file (`--config_files`) or a key of `config_dict`. `recbole-unisid run --help --model=TIGER` lists those of
one model with their defaults.

A setting is honoured or refused. An unknown one is an error with the nearest name. One that none of the models named
reads is an error with what they read in its stead; in a comparison it is enough that one model reads it.

Rules (`NearestText`, `Transitions`, `TransitionText`) have nothing to train: of the group Training they read
`MAX_ITEM_LIST_LENGTH`, `eval_batch_size`, `eval_scores` and `reproducibility` alone.
"""


def short_type(kind: Any) -> str:
    """``int``, ``list of str`` and so on, from the words of a kind."""
    words = words_of(kind)
    if words.startswith("a list, each of it "):
        return f"list of {'int' if 'a whole' in words else 'str'}"
    starts = re.split(" or (?=a )", words)[:2] if words.startswith("a whole") else [words]
    return " or ".join(
        next((name for start, name in TYPES.items() if part.startswith(start)), "str") for part in starts
    )


def comment(key: str) -> str:
    """What stands behind a default."""
    setting = settings()[key]
    return f"({short_type(setting.kind)}) {setting.words}"


def with_comments(text: str) -> str:
    """A file of defaults with the comments of its top-level keys made anew."""
    lines, made = text.split("\n"), list[str]()
    while lines:
        line = lines.pop(0)
        found = re.match(r"(\w+): *(.*?) *(?:#.*)?$", line)
        if not found or found[1] not in settings():
            made.append(line)
            continue
        given = f"{found[1]}: {found[2]}".rstrip()
        while lines and re.match(r"\s+#", lines[0]):
            lines.pop(0)
        if len(given) > WIDTH - 40:  # a long value: the comment stands above it
            while made and re.match(r"# \(|#   \S", made[-1]):
                made.pop()
            made += textwrap.wrap(comment(found[1]), WIDTH, initial_indent="# ", subsequent_indent="#   ")
            made.append(line)
            continue
        start = given.ljust(COLUMN - 1) + " "
        later = " " * COLUMN
        made += textwrap.wrap(
            f"{start}# {comment(found[1])}",
            WIDTH,
            subsequent_indent=f"{later}#   ",
            drop_whitespace=True,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(made)


def default_of(key: str) -> str:
    """The default of a setting, or each of ours' where they differ."""
    found: dict[str, list[str]] = {}
    for model in OWN_MODELS | PUBLISHED_MODELS:
        if key in own_defaults(model):
            found.setdefault(str(own_defaults(model)[key]), []).append(model)
    if not found:
        given = own_defaults("SASRec") | own_defaults("BPR")
        return f"`{given[key]!r}`" if key in given and settings()[key].by != "listed" else ""
    if len(found) == 1:
        return f"`{next(iter(found))}`"
    cells = []
    for value, models in found.items():
        several = re.fullmatch(r"\[(\d+)(?:, \1)+\]", value)
        shown = f"{value.count(',') + 1} x {several[1]}" if several else value
        cells.append(f"{', '.join(models)}: `{shown}`")
    return "; ".join(cells)


@cache
def own_defaults(model: str) -> dict[str, Any]:
    """Defaults of what a model reads."""
    return defaults_of(resolve(model))


@cache
def read_by(model: str) -> frozenset[str]:
    """What a model reads."""
    return keys_read(resolve(model))


def readers(key: str) -> str:
    """Who reads a setting."""
    models = [name for name in known_models() if key in read_by(name)]
    by = settings()[key].by if key in settings() else "listed"
    words = {
        "all": "every model",
        "ours": "our models",
        "recbole": "RecBole's models",
        "sequential": "sequential models",
    }
    return words.get(by) or ", ".join(models)


def page() -> Iterator[str]:
    """The lines of docs/settings.md."""
    yield INTRO
    groups: dict[str, list[str]] = {}
    for key, setting in settings().items():
        groups.setdefault(setting.group, []).append(key)
    for group, keys in groups.items():
        yield f"## {group}\n"
        if group == "Refused":
            yield "Settings of RecBole that no model here reads, and why.\n\n| Setting | Why |\n|---|---|"
            yield from (f"| `{key}` | {settings()[key].words} |" for key in keys)
        else:
            yield "| Setting | Values | Default | Read by | What |\n|---|---|---|---|---|"
            for key in keys:
                cells = (words_of(settings()[key].kind), default_of(key), readers(key), settings()[key].words)
                yield f"| `{key}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""
    yield "## Further settings of RecBole's models\n"
    yield "Their defaults and meaning stand in RecBole's own files; a number must stay a number.\n"
    yield "| Setting | Read by |\n|---|---|"
    others = sorted(recbole_keys() - settings().keys())
    yield from (f"| `{key}` | {readers(key)} |" for key in others if readers(key))
    yield "\nRefused, since they belong to models that do not run here:\n"
    idle = ", ".join(f"`{key}`" for key in others if not readers(key))
    yield textwrap.fill(idle, WIDTH, break_on_hyphens=False)


def main() -> int:
    """Write or check the files."""
    made = {PAGE: "\n".join(page()) + "\n"}
    for path in (
        ROOT / "properties" / "overall.yaml",
        *sorted((ROOT / "properties" / "model").glob("*.yaml")),
    ):
        made[path] = with_comments(path.read_text(encoding="utf-8"))
    stale = [
        path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if "--check" in sys.argv[1:]:
            print(
                f"{path.relative_to(ROOT)} is not what properties/settings.yaml says: run python .ci/settings.py"
            )
        else:
            path.write_text(made[path], encoding="utf-8")
    return int("--check" in sys.argv[1:] and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
