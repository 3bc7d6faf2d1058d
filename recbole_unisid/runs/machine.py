"""What a run ran on: versions, processor, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import recbole_unisid


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    return {
        "recbole_unisid": recbole_unisid.__version__,
        "recbole": version("recbole"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine() -> dict[str, str | int | None]:
    """Processor, its cores that this process may use, and the GPU if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _processor(), "cores": cores, "gpu": gpu}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    try:
        # Not getrusage: on Linux its figure begins with that of the process that started this one.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
