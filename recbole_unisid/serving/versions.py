"""Versions of a model in one folder: exports side by side, one of which is current, and a way back."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from recbole_unisid.data.disk import writing_to
from recbole_unisid.errors import UserError
from recbole_unisid.files import scratch_folder, write_json
from recbole_unisid.serving.recommender import MANIFEST, Recommender, RecommenderError

#: Names the current version and those before it; the one file that a promotion changes, by a rename.
POINTER = "current.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Pointer(NamedTuple):
    """Which version is current, and which were before it, the latest last."""

    current: str
    earlier: list[str]


class Versions:
    """A folder of versions. Readers see one version or another, whole, whatever happens to a writer."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """Names of all versions, numbers first and in their order."""
        found = [path.parent.name for path in self.folder.glob(f"*/{MANIFEST}")]
        found = [name for name in found if _NAME.fullmatch(name)]
        return sorted(
            found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
        )

    def pointer(self) -> Pointer | None:
        """What is current; None before the first promotion. UserError: the file is none that a promotion writes."""
        path = self.folder / POINTER
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            names = [found["current"], *found["earlier"]]
            if not isinstance(found["earlier"], list) or not all(
                isinstance(name, str) and _NAME.fullmatch(name) for name in names
            ):
                raise ValueError("names of other files")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}); promote a version again.") from None
        return Pointer(found["current"], found["earlier"])

    def current(self) -> str:
        """The current version's name; a UserError where there is none."""
        pointer = self.pointer()
        if pointer is None:
            known = ", ".join(self.names())
            mend = f"promote one of {known}" if known else "add one with recbole-unisid versions add"
            raise UserError(f"{self.folder} has no current version: {mend}.")
        return pointer.current

    def add(self, make: Callable[[Path], Any], name: str | None = None) -> str:
        """Have an export made in a folder of its own, under a new name: by default the next number."""
        with self._at_work():
            known = self.names()
            number = max((int(one) for one in known if one.isdecimal()), default=0) + 1
            name = str(number) if name is None else name
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"--name={name}: letters, digits, points, hyphens and underscores make a name."
                )
            if name.lower() == POINTER:
                raise UserError(
                    f"--name={name} is the file that says which version is current; give another."
                )
            if (self.folder / name).exists():
                raise UserError(
                    f"{self.folder / name} is there already: versions do not change; give another --name."
                )
            make(self.folder / name)
        return name

    def promote(self, name: str | None = None) -> Pointer:
        """Make a version current, by default the last of :meth:`names`, once it has been seen to recommend."""
        with self._at_work():
            names, before = self.names(), None
            with suppress(UserError):  # a promotion mends a file that cannot be read
                before = self.pointer()
            name = names[-1] if name is None and names else name
            if name not in names:
                raise UserError(f"{self.folder} has no version {name}; it has: {', '.join(names) or 'none'}.")
            if before is not None and before.current == name:
                return before
            earlier = [] if before is None else [*before.earlier, before.current]
            return self._point(Pointer(str(name), earlier))

    def roll_back(self) -> Pointer:
        """Make the version current that was so before the current one."""
        with self._at_work():
            before = self.pointer()
            if before is None or not before.earlier:
                raise UserError(
                    f"{self.folder} has no version before the current one; promote one by its name."
                )
            *earlier, name = before.earlier
            if name not in (known := self.names()):
                raise UserError(
                    f"{self.folder} has no version {name} any more, which was current before; promote one of "
                    f"{', '.join(known) or 'others'} with --name."
                )
            return self._point(Pointer(name, earlier))

    def _point(self, pointer: Pointer) -> Pointer:
        try:
            Recommender(self.folder / pointer.current)
        except RecommenderError as error:
            raise UserError(f"Version {pointer.current} is not made current: {error}") from None
        write_json(self.folder / POINTER, pointer._asdict())
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename, too, outlives the machine
        finally:
            os.close(folder)
        return pointer

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Be the only command that changes the folder."""
        with writing_to(self.folder, "name another folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield


def copy_of(export: Path) -> Callable[[Path], None]:
    """What :meth:`Versions.add` makes of an export that lies elsewhere."""

    def make(final: Path) -> None:
        try:
            Recommender(export)
        except RecommenderError as error:
            raise UserError(str(error)) from None
        with scratch_folder(final) as scratch:
            shutil.copytree(export, scratch / final.name, ignore=shutil.ignore_patterns("__pycache__"))
            (scratch / final.name).rename(final)

    return make
