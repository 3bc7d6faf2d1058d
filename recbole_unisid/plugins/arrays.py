"""What a method of the user's own takes and returns: its signature, and an array or the words for what came instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError


def check_call(owner: str, method: Callable[..., Any], *arguments: str) -> None:
    """Check that a method can be called with so many arguments.

    Parameters
    ----------
    owner : str
        Whose it is, for the message.
    method : callable
        Bound to its object.
    *arguments : str
        Their names, as the documentation has them.

    Raises
    ------
    UserError
        When it takes fewer, or wants more.
    """
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as error:
        name = getattr(method, "__name__", "it")
        raise UserError(
            f"{owner}: {name} does not take what it is called with ({error}); "
            f"write def {name}({', '.join(('self', *arguments))})."
        ) from None
    except ValueError:  # compiled, without a signature
        pass


def returned_array(value: Any) -> tuple[NDArray[Any], str]:
    """Make an array of what a method has returned, and say what that is.

    Parameters
    ----------
    value : object
        An array, a tensor of any device and type, or a list of numbers or rows, where all is well.

    Returns
    -------
    array : ndarray
        Without numbers (type object) where `value` is nothing like an array.
    words : str
        What `value` is, for a message.

    Examples
    --------
    >>> returned_array([[1, 2]])[1], returned_array(None)[1]
    ('int64 of shape [1, 2]', 'None (is its return missing?)')
    """
    nothing, kind = np.empty((), dtype=object), f"a {type(value).__name__}"
    if value is None:
        return nothing, "None (is its return missing?)"
    if hasattr(value, "toarray"):
        return nothing, f"{kind} (sparse: return its .toarray())"
    try:
        array = np.asarray(
            [_plain(row) for row in value] if isinstance(value, (list, tuple)) else _plain(value)
        )
    except (ValueError, TypeError, RuntimeError) as error:
        ragged = "inhomogeneous" in str(error)
        return nothing, f"{kind} {'of rows of unequal length' if ragged else f'that is no array ({error})'}"
    if array.dtype.kind == "O":
        return nothing, f"{kind} that is no array of numbers"
    return array, f"{array.dtype} of shape {list(array.shape)}"


def _plain(value: Any) -> Any:
    """Of a tensor its numbers, of types that numpy knows."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
