"""docs/loop.md, command by command, as it is printed."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest
from conftest import ROOT

PAGE = ROOT / "docs" / "loop.md"


def commands() -> list[str]:
    """The lines of the page's shell blocks before the part about containers."""
    text = PAGE.read_text(encoding="utf-8").partition("## In containers")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]


def write_tables(source: Path, folder: Path) -> None:
    """A shop's own tables of two days out of ml-mini: other names and dates, Tuesday with more of everything."""
    rows = [line.split("\t") for line in (source / "ml-mini.inter").read_text().splitlines()[1:]]
    counts = Counter(item for _, item, *_ in rows)
    name = {item: f"A{rank}" for rank, (item, _) in enumerate(counts.most_common(), start=1)}
    rows = sorted(rows, key=lambda row: float(row[3]))
    for day, share in (("monday", 0.95), ("tuesday", 1.0)):
        with (folder / f"{day}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["user", "item", "date"])
            for user, item, _, at, *_ in rows[: int(share * len(rows))]:
                writer.writerow(
                    [user, name[item], time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(float(at)))]
                )
    items = [line.split("\t") for line in (source / "ml-mini.item").read_text().splitlines()[1:]]
    for file_name in ("items.csv", "items-tuesday.csv"):
        with (folder / file_name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["item", "title", "category"])
            writer.writerows([name[item], title, kinds] for item, title, _, kinds in items if item in name)


def health() -> dict[str, object]:
    with urlopen("http://localhost:8000/health") as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_the_page_word_for_word(ml_mini: Path, in_empty_folder: Path) -> None:
    """Each command ends well, the service answers, follows Tuesday's version, and goes back."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            pytest.skip("port 8000, which the page names, is taken")
    write_tables(ml_mini / "ml-mini", in_empty_folder)
    command = in_empty_folder / "bin" / "recbole-unisid"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m recbole_unisid.commands.main "$@"\n')
    command.chmod(0o755)
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": python_path}
    given = commands()
    assert len(given) <= 12
    assert given[0].startswith("pip install ")
    served, printed = None, {}
    try:
        for line in given[1:]:
            if line.endswith(" &"):
                words = ["bash", "-c", f"exec {line.removesuffix(' &')}"]
                served = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
                continue
            done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            printed[line] = done.stdout
            wanted = {"tuesday/UniSID": "2", "roll-back": "1"}
            for part in wanted.keys() & {word for word in wanted if word in line and "versions" in line}:
                until = time.monotonic() + 30
                while health()["model_version"] != wanted[part]:
                    assert time.monotonic() < until, f"{line}: the service did not follow"
                    time.sleep(0.2)
    finally:
        if served is not None:
            served.send_signal(signal.SIGTERM)
            served.wait(30)
    (answer,) = [json.loads(text) for line, text in printed.items() if line.startswith("curl")]
    assert len(answer["items"]) == 5
    assert "UniSID" in Path("site/index.html").read_text(encoding="utf-8")
    (warm,) = Path("runs/shop-tuesday/UniSID").glob("*/result.json")
    start = json.loads(warm.read_text())["from"]
    assert start["run"].startswith("shop-monday/UniSID/")
    assert start["new_items"] > 0
