"""A run of ItemID as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

QUICK = ["--epochs=3", "--use_gpu=false", "--dataset=ml-mini"]


def command(data: Path, *more: str, **keywords: Any) -> subprocess.Popen[str]:
    """A run of ItemID as a process of its own, with its words caught."""
    given = [sys.executable, "-m", "recbole_unisid.commands.main", "run", "--model=ItemID", *QUICK, *more]
    return subprocess.Popen(
        [*given, f"--data_path={data}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
    )
