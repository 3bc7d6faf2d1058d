"""Damage every kind of file that people hand on, and show that each command says one line or loses nothing.

    python benchmarks/mutants.py --mutants=1000 --seed=0

Small sound files are made by the package itself; each mutant is one of them with one to three wounds, given to the
commands that read it, each in a process forked for it. A command that fails must say one line on standard error; one
that succeeds must account for every row as an independent reader counts them, or give what the sound file gives.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from damage import mutant, mutated_settings
from forked import SECONDS, TEXT, Command, in_this_process, prepare_of, run_of, write_tables


class Fault(Exception):
    """What a command must not do."""


def sound(arguments: Sequence[str], folder: Path) -> str | None:
    """What a command printed, None where it refused in one line; anything else is a fault."""
    outcome = Command(arguments, folder / "said").ended()
    said = f"{arguments[0]}: status {outcome.status}, {outcome.seconds:.0f} s: {outcome.err[-1500:]}"
    if outcome.seconds >= SECONDS or "Traceback" in outcome.out + outcome.err or outcome.status not in {0, 2}:
        raise Fault(said)
    if outcome.status and len(outcome.err.strip().splitlines()) != 1:
        raise Fault(f"not one line: {said}")
    return None if outcome.status else outcome.out


# --- what an independent reader finds ---------------------------------------------------------------


def accounted(out: str) -> tuple[int, int, int]:
    """What ``prepare`` says of the interactions: read, left out for a reason, and written."""
    numbers: Counter[str] = Counter()
    for line in out.splitlines():
        label, _, value = line.rpartition("  ")
        label = label.strip()
        if label.startswith(("skipped: ", "dropped: ")) and not label.endswith("(items)"):
            numbers["left out"] += int(value.replace(",", ""))
        elif label in ("interactions", "read: rows of interactions"):
            numbers[label] = int(value.replace(",", ""))
    return numbers["read: rows of interactions"], numbers["left out"], numbers["interactions"]


def decoded(data: bytes, out: str) -> str:
    """The text in the encoding that the command said it took."""
    said = out.partition(" is read as ")[2].partition(",")[0]
    return data.decode(said or "utf-8-sig", "strict" if said else "surrogateescape").replace("\0", "")


def check_table(data: bytes, out: str, written: Path) -> None:
    """Every row of a table is written or said to be left out, and what is plainly sound is written."""
    text = decoded(data, out)
    head = io.StringIO(text, newline="").readline()
    separator = max(",;\t|", key=head.count)
    names, *table = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = [name.strip() for name in names]
    whole = [dict(zip(names, row, strict=True)) if len(row) == len(names) else {} for row in table]
    check_rows(whole, out, written)


def check_records(data: bytes, out: str, written: Path) -> None:
    """The same of JSON lines."""
    records = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = {}
        if line.strip():
            records.append(record if isinstance(record, dict) else {})
    check_rows(records, out, written)


def check_rows(table: list[dict[str, Any]], out: str, written: Path) -> None:
    """Counts and the rows that nobody could misread."""
    read, left_out, kept = accounted(out)
    found = [line.split("\t") for line in written.read_text(encoding="utf-8").split("\n")[1:-1]]
    if not read >= len(table) or len(found) != kept or kept + left_out not in {read, len(table)}:
        raise Fault(
            f"rows: {len(table)} in the file, {read} read, {left_out} left out, {kept} said, {len(found)} written"
        )
    plain = {
        (str(row["user_id"]), str(row["item_id"]))
        for row in table
        if all(str(row.get(key, "")).isalnum() and str(row[key]).isascii() for key in ("user_id", "item_id"))
        and (
            "timestamp" not in row or (str(row["timestamp"]).isdecimal() and len(str(row["timestamp"])) == 10)
        )
    }
    missing = plain - {(row[0], row[1]) for row in found}
    if len(missing) > left_out:
        raise Fault(f"lost: {sorted(missing)[:5]}")


def check_inter(data: bytes, out: str) -> None:
    """``inspect`` counts every row, or warns of those it left out."""
    facts = json.loads(out)
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")[1:] if line.strip()]
    left_out = sum(
        int(warning.split()[1].replace(",", ""))
        for warning in facts["warnings"]
        if warning.startswith(".inter: ")
    )
    if facts["interactions"] + left_out != len(lines):
        raise Fault(f"rows: {len(lines)} in the file, {facts['interactions']} counted, {left_out} left out")


# --- the campaign -----------------------------------------------------------------------------------


class Campaign:
    """Mutants of all kinds, each in a copy of what it belongs to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        home = folder / "sound"
        write_tables(home)
        for arguments in (prepare_of(home), run_of(home, "ItemID"), [*run_of(home, "UniSID"), *TEXT]):
            in_this_process(arguments)
        self.runs = {path.parent.name: path for path in sorted(home.glob("runs/toy/*/*"))}
        for arguments in self.reading(self.runs["UniSID"]):
            in_this_process(arguments)
        self.recommended = {name: sound(self.reading(run)[1], folder) for name, run in self.runs.items()}
        assert all(self.recommended.values()), self.recommended
        self.figures = {name: self.leaderboard(run) for name, run in self.runs.items()}

    def reading(self, run: Path) -> list[list[str]]:
        """The commands that read a run."""
        return [
            ["report", str(run), f"--to={self.folder}/page"],
            ["recommend", f"--run={run}", "--user=u1", "--format=jsonl"],
        ]

    def leaderboard(self, run: Path) -> str:
        """The figures of a run's report."""
        sound(self.reading(run)[0], self.folder)
        return (self.folder / "page" / "leaderboard.csv").read_text()

    def one(self, kind: str, draw: random.Random) -> bool:
        """Make a mutant and give it to the commands; whether one of them took it."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        if kind in {"CSV", "TSV", "JSON lines"}:
            return self.one_table(kind, draw, copy)
        if kind in {".inter", ".item"}:
            return self.one_data_set(kind, draw, copy)
        if kind == "YAML":
            return self.one_settings(draw, copy)
        return self.one_run(kind, draw, copy)

    def one_table(self, kind: str, draw: random.Random, copy: Path) -> bool:
        ending = {"CSV": "csv", "TSV": "tsv", "JSON lines": "jsonl"}[kind]
        of_items = ending != "jsonl" and draw.random() < 0.25
        for name in ("log", "items"):
            if (path := self.folder / "sound" / f"{name}.{ending}").exists():
                shutil.copy(path, copy)
        wounded = copy / f"{'items' if of_items else 'log'}.{ending}"
        wounded.write_bytes(mutant(draw, kind, wounded.read_bytes()))
        items = [f"--items={copy}/items.{ending}"] if of_items else []
        out = sound(
            ["prepare", "toy", f"--from-csv={copy}/log.{ending}", *items, f"--data_path={copy}/data"], copy
        )
        if out is None:
            if (copy / "data").exists() and list(copy.glob("data/toy/*")):
                raise Fault("refused, and files were left")
            return False
        check = check_records if ending == "jsonl" else check_table
        check((copy / f"log.{ending}").read_bytes(), out, copy / "data" / "toy" / "toy.inter")
        return True

    def one_data_set(self, kind: str, draw: random.Random, copy: Path) -> bool:
        shutil.copytree(self.folder / "sound" / "data" / "toy", copy / "data" / "toy")
        (copy / "data" / "toy" / "prepared.json").unlink()
        wounded = copy / "data" / "toy" / f"toy{kind}"
        wounded.write_bytes(mutant(draw, kind, wounded.read_bytes()))
        out = sound(["inspect", "toy", f"--data_path={copy}/data", "--format=json"], copy)
        if out is not None:
            check_inter((copy / "data" / "toy" / "toy.inter").read_bytes(), out)
        model = "Pop" if kind == ".inter" else "NearestText"
        more = [] if kind == ".inter" else ["--text_encoder=lsa"]
        ran = sound([*run_of(copy, model), *more], copy)
        if ran is not None and out is not None:
            (result,) = copy.glob("runs/toy/*/*/result.json")
            counted, trained = (
                json.loads(out)["interactions"],
                json.loads(result.read_text())["data"]["interactions"],
            )
            if counted != trained and "left out" not in ran:
                raise Fault(f"run took {trained} interactions, inspect counts {counted}: {ran}")
        return ran is not None or out is not None

    def one_settings(self, draw: random.Random, copy: Path) -> bool:
        data, _ = mutated_settings(draw)
        (copy / "mine.yaml").write_bytes(data)
        run = run_of(self.folder / "sound", "ItemID")
        run = [argument.replace(f"{self.folder}/sound/runs", f"{copy}/runs") for argument in run]
        if sound([*run, f"--config_files={copy}/mine.yaml", "--score_terms=[]"], copy) is None:
            return False
        (config,) = copy.glob("runs/toy/*/*/config.yaml")
        resolved, given = yaml.safe_load(config.read_text()), yaml.safe_load(data.decode("utf-8-sig"))
        lost = [key for key in given if key not in resolved]
        if lost:
            raise Fault(f"settings lost: {lost}")
        return True

    def one_run(self, kind: str, draw: random.Random, copy: Path) -> bool:
        name = draw.choice(sorted(self.runs))
        run = Path(shutil.copytree(self.runs[name], copy / "run"))
        (run / kind).write_bytes(mutant(draw, kind, (run / kind).read_bytes()))
        report, recommend = self.reading(run)
        made = sound(report, self.folder) if kind != "serving.json" else None
        if made is not None and self.leaderboard(run) != self.figures[name]:
            raise Fault("the report has other figures")
        given = sound(recommend, self.folder) if kind != "ranks.npz" else None
        if given is not None and given != self.recommended[name]:
            raise Fault("other recommendations")
        return made is not None or given is not None


KINDS = ["CSV", "TSV", "JSON lines", ".inter", ".item", "YAML", "result.json", "serving.json", "ranks.npz"]


def main() -> None:
    """Make the mutants, and tell of each kind how many were taken, refused or a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="with commas")
    parser.add_argument("--only", type=int, help="the number of one mutant")
    options = parser.parse_args()
    kinds, counts = options.kinds.split(","), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/home"
        campaign, slowest = Campaign(Path(name)), 0.0
        for number in range(options.mutants) if options.only is None else [options.only]:
            kind, started = kinds[number % len(kinds)], time.monotonic()
            try:
                taken = campaign.one(kind, random.Random(f"{options.seed} {kind} {number}"))
                counts[kind, "taken" if taken else "refused"] += 1
            except Fault as fault:
                counts[kind, "fault"] += 1
                print(f"{number} {kind}: {fault}", flush=True)
            slowest = max(slowest, time.monotonic() - started)
            if options.only is not None:
                shutil.copytree(campaign.folder / "copy", "mutant", dirs_exist_ok=True)
    for kind in kinds:
        print(f"{kind:<13}", *(f"{counts[kind, what]:>5} {what}" for what in ("taken", "refused", "fault")))
    print(f"slowest mutant: {slowest:.1f} s, all commands together")


if __name__ == "__main__":
    main()
