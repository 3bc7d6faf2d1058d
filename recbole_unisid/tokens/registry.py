"""Tokenizers by name, as a config or a saved file asks for them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recbole_unisid.array_file import DamagedFileError, load_arrays
from recbole_unisid.config.settings import kind_like, misfit
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import class_of_file, find, is_reference
from recbole_unisid.plugins.tokenizers import check_made
from recbole_unisid.tokens.controls import HyperplaneHashing, RandomCodes
from recbole_unisid.tokens.opq import OptimisedProductQuantiser
from recbole_unisid.tokens.published import PublishedCodes
from recbole_unisid.tokens.residual_kmeans import ResidualKMeans
from recbole_unisid.tokens.rqvae import Rqvae
from recbole_unisid.tokens.tokenizer import TOKENIZER_FILE, Tokenizer

#: Settings of every tokenizer; the first three its constructor takes.
COMMON = ("codebook_sizes", "distances", "seed", "collisions")
_OTHERS = ("name", "vectors", "item_ids", "tokenizer", "cache_dir", "titles", "categories", "show_progress")
#: What `build_tokenizer` and `tokenize_items` take themselves: no further setting can have such a name.
RESERVED = frozenset(COMMON + _OTHERS)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_KINDS = (ResidualKMeans, Rqvae, OptimisedProductQuantiser, PublishedCodes, HyperplaneHashing, RandomCodes)
TOKENIZERS: dict[str, type[Tokenizer]] = {kind.name: kind for kind in _KINDS}


def build_tokenizer(
    name: str,
    codebook_sizes: Sequence[int] = (256, 256, 256),
    distances: Sequence[str] | None = None,
    seed: int = 2020,
    **options: Any,
) -> Tokenizer:
    """Make a tokenizer that is yet to be fitted.

    `name` is one of `TOKENIZERS`, or ``module:Class`` of the user's own, in use (:func:`recbole_unisid.use`);
    `options` are further settings of that tokenizer, the others those of :class:`Tokenizer`.

    Raises UserError: when the name or an option is unknown, or a value is out of range.
    """
    kind = _kind(name)
    parameters = _settings(kind)
    for option, value in options.items():
        if option not in parameters:
            known = ", ".join(sorted(parameters)) or "none"
            raise UserError(
                f"Tokenizer {name!r} has no setting {option!r}; it has {known}.{did_you_mean(option, parameters)}"
            )
        default = parameters[option].default
        if wrong := misfit(value, kind_like(default)):
            raise UserError(f"{option}={value} of {name} must be {wrong[0]}; the default is {default}.")
    try:
        made = kind(codebook_sizes, distances, seed, **options)
    except TypeError as error:
        if not is_reference(name):
            raise
        raise UserError(
            f"Tokenizer '{name}' cannot be made: {error}; its constructor takes codebook_sizes, distances, seed and "
            "its own settings, and hands the first three to super().__init__."
        ) from error
    if is_reference(name):
        check_made(made, parameters, options, seed)
    return made


def check_option_names(options: Iterable[Any]) -> None:
    """Refuse further settings of a tokenizer that are among :data:`RESERVED`."""
    for option in options:
        if option in RESERVED or not isinstance(option, str):
            setting = "tokenizer_seed" if option == "seed" else option
            raise UserError(
                f"tokenizer_options: {option!r} is no setting that a tokenizer has of its own"
                + (f"; give it as --{setting}." if option in COMMON else ".")
            )


def _settings(kind: type[Tokenizer]) -> dict[str, inspect.Parameter]:
    """Parameters of a tokenizer's constructor beside :data:`COMMON`; where it has ``**kwargs``, its ancestors', too."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]  # without self
        named = [parameter for parameter in own if parameter.kind not in _VARIADIC]
        found = {parameter.name: parameter for parameter in named} | found
        if all(parameter.kind != inspect.Parameter.VAR_KEYWORD for parameter in own):
            break
    return {name: parameter for name, parameter in found.items() if name not in COMMON[:3]}


def _kind(name: str) -> type[Tokenizer]:
    """The class of a tokenizer's name."""
    if is_reference(name):
        found = find(name, "tokenizer")
        if not issubclass(found, Tokenizer):
            raise UserError(f"'{name}' is no tokenizer; derive it from recbole_unisid.tokens.Tokenizer.")
        if inspect.isabstract(found):
            raise UserError(
                f"'{name}' is no whole tokenizer; define {', '.join(sorted(found.__abstractmethods__))}."
            )
        taken = sorted(RESERVED & set(_settings(found)))
        if taken:
            raise UserError(
                f"Tokenizer '{name}': a setting of its own cannot be called {taken[0]!r}; rename it."
            )
        found.name = name  # what it is called in files and reports
        return found
    if name not in TOKENIZERS:
        raise UserError(
            f"No tokenizer {name!r}; there are {', '.join(TOKENIZERS)}, and module:Class for one of your own."
            f"{did_you_mean(name, TOKENIZERS) or class_of_file(name)}"
        )
    return TOKENIZERS[name]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read a fitted tokenizer that :meth:`Tokenizer.save` wrote.

    Raises UserError: when there is none in the folder, it is damaged, or it is of a class of somebody's own that
    nobody has asked for: a file never imports code.
    """
    path = Path(folder) / TOKENIZER_FILE
    try:
        state, about = load_arrays(path)
        tokenizer = build_tokenizer(
            about["name"], about["codebook_sizes"], about["distances"], about["seed"], **about["options"]
        )
        tokenizer.restore(state)
    except FileNotFoundError:
        raise UserError(f"No tokenizer at {path}; fit one first (recbole-unisid tokenize).") from None
    except DamagedFileError as error:
        raise UserError(f"{path} is no whole tokenizer ({error}); fit it again.") from None
    except (KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} is not what its tokenizer's restore(state) takes ({what}); fit it again."
        ) from None
    return tokenizer
