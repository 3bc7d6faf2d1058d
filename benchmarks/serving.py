"""What an export gives back, what its index costs, and what the service bears.

    python benchmarks/serving.py RUN [--data_path=dataset] [--users=1000] [--seconds=60] [--clients=64]

RUN is a finished run's folder of UniSID, SemanticID, ItemID or DenseText; its data set must be at hand. Three parts:

1. The top-10 of the export against the evaluator's, for users of the test set, and against the ranks that the
   run stored. Two items may change places only where their scores are within 1e-5.
2. Recall@10 and time of the indexes, against a bare exact FAISS search of the same vectors, one thread; also on a
   catalogue ten times as large, made of the vectors and noise.
3. The service under clients that ask again as soon as they have an answer, on loopback; the clients run on the
   same machine and take their share of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np

from recbole_unisid.commands.options import parse_options
from recbole_unisid.runs.machine import machine
from recbole_unisid.serving.export import build_index, export
from recbole_unisid.serving.loaded import load
from recbole_unisid.serving.recommender import Recommender

#: What two scores may differ by and change places.
TOLERANCE = 1e-5
K = 10


def test_histories(loaded: Any, users: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Item numbers before the last of each of some users, and the last, under leave-one-out."""
    sequences = loaded.sequences
    lengths = np.diff(sequences.offsets)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(lengths >= 3), users, replace=False)
    pieces = [sequences.items[sequences.offsets[user] : sequences.offsets[user + 1]] for user in chosen]
    names = np.asarray(sequences.user_ids)[chosen]
    return [piece[:-1] for piece in pieces], np.column_stack([names, [str(piece[-1]) for piece in pieces]])


def parity(loaded: Any, recommender: Recommender, users: int) -> dict[str, Any]:
    """Top-10 lists of the export against those by the evaluator's scores and the stored ranks."""
    histories, cases = test_histories(loaded, users)
    number = {name: at for at, name in enumerate(loaded.item_ids)}
    table = np.load(loaded.path / "ranks.npz")
    rank_of = dict(zip(table["user"].tolist(), table["rank_full"].tolist(), strict=True))
    counts = {"users": users, "same": 0, "swapped_within_tolerance": 0, "different": 0}
    counts |= {"targets_in_top": 0, "targets_at_their_rank": 0}
    largest = 0.0
    answers = recommender.recommend_many([[loaded.item_ids[n] for n in one] for one in histories], K)
    for history, found, (user, target), scores in zip(
        histories, answers, cases, loaded.scores(histories), strict=True
    ):
        scores[[0, *history.tolist()]] = -np.inf
        expected, listed = np.argsort(-scores, kind="stable")[:K], [number[item.id] for item in found]
        apart = np.abs(scores[expected] - scores[listed]).max()
        largest = max(largest, float(np.abs([item.score for item in found] - scores[listed]).max()))
        same = expected.tolist() == listed
        counts["same" if same else "swapped_within_tolerance" if apart <= TOLERANCE else "different"] += 1
        if rank_of[user] <= K:
            counts["targets_in_top"] += 1
            place = listed.index(int(target)) + 1 if int(target) in listed else 0
            tied = place and (np.abs(scores[listed] - scores[int(target)]) <= TOLERANCE).sum() > 1
            counts["targets_at_their_rank"] += place == rank_of[user] or bool(tied)
    return counts | {"largest_difference_of_scores": largest}


def per_user(function: Callable[[int], Any], users: int) -> float:
    """Milliseconds of CPU for one user at a time, the median of three rounds."""
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for user in range(users):
            function(user)
        rounds.append((time.process_time() - started) / users * 1000)
    return float(np.median(rounds))


def indexes(vectors: np.ndarray, states: np.ndarray) -> list[dict[str, Any]]:
    """Recall@10 and milliseconds a user of every index and width of search."""
    exact, _ = build_index(vectors, "exact", progress=False)
    truth = exact.search(states, K)[1]
    users = len(states)
    bare = per_user(lambda user: exact.search(states[user : user + 1], K), users)
    rows = [{"index": "exact (bare FAISS)", "recall": 1.0, "ms": bare, "of_exact": 1.0, "build_s": 0.0}]
    for kind, widths in (("hnsw", (16, 32, 64, 128, 256)), ("ivf", (8, 16, 32, 64, 128))):
        started = time.process_time()
        index, _ = build_index(vectors, kind, progress=False)
        built = time.process_time() - started
        for width in widths:
            made = faiss.SearchParametersHNSW if kind == "hnsw" else faiss.SearchParametersIVF
            parameters = made(**{"efSearch" if kind == "hnsw" else "nprobe": width})
            found = index.search(states, K, params=parameters)[1]
            recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, found, strict=True)])
            milliseconds = per_user(
                lambda user, index=index, parameters=parameters: index.search(
                    states[user : user + 1], K, params=parameters
                ),
                users,
            )
            rows.append(
                {
                    "index": f"{kind} {width}",
                    "recall": float(recall),
                    "ms": milliseconds,
                    "of_exact": milliseconds / bare,
                    "build_s": built,
                }
            )
    return rows


def steps(loaded: Any, recommender: Recommender, users: int) -> dict[str, float]:
    """Where the time of one recommendation goes, in milliseconds of CPU."""
    histories, _ = test_histories(loaded, users)
    named = [[loaded.item_ids[n] for n in one] for one in histories]
    states = recommender.states([one - 1 for one in histories])
    return {
        "encoder": per_user(lambda user: recommender.states([histories[user] - 1]), users),
        "bare FAISS search": per_user(
            lambda user: recommender.index.search(states[user : user + 1], K), users
        ),
        "recommend, all of it": per_user(lambda user: recommender.recommend(named[user], K), users),
        "similar": per_user(lambda user: recommender.similar(named[user][0], K), users),
        "search": per_user(
            lambda user: recommender.search(recommender.item(named[user][0]).title[:8]), users
        ),
    }


async def client(port: int, bodies: list[bytes], until: float, took: list[float], errors: list[str]) -> None:
    """One connection, one question after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    at = 0
    while time.perf_counter() < until:
        body = bodies[at % len(bodies)]
        at += 1
        started = time.perf_counter()
        try:
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            items = json.loads(await reader.readexactly(length)).get("items")
            if not answer.startswith(b"HTTP/1.1 200") or len(items) != K:
                errors.append(answer[:40].decode())
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
            errors.append(repr(error))
            return
        took.append(time.perf_counter() - started)
    writer.close()


async def clients(port: int, number: int, seconds: float, bodies: list[bytes]) -> dict[str, Any]:
    """Latencies and errors of all clients."""
    took: list[float] = []
    errors: list[str] = []
    started = time.perf_counter()
    shares = [bodies[at::number] for at in range(number)]
    await asyncio.gather(*(client(port, share, started + seconds, took, errors) for share in shares))
    elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return {
        "clients": number,
        "seconds": elapsed,
        "answers": len(took),
        "errors": len(errors),
        "first_errors": errors[:3],
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "answers_a_second": len(took) / elapsed,
    }


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def under_load(folder: Path, bodies: list[bytes], number: int, seconds: float) -> dict[str, Any]:
    """Start the service as a person does, and ask it."""
    command = [
        sys.executable,
        "-m",
        "recbole_unisid.commands.main",
        "serve",
        f"--export={folder}",
        "--port=0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        port = int(service.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
        try:
            asyncio.run(clients(port, number, 2, bodies))  # warm
            before = cpu_seconds(service.pid)
            found = asyncio.run(clients(port, number, seconds, bodies))
            found["cpu_ms_an_answer"] = (cpu_seconds(service.pid) - before) / found["answers"] * 1000
            usage = Path(f"/proc/{service.pid}/status").read_text()
        finally:
            service.send_signal(signal.SIGTERM)
    peak = next(line for line in usage.splitlines() if line.startswith("VmHWM"))
    return found | {"peak_memory": " ".join(peak.split()[1:])}


def main() -> None:
    """Print the three parts as JSON."""
    run, *rest = sys.argv[1:]
    options = parse_options(rest)
    users, seconds = int(options.get("users", 1000)), float(options.get("seconds", 60))
    faiss.omp_set_num_threads(1)
    loaded = load(run, data_path=options.get("data_path", "dataset"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(loaded, Path(scratch) / "export")
        recommender = Recommender(folder)
        histories, _ = test_histories(loaded, users)
        found: dict[str, Any] = {"machine": machine(), "load": os.getloadavg()}
        found["parity"] = parity(loaded, recommender, users)
        found["steps_ms"] = steps(loaded, recommender, users)
        states = recommender.states([one - 1 for one in histories])
        found["indexes"] = indexes(recommender.vectors, states)
        noise = np.random.default_rng(1).normal(size=(10, *recommender.vectors.shape)).astype(np.float32)
        tenfold = (recommender.vectors + 0.1 * recommender.vectors.std() * noise).reshape(-1, noise.shape[-1])
        found["indexes_tenfold"] = indexes(np.ascontiguousarray(tenfold), states[:200])
        bodies = [json.dumps({"history": [loaded.item_ids[n] for n in one]}).encode() for one in histories]
        found["service"] = under_load(folder, bodies, int(options.get("clients", 64)), seconds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
