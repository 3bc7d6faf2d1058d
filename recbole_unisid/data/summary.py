"""What was read, what was left out and why, and what a prepared data set holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """The account of one preparation.

    Attributes
    ----------
    name : str
        Name of the data set.
    folder : Path
        Where it is, or would be after a dry run.
    dry_run : bool
        True when nothing was written.
    read, skipped, dropped : mapping of str to int
        Lines and records read from the originals; records that could not be used, by reason; usable
        interactions that a policy left out, by policy.
    users, items, interactions : int
        What the data set holds.
    tied : float
        Share of adjacent interactions of a user that have the same time (NaN-free; 0 without times).
    timed : bool
        Whether there are times, or an order alone.
    coverage : mapping of str to float
        Share of the items with a non-empty value, by field of the ``.item`` file.
    notes : tuple of str
        Things to know before using it.
    """

    name: str
    folder: Path
    dry_run: bool
    read: Mapping[str, int]
    skipped: Mapping[str, int]
    dropped: Mapping[str, int]
    users: int
    items: int
    interactions: int
    tied: float
    timed: bool
    coverage: Mapping[str, float]
    notes: tuple[str, ...] = field(default=())

    def as_table(self) -> str:
        """The account as lines for a screen."""
        rows: list[tuple[str, str]] = [("data set", f"{self.name} in {self.folder}")]
        if self.dry_run:
            rows.append(("dry run", "nothing was written"))
        rows += [(f"read: {what}", f"{number:,}") for what, number in self.read.items()]
        rows += [(f"skipped: {why}", f"{number:,}") for why, number in self.skipped.items()]
        rows += [(f"dropped: {why}", f"{number:,}") for why, number in self.dropped.items()]
        rows += [
            ("users", f"{self.users:,}"),
            ("items", f"{self.items:,}"),
            ("interactions", f"{self.interactions:,}"),
            ("same time as the one before", f"{self.tied:.1%}" if self.timed else "order only, no times"),
        ]
        rows += [(f"items with {name}", f"{share:.1%}") for name, share in self.coverage.items()]
        rows += [("note", note) for note in self.notes]
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)

    def as_json(self) -> dict[str, Any]:
        """The account as JSON-like values."""
        return {
            **asdict(self),
            "folder": str(self.folder),
            **{key: dict(getattr(self, key)) for key in ("read", "skipped", "dropped", "coverage")},
            "notes": list(self.notes),
        }
