"""What a fitted tokenizer promises, checked where a class of the user's own may break it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.tokens.tokenizer import Tokenizer

#: Vectors that a tokenizer and its copy from a file are compared on.
_COMPARED = 256


def check_codebooks(name: str, codebooks: Sequence[Any], sizes: Sequence[int]) -> None:
    """Check what a tokenizer has learned: an array [codes, width] a level, all of one width.

    Raises
    ------
    UserError
        When a level is missing, has another number of codes, or holds anything but finite numbers.
    """
    if len(codebooks) != len(sizes):
        raise UserError(
            f"Tokenizer '{name}' has {len(codebooks)} codebooks after _fit; {len(sizes)} are wanted."
        )
    for level, (codebook, size) in enumerate(zip(codebooks, sizes, strict=True)):
        width = np.shape(codebooks[0])[-1:] or ("width",)
        if np.shape(codebook) != (size, *width):
            raise UserError(
                f"Tokenizer '{name}': codebook {level} has the shape {list(np.shape(codebook))}; "
                f"[{size}, {width[0]}] is wanted, codes by latent width."
            )
        if np.asarray(codebook).dtype.kind != "f" or not np.isfinite(codebook).all():
            raise UserError(
                f"Tokenizer '{name}': codebook {level} must be floating-point numbers, all finite."
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
    found = np.asarray(codes)
    if found.shape != (n_items, len(sizes)) or found.dtype.kind not in "iu":
        raise UserError(
            f"Tokenizer '{name}' gave codes of type {found.dtype} and shape {list(found.shape)} for {n_items} items; "
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
    state = tokenizer.state()
    for key, array in state.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise UserError(f"Tokenizer '{tokenizer.name}': state()['{key}'] must be an array of numbers.")
    some = vectors[:_COMPARED]
    try:
        copy.restore(state)
        same = np.array_equal(tokenizer.encode(some), copy.encode(some))
    except (KeyError, AttributeError) as error:
        raise UserError(
            f"Tokenizer '{tokenizer.name}' cannot be read from a file: {error} is not what state() and options() give."
        ) from error
    if not same:
        raise UserError(
            f"Tokenizer '{tokenizer.name}' gives other codes once read from a file; state() and options() must hold "
            "all that its codes depend on."
        )
