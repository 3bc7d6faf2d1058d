"""Freed memory goes back to the system between epochs."""

from __future__ import annotations

import ctypes


def release_freed_memory() -> None:
    """Give back what is free inside the heap; nothing where the C library is not glibc.

    Buffers of a few MiB come and go in every batch, small ones between them stay: glibc keeps the holes, and a
    long run grows by a gigabyte that nobody uses (``results/speed.md``).
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
