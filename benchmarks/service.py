"""What the service bears: clients at work beside idle and half-sent connections, a stop under load, and throughput.

    python benchmarks/service.py EXPORT [--seconds=60] [--clients=64] [--idle=2000] [--workers=2]
        [--before=CHECKOUT] [--before_export=FOLDER]

EXPORT is a folder that `recbole-unisid export` wrote. Clients ask on loopback, each again as soon as it has an answer,
and share the machine with the service. Parts (`--parts=14`, say):

1. Clients alone, then beside connections that send nothing, half of the headers or half of a body, and are made anew
   whenever the service closes them: errors, latencies, and the size of the log.
2. SIGTERM while clients ask, on kept connections and on new ones: what became of every request that was sent.
3. With --before: answers a second of this service and of an older checkout's, in turns; the older one serves
   --before_export where it cannot read EXPORT.
4. Versions that change while clients ask: a promotion every four seconds, half of them killed (kill -9) on their way:
   every status, latencies, and which version was current after each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.commands.options import parse_options, positional
from recbole_unisid.serving.versions import Versions, copy_of

K = 10
HEAD = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "


@contextmanager
def serving(export: str, checkout: str, workers: int, kind: str = "export") -> Iterator[tuple[int, Any, Any]]:
    """Start the service as a person does; its port, its process, and its log."""
    command = [
        sys.executable,
        "-m",
        "recbole_unisid.commands.main",
        "serve",
        f"--{kind}={Path(export).resolve()}",
        "--port=0",
    ]
    command += [f"--workers={workers}"] if workers > 1 else []
    with tempfile.TemporaryFile() as log:
        service = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=checkout.split(":")[0],  # -m looks here first
            env=os.environ | {"PYTHONPATH": checkout},
        )
        assert service.stdout is not None
        try:
            port = int(service.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
            yield port, service, log
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)


async def ask(reader: Any, writer: Any, body: bytes) -> int:
    """Send a request and read its answer; the status, 0 where the connection ended without a byte of one."""
    writer.write(f"{HEAD}{len(body)}\r\n\r\n".encode() + body)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return -1 if error.partial else 0
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    answer = json.loads(await reader.readexactly(length))
    status = int(head.split()[1])
    return status if status != 200 or len(answer["items"]) == K else -1


async def client(
    port: int, bodies: list[bytes], until: float, fresh: bool, took: list[float], seen: Any
) -> None:
    """One question after the other, on one connection or a fresh one each, until refused."""
    reader = writer = None
    for at in range(1 << 30):
        if time.perf_counter() >= until:
            break
        started = time.perf_counter()
        if writer is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                seen["not connected"] += 1  # the service has stopped: nothing was sent
                return
        try:
            status = await ask(reader, writer, bodies[at % len(bodies)])
        except ConnectionResetError:
            status = -2
        took.append(time.perf_counter() - started)
        seen[{0: "closed without answer", -1: "broken answer", -2: "reset"}.get(status, status)] += 1
        if status != 200:
            break
        if fresh:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def clients(
    port: int, bodies: list[bytes], number: int, seconds: float, fresh: bool = False
) -> dict[str, Any]:
    """Latencies and statuses of all clients."""
    took: list[float] = []
    seen: Counter[Any] = Counter()
    started = time.perf_counter()
    until = started + seconds
    await asyncio.gather(*(client(port, bodies[n::number], until, fresh, took, seen) for n in range(number)))
    elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    rate = seen[200] / elapsed
    return {"seen": {str(k): n for k, n in seen.items()}, "a_second": rate, "p50_ms": p50, "p99_ms": p99}


async def idler(port: int, seconds: float, kind: int) -> int:
    """A connection that sends nothing, half of the headers, or half of a body, made anew when it is closed."""
    sent = [b"", HEAD[:60].encode(), f"{HEAD}100\r\n\r\n".encode() + b'{"history"'][kind]
    until, made = time.perf_counter() + seconds, 0
    while (left := until - time.perf_counter()) > 0:
        with suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            made += 1
            writer.write(sent)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(), left)
            writer.close()
        await asyncio.sleep(random.random())
    return made


async def idlers(port: int, number: int, seconds: float) -> int:
    return sum(await asyncio.gather(*(idler(port, seconds, n % 3) for n in range(number))))


def beside_idlers(export: str, bodies: list[bytes], options: dict[str, Any]) -> dict[str, Any]:
    """Part 1; the idle connections are another process's, as strangers' are."""
    number, seconds, idle = options["clients"], options["seconds"], options["idle"]
    with serving(export, options["here"], options["workers"]) as (port, _, log):
        asyncio.run(clients(port, bodies, number, 2))  # warm
        alone = asyncio.run(clients(port, bodies, number, seconds / 2))
        code = f"import asyncio, service; print(asyncio.run(service.idlers({port}, {idle}, {seconds + 3})))"
        here = Path(__file__).parent
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, text=True
        ) as others:
            time.sleep(3)
            beside = asyncio.run(clients(port, bodies, number, seconds))
            made = int(others.communicate()[0])
        size = os.fstat(log.fileno()).st_size
    return {
        "alone": alone,
        "beside": beside,
        "idle_connections_made": made,
        "p99_beside_of_alone": beside["p99_ms"] / alone["p99_ms"],
        "log_bytes": size,
    }


def stop_under_load(export: str, bodies: list[bytes], options: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """Part 2."""
    with serving(export, options["here"], options["workers"]) as (port, service, log):

        async def both() -> dict[str, Any]:
            asking = asyncio.create_task(clients(port, bodies, options["clients"], 20, fresh))
            await asyncio.sleep(3)
            service.send_signal(signal.SIGTERM)
            return await asking

        found = asyncio.run(both())
        stopped = service.wait(30)
        log.seek(0)
        return {"seen": found["seen"], "status": stopped, "log": log.read(2000).decode()}


def side_by_side(export: str, bodies: list[bytes], options: dict[str, Any]) -> dict[str, Any]:
    """Part 3."""
    number, seconds, rounds = options["clients"], options["seconds"] / 6, []
    for _ in range(3):
        with serving(options["before_export"] or export, options["before"], 1) as (port, *_):
            asyncio.run(clients(port, bodies, number, 2))
            before = asyncio.run(clients(port, bodies, number, seconds))
        with serving(export, options["here"], options["workers"]) as (port, *_):
            time.sleep(5)
            asyncio.run(clients(port, bodies, number, 2))
            after = asyncio.run(clients(port, bodies, number, seconds))
        ratios = {key: after[key] / before[key] for key in ("a_second", "p50_ms", "p99_ms")}
        rounds.append({"before": before, "after": after, "ratios": ratios})
    return {"rounds": rounds}


def promotions(folder: Path, seconds: float) -> dict[str, Any]:
    """Promote one version and the other until the time is over, and kill every second command on its way."""
    until, done, killed, current = time.perf_counter() + seconds, 0, 0, []
    draw, versions = random.Random(0), Versions(folder)
    while time.perf_counter() < until - 4:
        name = "2" if versions.current() == "1" else "1"
        command = [
            sys.executable,
            "-m",
            "recbole_unisid",
            "versions",
            "promote",
            str(folder),
            f"--name={name}",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as promotion:
            if (done + killed) % 2:
                time.sleep(draw.uniform(0.2, 3.0))
                promotion.kill()
            killed += promotion.wait() == -signal.SIGKILL
            done += promotion.returncode == 0
        current.append(versions.current())
        time.sleep(max(0.0, min(4.0, until - time.perf_counter())))
    return {"promotions": done, "killed": killed, "current_after_each": current}


def reloading(export: str, bodies: list[bytes], options: dict[str, Any]) -> dict[str, Any]:
    """Part 4."""
    with tempfile.TemporaryDirectory() as place:
        versions = Versions(Path(place) / "live")
        for _ in range(2):
            versions.add(copy_of(Path(export)))
        versions.promote("1")
        number, seconds = options["clients"], options["seconds"]
        with serving(str(versions.folder), options["here"], options["workers"], "versions") as (port, _, log):
            asyncio.run(clients(port, bodies, number, 2))  # warm
            alone = asyncio.run(clients(port, bodies, number, seconds / 4))

            async def both() -> list[Any]:
                changing = asyncio.to_thread(promotions, versions.folder, seconds)
                return await asyncio.gather(clients(port, bodies, number, seconds), changing)

            beside, changes = asyncio.run(both())
            log.seek(0)
            said = log.read(2000).decode()
    return {"without_promotions": alone, "with_promotions": beside, **changes, "log": said}


def main() -> None:
    """Print the parts as JSON."""
    export, rest = positional(sys.argv[1:])
    given = parse_options(rest)
    options: dict[str, Any] = {
        "seconds": 60.0,
        "clients": 64,
        "idle": 2000,
        "workers": 2,
        "parts": "123",
        "before_export": "",
    }
    options = {key: type(value)(given.get(key, value)) for key, value in options.items()}
    options |= {
        "before": given.get("before", "") and str(Path(given["before"]).resolve()),
        "here": str(Path(__file__).resolve().parents[1]),
    }
    assert export is not None
    ids = json.loads((Path(export) / "items.json").read_text())["ids"]
    draw = random.Random(0)
    histories = [draw.choices(ids, k=draw.randint(1, 50)) for _ in range(1000)]
    bodies = [json.dumps({"history": one, "k": K}).encode() for one in histories]
    found: dict[str, Any] = {"load": os.getloadavg()}
    if "1" in options["parts"]:
        found["beside_idlers"] = beside_idlers(export, bodies, options)
    if "2" in options["parts"]:
        found["stop_on_kept_connections"] = stop_under_load(export, bodies, options, False)
        found["stop_on_new_connections"] = stop_under_load(export, bodies, options, True)
    if "3" in options["parts"] and options["before"]:
        found["side_by_side"] = side_by_side(export, bodies, options)
    if "4" in options["parts"]:
        found["reloading"] = reloading(export, bodies, options)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
