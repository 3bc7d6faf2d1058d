"""What a run ran on: versions, processor, memory."""

from __future__ import annotations

import logging
import os
import platform
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import joblib
import torch

import recbole_unisid
from recbole_unisid.models import shards

LOG = logging.getLogger("recbole_unisid")
#: How many torch would use.
_OWN_THREADS = torch.get_num_threads()


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    packages = {"recbole_unisid": recbole_unisid.__version__, "recbole": version("recbole")}
    return packages | {"torch": torch.__version__, "python": platform.python_version()}


def settle_threads() -> None:
    """Choose torch's threads for training, by what this process may use and not by what others do.

    Their work would move the figures. Of two cores one: where another process is at work, two threads that wait for
    one another at every operation take up to ten times as long (results/speed.md). Where the model allows it each half
    of a batch has a core of its own: those threads sleep while they wait. Of more cores torch's own number, within a
    container's CPU quota. ``OMP_NUM_THREADS`` is heeded.
    """
    cores = joblib.cpu_count()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if cores <= 2 else min(_OWN_THREADS, cores))
        shards.WORKERS = ThreadPoolExecutor(cores) if cores == 2 else None
    how = torch.get_num_threads(), os.environ.get("OMP_WAIT_POLICY", "ACTIVE").lower()
    LOG.info("threads: %d (OMP_NUM_THREADS), %s while they wait (OMP_WAIT_POLICY)", *how)


@contextmanager
def all_cores() -> Iterator[None]:
    """Give texts and codes, whose operations are large, torch's own number of threads within the quota."""
    chosen = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(_OWN_THREADS, joblib.cpu_count()))
    try:
        yield
    finally:
        torch.set_num_threads(chosen)


def machine() -> dict[str, str | int | None]:
    """Processor, its cores that this process may use, torch's threads, and the GPU if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cpu = _of_proc("cpuinfo", "model name") or platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": cores, "threads": torch.get_num_threads(), "gpu": gpu}


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    # Not getrusage: on Linux its figure begins with that of the process that started this one.
    if found := _of_proc("self/status", "VmHWM:"):
        return int(found.split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_proc(file: str, key: str) -> str | None:
    """What a line of a file of /proc says; None where there is no such line or file."""
    with suppress(OSError):
        for line in Path("/proc", file).read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return None
