"""Kill a training run with SIGKILL at random moments, and show that the resumed run ends in the same ranks.

    python benchmarks/kill.py --kills=50

The command runs once undisturbed; then again into another folder, killed each time at a random moment of its
training and started anew, until it has been killed so often or has finished; `ranks.npz` of the two must be
bit-identical. A run that finishes before all kills are done starts again from nothing.

    python benchmarks/kill.py --commands=all --kills=200 --pairs=20

The same of every command that writes or reads a run, on small data made for it, and pairs of the same command that
start within five seconds. After a kill what was there before must be there; after the next command nothing may lie
beside what an undisturbed one leaves, and every file that two undisturbed ones write alike must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from forked import TEXT, Command, in_this_process, prepare_of, run_of, write_tables
from safetensors import safe_open


def command(options: argparse.Namespace, output: Path) -> list[str]:
    """The run, with a checkpoint after every batch."""
    return [
        sys.executable, "-m", "recbole_unisid.commands.main", "run", f"--model={options.model}",
        f"--dataset={options.dataset}", f"--data_path={options.data_path}", f"--epochs={options.epochs}",
        f"--output_dir={output}", "--checkpoint_minutes=0", "--show_progress=false", "--use_gpu=false",
        *options.settings,
    ]  # fmt: skip


def start(options: argparse.Namespace, output: Path) -> subprocess.Popen[bytes]:
    """Start the run without its words on the screen."""
    return subprocess.Popen(command(options, output), stdout=subprocess.DEVNULL)


def begun(output: Path) -> bool:
    """Whether a run has come as far as its settings (imports alone take seconds)."""
    return any(output.rglob("config.yaml"))


def ranks(output: Path) -> bytes:
    """All columns of the run's ranks, as bytes."""
    (file,) = output.rglob("ranks.npz")
    with np.load(file, allow_pickle=False) as columns:
        return b"".join(name.encode() + columns[name].tobytes() for name in sorted(columns.files))


def kill_once(options: argparse.Namespace, output: Path, after: float) -> bool:
    """Start the run and kill it `after` seconds into its work; tell whether it was still at it."""
    earlier = {path: path.stat().st_mtime_ns for path in output.rglob("config.yaml")}
    process = start(options, output)
    while process.poll() is None:
        now = {path: path.stat().st_mtime_ns for path in output.rglob("config.yaml")}
        if now != earlier:  # the settings are written anew when the work begins
            break
        time.sleep(0.01)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    if process.returncode:
        raise SystemExit(f"the resumed run failed with status {process.returncode}")
    return False


Content = bytes | dict[str, bytes]


def content(file: Path) -> Content:
    """What a file says: arrays by name, where they may stand in any order."""
    if file.suffix == ".safetensors":
        with safe_open(file, "numpy") as arrays:
            return {name: arrays.get_tensor(name).tobytes() for name in arrays.keys()}  # noqa: SIM118
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as columns:
            return {name: columns[name].tobytes() for name in columns.files}
    if file.name == "serving.json":  # it has the digests of such files
        return json.dumps(json.loads(file.read_text()) | {"files": [], "fingerprint": ""}).encode()
    return file.read_bytes()


def files(folder: Path) -> dict[str, Content]:
    """Every file below a folder but logs, which grow with each attempt."""
    found = [path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    return {str(path.relative_to(folder)): content(path) for path in found if path.name != "log.txt"}


class Place:
    """A folder with data, runs and an export, the same at the start of every round."""

    def __init__(self, folder: Path) -> None:
        self.start, self.world = folder / "start", folder / "world"
        self.words = folder / "said"
        write_tables(self.world)
        first = self.world / "first"
        run = [*run_of(self.world, "UniSID"), *TEXT]
        run = [f"--output_dir={first}" if "--output_dir" in part else part for part in run]
        for arguments in (prepare_of(self.world), run):
            in_this_process(arguments)
        at = f"--run={first}/toy/UniSID"
        tokens = [
            "tokenize",
            "--dataset=toy",
            f"--data_path={self.world}/data",
            f"--cache_dir={self.world}/cache",
        ]
        self.commands = {
            "prepare": [*prepare_of(self.world), "--overwrite"],
            "run": [*run_of(self.world, "UniSID", epochs=6), *TEXT, "--checkpoint_minutes=0"],
            "report": ["report", str(first), f"--to={self.world}/page"],
            "export": ["export", at, f"--to={self.world}/export"],
            "tokenize": [*tokens, *TEXT, f"--output_dir={self.world}/runs"],
            "add-items": ["add-items", at, f"--items={self.world}/new.csv", "--show_progress=false"],
            "recommend": ["recommend", at, "--user=u1", "--format=jsonl"],
        }
        shutil.copytree(self.world, self.start)
        for arguments in self.commands.values():
            in_this_process(arguments)

    def reset(self, *before: str) -> None:
        """As at the start, with these commands done."""
        shutil.rmtree(self.world)
        shutil.copytree(self.start, self.world)
        for name in before:
            self.finish(name)

    def begin(self, name: str, words: str = "") -> Command:
        """Start a command."""
        return Command(self.commands[name], self.words.with_name(f"said{words}"))

    def finish(self, name: str) -> float:
        """Give a command undisturbed; its seconds."""
        outcome = self.begin(name).ended()
        check_end(name, outcome.status, outcome.err)
        return outcome.seconds


def check_end(name: str, status: int, err: str) -> None:
    """A command ends well; one that adds items may find them added, or being added by another."""
    added = "in the catalogue already" in err or "made by another process" in err
    if status and not (name == "add-items" and added):
        raise Wrong(f"{name} ended with status {status}: {err[-1500:]}")


class Wrong(Exception):
    """Something lost, left over, or different."""


def difference(name: str, found: dict[str, Content], expected: dict[str, Content], fixed: set[str]) -> str:
    """What lies there too much, is missing, or differs though it never does; empty where all is right."""
    changed = {file for file in fixed & found.keys() if found[file] != expected[file]}
    sets = {
        "left over": found.keys() - expected.keys(),
        "missing": expected.keys() - found.keys(),
        "differs": changed,
    }
    told = "; ".join(f"{what}: {', '.join(sorted(which)[:4])}" for what, which in sets.items() if which)
    return told and f"{name}: {told}"


class Campaign:
    """Kills and pairs of all commands in turn."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.place, self.rng = Place(folder), rng
        self.known: dict[tuple[str, ...], tuple[float, dict[str, Content], set[str], dict[str, Content]]] = {}

    def undisturbed(
        self, name: str, before: tuple[str, ...]
    ) -> tuple[float, dict[str, Content], set[str], dict[str, Content]]:
        """Seconds of a command, the files it leaves, those that it always leaves alike, and those at its start."""
        if (key := (name, *before)) not in self.known:
            made = []
            for _ in range(2):
                self.place.reset(*before)
                at_start = files(self.place.world)
                seconds = self.place.finish(name)
                made.append(files(self.place.world))
            if made[0].keys() != made[1].keys():
                raise Wrong(f"{name} leaves other files each time: {made[0].keys() ^ made[1].keys()}")
            fixed = {file for file in made[0] if made[0][file] == made[1][file]}
            if name == "run" and not any(
                file.startswith("runs") and file.endswith("ranks.npz") for file in fixed
            ):
                raise Wrong("the ranks of two undisturbed runs differ")
            self.known[key] = seconds, made[1], fixed, at_start
        return self.known[key]

    def kill(self, name: str) -> int:
        """One to three kills of a command, then the command; how many kills met it at work."""
        before = (name,) if name in {"export", "report", "tokenize"} and self.rng.random() < 0.5 else ()
        seconds, expected, fixed, at_start = self.undisturbed(name, before)
        self.place.reset(*before)
        kills = 0
        for _ in range(self.rng.integers(1, 4)):
            process = self.place.begin(name)
            time.sleep(self.rng.uniform(0, seconds))
            process.kill()
            outcome = process.ended()
            kills += outcome.status < 0
            if outcome.status >= 0:
                check_end(name, outcome.status, outcome.err)
            self.check_kept(name, at_start, expected)
        self.place.finish(name)
        if wrong := difference(name, files(self.place.world), expected, fixed):
            raise Wrong(wrong)
        return kills

    def check_kept(self, name: str, at_start: dict[str, Content], expected: dict[str, Content]) -> None:
        """What was there at the start is there as it was, or as the command leaves it."""
        found = files(self.place.world)
        replaced = "data/toy/" if name == "prepare" else "\0"  # which makes it anew from its tables
        kept = {file for file in at_start if not file.startswith(replaced) and not file.endswith(".html")}
        if lost := {
            file
            for file in kept
            if file not in found or found[file] not in (at_start[file], expected.get(file))
        }:
            raise Wrong(f"{name} killed: lost {', '.join(sorted(lost)[:4])}")

    def pair(self, name: str) -> float:
        """The same command twice, the second within five seconds or while the first is at work; the gap."""
        seconds, expected, fixed, _ = self.undisturbed(name, ())
        self.place.reset()
        gap = self.rng.uniform(0, min(5.0, seconds))
        first = self.place.begin(name)
        time.sleep(gap)
        second = self.place.begin(name, "2")
        outcomes = first.ended(), second.ended()
        for outcome in outcomes:
            check_end(name, outcome.status, outcome.err)
        if wrong := difference(name, files(self.place.world), expected, fixed):
            raise Wrong(wrong)
        if name == "recommend" and outcomes[0].out != outcomes[1].out:
            raise Wrong("recommend: two answers")
        return gap


def all_commands(options: argparse.Namespace, folder: Path) -> None:
    """The campaign: kills, then pairs, with every fault named."""
    campaign = Campaign(folder, np.random.default_rng(options.seed))
    names = list(campaign.place.commands) if options.commands == "all" else options.commands.split(",")
    kills, faults, number = dict.fromkeys(names, 0), 0, 0
    while sum(kills.values()) < options.kills:
        name = min(names, key=lambda name: kills[name])
        number += 1
        try:
            kills[name] += campaign.kill(name)
        except Wrong as wrong:
            kills[name] += 1
            faults += 1
            print(f"round {number}: {wrong}", flush=True)
    print(f"{sum(kills.values())} kills in {number} rounds, {faults} faults:", kills, flush=True)
    gaps, faults = [], 0
    for number in range(options.pairs):
        try:
            gaps.append(campaign.pair(names[number % len(names)]))
        except Wrong as wrong:
            faults += 1
            print(f"pair {number}: {wrong}", flush=True)
    print(f"{options.pairs} pairs, {faults} faults, gaps up to {max(gaps, default=0):.1f} s")


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--commands", help="all, or some with commas: on small data, instead of one long run")
    parser.add_argument("--pairs", type=int, default=0, help="of the same command at once, with --commands")
    parser.add_argument("--model", default="UniSID")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("settings", nargs="*", help="further settings, after --, such as --text_encoder=lsa")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    if options.commands:
        with tempfile.TemporaryDirectory() as name:
            os.environ["XDG_CACHE_HOME"] = f"{name}/home"
            all_commands(options, Path(name))
        return
    with tempfile.TemporaryDirectory() as name:
        whole, parts = Path(name) / "whole", Path(name) / "parts"
        process, began = start(options, whole), 0.0
        while process.poll() is None:
            if not began and begun(whole):
                began = time.monotonic()
            time.sleep(0.02)
        duration, expected = time.monotonic() - began, ranks(whole)
        print(f"undisturbed: {duration:.1f} s of work", flush=True)
        kills = finished = 0
        while kills < options.kills:
            if kill_once(options, parts, rng.uniform(0, duration)):
                kills += 1
                print(f"killed {kills} of {options.kills} times", end="\r", flush=True)
            else:
                finished += 1
                if ranks(parts) != expected:
                    raise SystemExit(f"after {kills} kills the ranks differ")
                shutil.rmtree(parts)
        subprocess.run(command(options, parts), check=True, stdout=subprocess.DEVNULL)
        if ranks(parts) != expected:
            raise SystemExit(f"after {kills} kills the ranks differ")
    print(f"{kills} kills, {finished + 1} finished runs: ranks bit-identical to the undisturbed run's")


if __name__ == "__main__":
    main()
