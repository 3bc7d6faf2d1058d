"""What a method of the user's own gave back, as an array, and in words for a message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def returned_array(value: Any) -> tuple[NDArray[Any], str]:
    """Make an array of an array, a tensor of any device and type, or a list of numbers or rows.

    Beside it, in words for a message, what `value` is; an array of type object stands for nothing like an array.
    """
    nothing, kind = np.empty((), dtype=object), f"a {type(value).__name__}"
    if value is None:
        return nothing, "None (is its return missing?)"
    try:
        array = np.asarray(
            [_plain(row) for row in value] if isinstance(value, (list, tuple)) else _plain(value)
        )
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
