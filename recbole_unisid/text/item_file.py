"""RecBole's atomic ``.item`` file, read as it stands: no quoting, no missing-value magic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.atomic_text import parse_header
from recbole_unisid.errors import UserError, did_you_mean


@dataclass(frozen=True)
class ItemTable:
    """The items of a dataset and their columns, all as text."""

    ids: list[str]  # item tokens in the file's order, each once
    columns: dict[str, list[str]]  # all others by name, aligned with `ids`; '' where the file has nothing
    types: dict[str, str]  # RecBole's type of each of these: token, token_seq, float or float_seq


def read_item_file(
    path: Path, separator: str = "\t", encoding: str = "utf-8", id_field: str = "item_id"
) -> ItemTable:
    r"""Read an ``.item`` file whose first line names the columns as ``name:type``.

    RecBole itself reads with pandas, to which a ``"`` at the start of a field opens a quotation that may
    swallow lines, and to which ``NA``, ``null`` and ``None`` are missing. Here they are ordinary text. Lines
    end at ``\n`` or ``\r\n`` only: ``str.splitlines`` would also cut at U+2028, U+0085 and others, which real
    titles hold. Empty lines are skipped.

    A missing, empty or wrongly encoded file, a bad header, a line with the wrong number of columns, an item twice and a
    file without items are each a ``UserError``.
    """
    path = Path(path)
    lines = _lines(path, encoding)
    types = parse_header(lines[0], separator, path)
    names = list(types)
    if id_field not in names:
        hint = did_you_mean(id_field, names) or " Name it with ITEM_ID_FIELD."
        raise UserError(f"{path}: no column {id_field!r}; it has {', '.join(names)}.{hint}")
    rows: dict[str, tuple[int, list[str]]] = {}  # by item: the number of the line, its cells
    id_column = names.index(id_field)
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        cells = line.split(separator)
        if len(cells) != len(names):
            raise UserError(
                f"{path}, line {number}: {len(cells)} columns where the header names {len(names)}; "
                "a text must not hold the separator or a line break."
            )
        item = cells[id_column]
        if item in rows:
            raise UserError(
                f"{path}: item {item!r} stands twice (lines {rows[item][0]} and {number}); keep one."
            )
        rows[item] = number, cells
    if not rows:
        raise UserError(f"{path} has a header but no item; add one line an item.")
    by_column = zip(*(cells for _, cells in rows.values()), strict=True)
    columns = dict(zip(names, map(list, by_column), strict=True))
    types.pop(id_field)
    return ItemTable(columns.pop(id_field), columns, types)


def _lines(path: Path, encoding: str) -> list[str]:
    """The file's lines without their ends; a byte order mark is dropped."""
    try:
        text = path.read_bytes().decode(encoding)
    except FileNotFoundError:
        raise UserError(f"No item file at {path}; it is needed for the items' texts.") from None
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(
            f"{path} is not {encoding} text ({error}); set `encoding`, or write it as UTF-8."
        ) from None
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise UserError(f"{path} is empty; its first line must name the columns as name:type.")
    return [line.removesuffix("\r") for line in text.split("\n")]
