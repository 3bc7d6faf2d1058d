"""Memory that is freed: kept for the next use, given back, or looked for, where each of these is wished."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Numbers of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_MIB = 1 << 20


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, instead of giving large blocks back; nothing where the C library is another.

    The system clears each page anew that it hands out, which costs a third of the time where blocks of many MiB come
    and go in every batch (results/speed.md).
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 * _MIB)


def release_freed_memory() -> None:
    """Give back what is free inside the heap; nothing where the C library is not glibc.

    Buffers of a few MiB come and go in every batch, small ones between them stay: glibc keeps the holes, and a
    long run grows by a gigabyte that nobody uses (results/speed.md).
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def many_short_lived_rows() -> Iterator[None]:
    """For millions of rows that come and go (results/speed.md): what is freed is kept, and no garbage is looked for.

    Rows are no part of a cycle, so Python's garbage collector rests. Arrow takes its memory from the C library, which
    :func:`keep_freed_memory`; Arrow's own allocator gives each block back, and the system clears its pages anew.
    """
    import pyarrow as pa  # only here: training needs none of it

    keep_freed_memory()
    collecting, pool = gc.isenabled(), pa.default_memory_pool()
    gc.disable()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
        if collecting:
            gc.enable()
