"""What a class of the user's own says, as it was when it was imported: for the hashes of runs and caches."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache, partial, partialmethod
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

#: Files of classes and their text when it was first asked for: Python goes on with that, whatever is edited.
_read: dict[type[Any], tuple[Path, str]] = {}
_Cached = type(lru_cache(len))
#: Members of a class that say nothing of what it does.
_BOOKKEEPING = frozenset(
    """
    __module__ __qualname__ __doc__ __dict__ __weakref__ __annotations__ __firstlineno__ __static_attributes__
    __abstractmethods__ _abc_impl
    """.split()  # noqa: SIM905
)


def source_of(kind: type[Any]) -> Any:
    """The text of the file that a class stands in, read once a process, so ask soon after the import.

    Of a class without a file (a notebook's) the bytecode and the constants of it and of what it names beside it,
    JSON-like, for :func:`~recbole_unisid.files.fingerprint`.
    """
    if kind not in _read:
        try:
            file = Path(inspect.getfile(kind))
            text = file.read_text(encoding="utf-8", errors="replace")
        except (TypeError, OSError):  # typed into a console or a notebook
            text = ""
        # A class may be typed beside a script that runs, too.
        if not text or (kind.__module__ == "__main__" and not re.search(rf"\bclass {kind.__name__}\b", text)):
            return _said(kind, kind.__module__, set())
        _read[kind] = file, text
    return _read[kind][1]


def is_edited(kind: type[Any]) -> bool:
    """Whether the file of a class is another one by now than the code that Python has of it."""
    if kind not in _read:
        return False
    file, text = _read[kind]
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace") != text


def _said(value: Any, home: str, seen: set[int]) -> Any:
    """What a value says, JSON-like and the same in every process; classes and functions of module `home` in full."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = [value.fget, value.fset, value.fdel]
    if isinstance(value, (partial, partialmethod)):
        value = [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        value = [value.__func__, value.__self__]
    if isinstance(value, cached_property):
        value = value.func
    value = inspect.unwrap(value) if isinstance(value, _Cached) else value
    if isinstance(value, (type, FunctionType)):
        if value.__module__ != home or id(value) in seen:
            return f"{value.__module__}.{value.__qualname__}"
        seen.add(id(value))
        return [[key, _said(part, home, seen)] for key, part in sorted(_parts(value).items())]
    if isinstance(value, CodeType):
        names = [value.co_names, value.co_varnames, value.co_freevars]
        return [value.co_code.hex(), _said([*names, value.co_consts], home, seen)]
    if isinstance(value, Mapping):
        return [[str(key), _said(part, home, seen)] for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [_said(part, home, seen) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(part) for part in value)  # their order changes from process to process
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    return _said(type(value), home, seen)  # what is printed of it may be its address


def _parts(value: type[Any] | FunctionType) -> dict[str, Any]:
    """A class's members; a function's code, default arguments, and what the code names of its module or around it."""
    if isinstance(value, type):
        own = {key: part for key, part in vars(value).items() if key not in _BOOKKEEPING}
        return own | {"(bases)": value.__bases__}
    code, module = value.__code__, value.__globals__
    named = {name: module[name] for name in _names(code) & module.keys()}
    cells = [cell for cell in value.__closure__ or () if cell != type(cell)()]  # one may be empty still
    held = [cell.cell_contents for cell in cells]
    return named | {"(code)": code, "(defaults)": [value.__defaults__, value.__kwdefaults__], "(held)": held}


def _names(code: CodeType) -> set[str]:
    """Names that code looks up, in the functions within it, too."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
