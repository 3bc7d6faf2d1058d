"""Classes of the user's own, named ``module:Class``.

Importing a module runs it. So a class is imported only for who asks for it by name: on the command line, in a call
from Python, or by :func:`use`. A config file, a tokenizer or a run folder that names a class never imports it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.files import fingerprint
from recbole_unisid.plugins.source_code import is_edited, source_of

#: Set in the environment, it keeps the traceback of an error in a module of one's own.
TRACEBACK = "RECBOLE_UNISID_TRACEBACK"
#: Keys of the run itself, read before there is a Config.
RUN_KEYS = frozenset({"model", "dataset", "seeds", "tune", "config_files", "verbose"})
#: Settings that may name a class of a model's part, and all that may name a class.
PART_SETTINGS = ("semantics", "backbone", "loss", "score_terms")
CLASS_SETTINGS = ("tokenizer", "text_encoder", *PART_SETTINGS)

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
#: Packages whose version a run knows; the source of all other classes belongs to its hash.
_KNOWN_PACKAGES = frozenset({"recbole_unisid", "recbole", "torch", "builtins", "abc", "typing"})
#: What was asked for in this process, reference -> class.
_in_use: dict[str, type[Any]] = {}


def is_reference(name: str) -> bool:
    """Whether a name means a class of the user's own."""
    return _REFERENCE.fullmatch(name) is not None


def use(extension: str | type[Any]) -> str:
    """Allow a class of one's own, or the class ``module:Class``, to be used in this process; gives ``module:Class``.

    Its module is imported where needed, found as ``import`` finds it and in the current folder last.
    """
    if isinstance(extension, type):
        reference, found = f"{extension.__module__}:{extension.__name__}", extension
    elif isinstance(extension, str) and is_reference(extension):
        reference, found = extension, _class_of(extension)
    else:
        raise UserError(
            f"{extension!r} names no class; write module:Class, such as my_module:MyModel.{own_class(extension)}"
        )
    code_fingerprint(found)  # read now: what is edited later is not what runs
    for base in filter(is_edited, found.__mro__):
        raise UserError(
            f"The file of '{base.__module__}:{base.__name__}' was edited since Python imported it: start Python "
            f"anew, or importlib.reload({base.__module__}) and name the class again."
        )
    _in_use[reference] = found
    return reference


def use_named(model: str, settings: Mapping[str, Any]) -> None:
    """Use the classes that a person names as `model` or in `settings`; other names are left alone."""
    terms = settings.get("score_terms") or []
    several = terms.strip("[]").split(",") if isinstance(terms, str) else terms
    for name in (model, *(settings.get(key) for key in CLASS_SETTINGS), *several):
        if isinstance(name, str) and is_reference(name):
            use(name)


def find(reference: str, kind: str) -> type[Any]:
    """The class ``module:Class`` (`kind`: model, tokenizer or text_encoder) that somebody in this process asked for."""
    if reference not in _in_use:
        raise UserError(
            f"The {kind} '{reference}' is code of somebody's own, which no file may import: if you trust it, add "
            f"--use={reference}, or call recbole_unisid.use('{reference}')."
        )
    return _in_use[reference]


def named_class(setting: str, name: str, known: Mapping[str, str]) -> type[Any]:
    """The class that a setting names: one of `known` (name -> ``module:Class``), or one of the user's own in use."""
    if is_reference(name):
        return find(name, setting)
    if name not in known:
        near = own_class(name) or did_you_mean(str(name), known)
        raise UserError(
            f"{setting}={name!r} is none of {', '.join(known)}, nor module:Class of your own.{near}"
        )
    found: type[Any] = pkgutil.resolve_name(known[name])
    return found


def short_name(name: str) -> str:
    """A name fit for a folder: of ``module:Class`` the class."""
    return name.rpartition(":")[2]


def class_of_file(name: str) -> str:
    """Suggest ``NAME:Class`` where a name is that of a module in the current folder; else an empty string."""
    there = name.isidentifier() and Path(f"{name}.py").is_file()
    return f" {name}.py is a module: name its class, {name}:Class." if there else ""


def own_class(name: Any) -> str:
    """Suggest ``module:Class`` for the bare name of a class in use or of the current folder; else an empty string."""
    if not isinstance(name, str) or not name.replace(".", "").isidentifier():
        return ""
    module, _, last = name.rpartition(".")
    known = [reference for reference in _in_use if short_name(reference) == name]
    for file in sorted(Path().glob(f"{module.replace('.', '/') or '*'}.py")):
        if re.search(rf"^class {last}\b", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
            known.append(f"{module or file.stem}:{last}")
    return f" Did you mean {known[0]}?" if known else class_of_file(name)


def failed_in(error: BaseException) -> str | None:
    """One line for an error of a class in use, with the place in its file or the method that was called.

    None for any other error, and where :data:`TRACEBACK` asks for the whole.
    """
    if os.environ.get(TRACEBACK):
        return None
    files = {}
    for reference, extension in _in_use.items():
        with contextlib.suppress(TypeError, OSError):  # typed into a console
            files[inspect.getfile(extension)] = reference
    said = one_line(error)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            place = f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
            return f"{said} ({place}; of {files[frame.filename]}). {TRACEBACK}=1 shows the way there."
    # A call that a method does not take stands in the caller's file; Python's words name the class.
    for reference, extension in _in_use.items():
        called = re.search(rf"\b{extension.__name__}\b(\.(\w+)\(\))?", str(error))
        if called and isinstance(error, (TypeError, AttributeError)):
            method = getattr(getattr(extension, called[2] or "", None), "__code__", None)
            line = f", line {method.co_firstlineno}" if method else ""
            return f"{said} (of {reference}{line}). {TRACEBACK}=1 shows the way there."
    return None


def one_line(error: BaseException) -> str:
    """The kind and the words of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def code_fingerprint(extension: type[Any]) -> str:
    """Hash the source of a class and of its own ancestors; what else a module imports is not part of it."""
    return fingerprint(sources_of(extension))


def sources_of(extension: type[Any]) -> list[tuple[str, Any]]:
    """What a class and those it is derived from say (:func:`source_of`), by name, but for the packages underneath."""
    own = [base for base in extension.__mro__ if base.__module__.partition(".")[0] not in _KNOWN_PACKAGES]
    return [(f"{base.__module__}:{base.__name__}", source_of(base)) for base in own]


def code_of(names: Iterable[Any]) -> dict[str, str]:
    """The hashes of those names that are classes in use, reference -> hash; for hashes of runs."""
    found = {name for name in names if isinstance(name, str)} & _in_use.keys()
    return {name: code_fingerprint(_in_use[name]) for name in sorted(found)}


def class_defaults(extension: type[Any]) -> dict[str, Any]:
    """Settings that a class brings along, ``defaults = {...}``, those of its ancestors underneath."""
    defaults: dict[str, Any] = {}
    for base in reversed(extension.__mro__):
        own = vars(base).get("defaults", {})
        if not isinstance(own, dict):
            raise UserError(
                f"'{base.__module__}:{base.__name__}': defaults must be a dict of settings, not a {type(own).__name__}."
            )
        defaults |= own
    return defaults


def keys_in_use() -> frozenset[str]:
    """Settings that any class in use brings along; models that are compared share one command line."""
    return frozenset(key for extension in _in_use.values() for key in class_defaults(extension))


def check_class_defaults(
    defaults: Mapping[str, object], model: str, known: Collection[str], read: Callable[[], Collection[str]]
) -> None:
    """Refuse a key that no class can set, one so like a `known` one that it is misspelt, and values no file can hold.

    `read` finds, slowly, what RecBole's code reads beside these. Other new keys are the class's own.
    """
    for key, value in defaults.items():
        if not isinstance(key, str) or key in RUN_KEYS | {"recipe"}:
            raise UserError(
                f"'{model}': defaults has {key!r}, which is no setting that a class can bring along."
            )
        if not _is_plain(value):
            raise UserError(
                f"'{model}': defaults has {key}={value!r}; a setting is a number, text, true, false, None, or a list "
                "or mapping of such."
            )
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
        if near and key not in known and key not in read():
            raise UserError(
                f"'{model}': defaults has '{key}', which nothing reads. Did you mean {near[0]}? A setting of its own "
                "needs a name less like that one."
            )


def _class_of(reference: str) -> type[Any]:
    """Import a class; a notebook may have defined one in use anew since it was named, or reloaded its module."""
    module_name, _, class_name = reference.partition(":")
    if known := _in_use.get(reference):
        now = getattr(sys.modules.get(module_name), class_name, None)
        return now if isinstance(now, type) and now.__qualname__ == known.__qualname__ else known
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file of the folder shadows no installed module
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a module of somebody's own may raise
        if isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name)):
            mend = " Leave out .py." if module_name.endswith(".py") else ""
            raise UserError(
                f"There is no module '{module_name}' for '{reference}', neither installed nor in {os.getcwd()}.{mend}"
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, SyntaxError) else f" ({Path(last.filename).name}, line {last.lineno})"
        raise UserError(f"'{module_name}' cannot be imported: {one_line(error)}{place}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        near = did_you_mean(
            class_name, [key for key, value in vars(module).items() if isinstance(value, type)]
        )
        raise UserError(f"Module '{module_name}' has no class '{class_name}'.{near}")
    return found


def _is_plain(value: object) -> bool:
    """Whether a value comes back from a YAML file as it was."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
