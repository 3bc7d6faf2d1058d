"""The fixture ``tiny`` with a table of items."""

from __future__ import annotations

from pathlib import Path


def with_items(tiny: Path, root: Path) -> Path:
    """A data path with the same interactions and a table of items of a word and a number each."""
    (root / "tiny").mkdir()
    (root / "tiny" / "tiny.inter").write_text((tiny / "tiny" / "tiny.inter").read_text())
    table = "".join(f"i{k}\tkind{k % 3}\t{k}.5\n" for k in range(30))
    (root / "tiny" / "tiny.item").write_text("item_id:token\tkind:token\tprice:float\n" + table)
    return root
