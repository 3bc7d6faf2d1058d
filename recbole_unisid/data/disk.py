"""Folders and files of a data set; trouble with the disk is said in one line."""

from __future__ import annotations

import errno
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_unisid.errors import UserError

#: The data set that RecBole carries in its own package.
IN_RECBOLE = "ml-100k"

_ADVICE = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some of your quota and run again",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder you may write to with data_path"
    ),
}


@contextmanager
def writing_to(place: str | Path, way_out: str | None = None) -> Iterator[None]:
    """Turn an `OSError` of the block into a :class:`UserError` that names `place` and the way out."""
    try:
        yield
    except OSError as error:
        advice = way_out or _ADVICE.get(error.errno or 0, "check the disk and run again")
        raise UserError(f"Cannot write to {place}: {error.strerror or error}; {advice}.") from error


def dataset_folder(name: str, data_path: str | Path) -> Path:
    """The folder of a data set; a name that could lead out of `data_path` is a ``UserError``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"{name!r} cannot be the name of a data set: use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit."
        )
    return Path(data_path) / name


def folder_in_recbole() -> Path:
    """Where RecBole's package keeps :data:`IN_RECBOLE`; the package is found, not imported."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise UserError(f"{IN_RECBOLE} comes with RecBole, which is not installed: pip install recbole.")
    return Path(spec.origin).parent / "dataset_example" / IN_RECBOLE


def folder_to_read(name: str, data_path: str | Path) -> Path:
    """Where the atomic files are: :data:`IN_RECBOLE` is RecBole's own unless the user has one."""
    own = Path(data_path) / name
    carried = name == IN_RECBOLE and not (own / f"{name}.inter").is_file()
    return folder_in_recbole() if carried else own
