"""What was read, what was left out and why, and what a prepared data set holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.data.interactions import Interactions

#: Whole numbers above this are not exact as float64, the type of times in RecBole's files.
_EXACT_WHOLE_NUMBERS = 2.0**53


@dataclass(frozen=True)
class Summary:
    """The account of one preparation."""

    name: str
    folder: Path  # where the data set is, or would be after a dry run
    dry_run: bool
    read: Mapping[str, int]  # lines and records of the originals
    skipped: Mapping[str, int]  # records that could not be used, by reason
    dropped: Mapping[str, int]  # usable interactions that a policy left out, by policy
    users: int
    items: int
    interactions: int
    tied: float  # share of adjacent interactions of a user that have the same time; 0 without times
    timed: bool
    coverage: Mapping[str, float]  # share of the items with a non-empty value, by field of the .item file
    notes: tuple[str, ...] = ()  # to know before using it

    @classmethod
    def of(
        cls,
        folder: Path,
        log: Interactions,
        notes: Sequence[str] = (),
        dry_run: bool = False,
        **tallies: Mapping[str, Any],
    ) -> Summary:
        """The account of finished interactions; the tallies are read, skipped, dropped and coverage."""
        users, items, interactions = log.counts
        account: dict[str, Any] = {kind: dict(tally) for kind, tally in tallies.items()}
        return cls(
            name=folder.name,
            folder=folder,
            dry_run=dry_run,
            users=users,
            items=items,
            interactions=interactions,
            tied=log.tied_share,
            timed=log.timed,
            notes=(*notes, *_notes_on(log)),
            **account,
        )

    def as_table(self) -> str:
        """The account as lines for a screen."""
        rows: list[tuple[str, str]] = [("data set", f"{self.name} in {self.folder}")]
        if self.dry_run:
            rows.append(("dry run", "nothing was written"))
        tallies = {"read": self.read, "skipped": self.skipped, "dropped": self.dropped}
        rows += [
            (f"{kind}: {what}", f"{number:,}") for kind in tallies for what, number in tallies[kind].items()
        ]
        rows += [
            ("users", f"{self.users:,}"),
            ("items", f"{self.items:,}"),
            ("interactions", f"{self.interactions:,}"),
            ("same time as the one before", f"{self.tied:.1%}" if self.timed else "order only, no times"),
        ]
        rows += [(f"items with {name}", f"{share:.1%}") for name, share in self.coverage.items()]
        return aligned([*rows, *(("note", note) for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """The account as JSON-like values."""
        return {**asdict(self), "folder": str(self.folder), "notes": list(self.notes)}


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Labels and values in two columns."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def _notes_on(log: Interactions) -> Iterator[str]:
    """Things about the times and lengths that a person should know before a run."""
    lengths = np.bincount(log.users)
    short = int(((lengths > 0) & (lengths < 3)).sum())
    if short:
        yield f"{short:,} users have fewer than 3 interactions: they are trained on, never tested"
    if not log.timed:
        yield "no times: timestamp is the position, so tie shuffling and time splits do not apply"
        return
    if float(np.abs(log.times).max()) > _EXACT_WHOLE_NUMBERS:
        yield "times beyond 2**53 are rounded: give seconds or milliseconds to keep them exact"
    if bool((log.times % 86_400 == 0).all()):
        yield "times are whole days: the order within a day is the source's, often by item name"
