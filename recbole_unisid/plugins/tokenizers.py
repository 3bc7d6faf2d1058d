"""Tokenizers of the user's own, checked for what would spoil codes: caches, copies from files, neighbours."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.tokens.tokenizer import Tokenizer

#: Vectors that a tokenizer and its copy from a file are compared on.
_COMPARED = 256
#: Share of equal vectors that may get other codes because their place changes how sums are rounded.
_ROUNDED = 0.2


def check_made(
    tokenizer: Tokenizer, settings: Mapping[str, inspect.Parameter], given: Mapping[str, Any], seed: int
) -> None:
    """Check that `options`, which codes are cached by, are the constructor's `settings` with the values `given`."""
    owner = f"Tokenizer '{tokenizer.name}'"
    if getattr(tokenizer, "seed", None) != seed or not hasattr(tokenizer, "codebooks"):
        raise UserError(
            f"{owner}: its constructor must call super().__init__(codebook_sizes, distances, seed), with all three."
        )
    try:
        kept = dict(json.loads(json.dumps(tokenizer.options())))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{owner}: options() must be a dict of plain values (numbers, text, lists): {error}."
        ) from None
    for option in set(kept) - set(settings):
        raise UserError(
            f"{owner}: options() holds {option!r}, no setting of its constructor's own; leave it out."
        )
    for setting, parameter in settings.items():
        value = given.get(setting, parameter.default)
        # A value that was given, and the default in its stead: codes of one value would be served for another.
        if setting not in kept or kept[setting] == parameter.default != value:
            wrong = f"no {setting!r}"
            if setting in kept:
                wrong = f"{setting}={kept[setting]!r} where {value!r} was given"
            raise UserError(
                f"{owner}: options() holds {wrong}, a setting of its constructor; codes are cached by what options() "
                f"returns, so return {{'{setting}': self.{setting}}}, the value that was given, among them."
            )


def check_codebooks(name: str, codebooks: Any, sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """What a tokenizer has learned as float32 [codes, width], a level each; all finite and of one width."""
    if not isinstance(codebooks, (list, tuple, np.ndarray)) or len(codebooks) != len(sizes):
        came = f"{len(codebooks)} codebooks" if hasattr(codebooks, "__len__") else repr(codebooks)
        raise UserError(
            f"Tokenizer '{name}': self.codebooks is {came} after _fit; a list of {len(sizes)} is wanted."
        )
    checked: list[NDArray[np.float32]] = []
    for level, (codebook, size) in enumerate(zip(codebooks, sizes, strict=True)):
        found, came = returned_array(codebook)
        width = checked[0].shape[1] if checked else found.shape[-1] if found.ndim else "width"
        if found.shape != (size, width) or found.dtype.kind != "f" or not np.isfinite(found).all():
            raise UserError(
                f"Tokenizer '{name}': codebook {level} is {came}; floating-point numbers [{size}, {width}] are wanted, "
                "codes by latent width, all finite."
            )
        checked.append(np.ascontiguousarray(found, dtype=np.float32))
    return checked


def check_widths(tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Check that codebooks are as wide as the latents of `vectors`, of which the first is tried."""
    latents = tokenizer.latents(vectors[:1])
    width = tokenizer.codebooks[0].shape[1]
    if latents.shape != (1, width):
        raise UserError(
            f"Tokenizer '{tokenizer.name}': its codebooks are {width} wide, but the latents of a vector are "
            f"{list(latents.shape)}; codes add up to latents: make the codebooks of self.latents(vectors)."
        )


def check_codes(owner: str, codes: Any, n_items: int, sizes: Sequence[int]) -> NDArray[np.int64]:
    """The codes given to `n_items` vectors as int64 [n_items, levels], each a code of its level."""
    found, came = returned_array(codes)
    if found.shape != (n_items, len(sizes)) or found.dtype.kind not in "iu":
        raise UserError(
            f"{owner}: the codes are {came} for {n_items} vectors and {len(sizes)} levels; "
            f"whole numbers [{n_items}, {len(sizes)}] are wanted."
        )
    outside = (found < 0) | (found >= np.asarray(sizes))
    if outside.any():
        row, level = np.argwhere(outside)[0]
        raise UserError(
            f"{owner}: code {found[row, level]} at level {level}; codes from 0 to {sizes[level] - 1} are wanted."
        )
    return found.astype(np.int64, copy=False)


def check_copy(tokenizer: Tokenizer, copy: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Check that `copy`, of the same settings, gives the codes of the fitted tokenizer once restored from its state."""
    some, state = vectors[:_COMPARED], tokenizer.state()
    codes = tokenizer.encode(some)
    try:
        for key, array in state.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                raise TypeError(f"state()['{key}'] is no array of numbers")
        copy.restore(state)
        same = np.array_equal(codes, copy.encode(some))
    except Exception as error:  # whatever may come of what is not there
        raise UserError(
            f"Tokenizer '{tokenizer.name}' cannot be read back from a file: its copy, made by the constructor and "
            f"restore(state) alone, fails ({type(error).__name__}: {error}); state() must hold all that _fit has set, "
            "as arrays of numbers, those of super().state() among them; restore() set it again."
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


def returned_array(value: Any) -> tuple[NDArray[Any], str]:
    """An array of an array, a tensor of any device and type, or a list of numbers or rows, and words of what came.

    An array of type object stands for nothing like an array.
    """
    nothing, kind = np.empty((), dtype=object), f"a {type(value).__name__}"
    if value is None:
        return nothing, "None (is its return missing?)"
    try:
        rows = [_plain(row) for row in value] if isinstance(value, (list, tuple)) else _plain(value)
        array = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:
        return nothing, f"{kind} that is no array ({error})"
    if array.dtype.kind == "O":
        return nothing, f"{kind} that is no array of numbers"
    return array, f"{array.dtype} of shape {list(array.shape)}"


def _plain(value: Any) -> Any:
    """Of a tensor its numbers, of types that numpy knows."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
