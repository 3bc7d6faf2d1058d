"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from recbole_unisid.allocator import release_freed_memory


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and needs glibc")
def test_holes_in_the_heap_are_given_back() -> None:
    size, count = 100_000, 2_000  # below the size from which malloc maps a block of its own
    blocks = [bytearray(b"x") * size for _ in range(count)]
    kept = blocks[:: count // 20]  # so that the heap has no free end
    del blocks
    before = resident()
    release_freed_memory()
    assert resident() < before - size * count // 2
    assert all(block[0] == ord("x") for block in kept)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def library(name: object) -> object:
        asked.append(name)
        return object()  # without malloc_trim

    monkeypatch.setattr(ctypes, "CDLL", library)
    release_freed_memory()
    assert asked == [None]
