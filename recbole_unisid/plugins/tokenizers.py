"""What a fitted tokenizer promises, checked where a class of the user's own may break it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.plugins.arrays import check_call, returned_array

if TYPE_CHECKING:
    from recbole_unisid.tokens.tokenizer import Tokenizer

#: Vectors that a tokenizer and its copy from a file are compared on.
_COMPARED = 256
#: Share of equal vectors that may get other codes because their place changes how sums are rounded.
_ROUNDED = 0.2


#: How the methods are called that a class of the user's own may write.
_CALLS: dict[str, tuple[str, ...]] = {
    "_fit": ("vectors", "item_ids", "show_progress"),
    "choose_codes": ("latents",),
    "decode_latents": ("latents",),
    "_encode_latents": ("vectors",),
    "options": (),
    "state": (),
    "restore": ("state",),
}


def check_made(
    tokenizer: Tokenizer, settings: Mapping[str, inspect.Parameter], given: Mapping[str, Any], seed: int
) -> None:
    """Check a tokenizer that has been made and not fitted yet.

    Parameters
    ----------
    tokenizer : Tokenizer
        Of a class of the user's own.
    settings : mapping of str to Parameter
        Parameters of its constructor beside the three of every tokenizer.
    given : mapping
        Values that were given for some of them.
    seed : int
        That was given.

    Raises
    ------
    UserError
        When the constructor does not hand on what the base class needs, a method takes other arguments than it is
        called with, or `options` does not hold the settings: codes are cached by them.
    """
    owner = f"Tokenizer '{tokenizer.name}'"
    if getattr(tokenizer, "seed", None) != seed or not hasattr(tokenizer, "codebooks"):
        raise UserError(
            f"{owner}: its constructor must call super().__init__(codebook_sizes, distances, seed), with all three."
        )
    for method, arguments in _CALLS.items():
        check_call(owner, getattr(tokenizer, method), *arguments)
    options = tokenizer.options()
    if not isinstance(options, dict):
        raise UserError(f"{owner}: options() returned {options!r:.40}; a dict of its settings is wanted.")
    _check_options(owner, options, settings, given)


def _check_options(
    owner: str, options: dict[str, Any], settings: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> None:
    """Check that options are the settings of a constructor, no more and no less, with their values."""
    for option in options:
        if option not in settings:
            raise UserError(
                f"{owner}: options() holds {option!r}, no setting of its constructor's own; leave it out."
            )
    try:
        kept = json.loads(json.dumps(options))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{owner}: options() must hold plain values (numbers, text, lists): {error}."
        ) from None
    for setting, parameter in settings.items():
        value = given.get(setting, parameter.default)
        # A value that was given, and the default in its stead: codes of one value would be served for another.
        if setting not in options or kept[setting] == parameter.default != value:
            wrong = (
                f"holds {setting}={kept[setting]!r} where {value!r} was given"
                if setting in kept
                else f"lacks {setting!r}"
            )
            raise UserError(
                f"{owner}: options() {wrong}, a setting of its constructor; codes are cached by what options() "
                f"returns, so return {{'{setting}': self.{setting}}}, the value that was given, among them."
            )


def check_codebooks(name: str, codebooks: Any, sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """Check what a tokenizer has learned: an array [codes, width] a level, all of one width.

    Returns
    -------
    list of ndarray of float32, shape [codes, width] each

    Raises
    ------
    UserError
        When a level is missing, has another number of codes, or holds anything but finite numbers.
    """
    if not isinstance(codebooks, (list, tuple, np.ndarray)):
        raise UserError(
            f"Tokenizer '{name}': self.codebooks is {codebooks!r:.40} after _fit; a list is wanted."
        )
    if len(codebooks) != len(sizes):
        raise UserError(
            f"Tokenizer '{name}' has {len(codebooks)} codebooks after _fit; {len(sizes)} are wanted."
        )
    checked: list[NDArray[np.float32]] = []
    for level, (codebook, size) in enumerate(zip(codebooks, sizes, strict=True)):
        found, came = returned_array(codebook)
        width = checked[0].shape[1] if checked else found.shape[-1] if found.ndim else "width"
        if found.shape != (size, width):
            raise UserError(
                f"Tokenizer '{name}': codebook {level} is {came}; [{size}, {width}] is wanted, codes by latent width."
            )
        if found.dtype.kind != "f" or not np.isfinite(found).all():
            raise UserError(
                f"Tokenizer '{name}': codebook {level} must be floating-point numbers, all finite."
            )
        checked.append(np.ascontiguousarray(found, dtype=np.float32))
    return checked


def check_widths(tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Check that codebooks are as wide as latents, and that latents become vectors again.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    vectors : ndarray of float32, shape [n, width]
        The first is tried.

    Raises
    ------
    UserError
        When they are not.
    """
    latents = tokenizer.latents(vectors[:1])
    width = tokenizer.codebooks[0].shape[1]
    if latents.shape != (1, width):
        raise UserError(
            f"Tokenizer '{tokenizer.name}': its codebooks are {width} wide, but the latents of a vector are "
            f"{list(latents.shape)}; codes add up to latents: make the codebooks of self.latents(vectors)."
        )
    try:
        came = str(list(np.shape(tokenizer.decode_latents(latents))))
    except ValueError as error:
        came = f"an error ({error})"
    if came != str([1, vectors.shape[1]]):
        raise UserError(
            f"Tokenizer '{tokenizer.name}': decode_latents must turn latents [n, {width}] into vectors "
            f"[n, {vectors.shape[1]}]; of one it makes {came}."
        )


def check_codes(name: str, codes: Any, n_items: int, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Check codes that a tokenizer gave to `n_items` latents.

    Returns
    -------
    ndarray of int64, shape [n_items, levels]

    Raises
    ------
    UserError
        When they are no whole numbers of that shape, or one is no code of its level.
    """
    found, came = returned_array(codes)
    if found.shape != (n_items, len(sizes)) or found.dtype.kind not in "iu":
        raise UserError(
            f"Tokenizer '{name}' gave as codes {came} for {n_items} items; "
            f"whole numbers [{n_items}, {len(sizes)}] are wanted (choose_codes)."
        )
    outside = (found < 0) | (found >= np.asarray(sizes))
    if outside.any():
        row, level = np.argwhere(outside)[0]
        raise UserError(
            f"Tokenizer '{name}' gave code {found[row, level]} at level {level}; "
            f"codes from 0 to {sizes[level] - 1} are wanted (choose_codes)."
        )
    return found.astype(np.int64, copy=False)


def check_copy(tokenizer: Tokenizer, copy: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Check that a tokenizer made anew from `options` and `state` gives the codes of the fitted one.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    copy : Tokenizer
        Of the same settings, not fitted; it is restored here.
    vectors : ndarray of float32, shape [n, width]
        The first few are compared.

    Raises
    ------
    UserError
        When `state` gives anything but arrays of numbers, `restore` wants what it does not give, or the codes differ.
    """
    state: Any = tokenizer.state()
    if not isinstance(state, dict):
        raise UserError(
            f"Tokenizer '{tokenizer.name}': state() returned {state!r:.40}; a dict of arrays is wanted, "
            "those of super().state() among them."
        )
    for key, array in state.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise UserError(f"Tokenizer '{tokenizer.name}': state()['{key}'] must be an array of numbers.")
    some = vectors[:_COMPARED]
    codes = tokenizer.encode(some)
    try:
        copy.restore(state)
        same = np.array_equal(codes, copy.encode(some))
    except Exception as error:  # whatever may come of what is not there
        raise UserError(
            f"Tokenizer '{tokenizer.name}' cannot be read back from a file: its copy, made by the constructor and "
            f"restore(state) alone, fails ({type(error).__name__}: {error}); state() must hold all that _fit has set, "
            "restore() set it again."
        ) from error
    if not same:
        raise UserError(
            f"Tokenizer '{tokenizer.name}' gives other codes once read from a file; state() and options() must hold "
            "all that its codes depend on."
        )


def check_each_by_itself(tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Check that a vector's codes depend neither on the vectors beside it nor on its place among them.

    The first vectors are encoded twice, the second time with one of them in the place of half the others. Of those
    that stay in their place even the rounding is the same; of the copies a few may differ by it.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    vectors : ndarray of float32, shape [n, width]

    Raises
    ------
    UserError
        When they do: new items, encoded alone, would get codes of another meaning.
    """
    some = vectors[:_COMPARED]
    half = len(some) // 2
    among_others = tokenizer.encode(some)[half:]
    mixed = tokenizer.encode(np.concatenate([np.repeat(some[half : half + 1], half, axis=0), some[half:]]))
    stirred = (mixed[half:] != among_others).any()
    if stirred or (half and (mixed[:half] != mixed[half]).any(axis=1).mean() > _ROUNDED):
        raise UserError(
            f"Tokenizer '{tokenizer.name}' gives a vector other codes among other vectors; choose_codes must choose "
            "each by itself (what depends on all items is computed in _fit and kept in state())."
        )
