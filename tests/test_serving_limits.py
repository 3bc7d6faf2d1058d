"""What neighbours of a service may do: keep it waiting, crowd it, call it by other names, and ask while it stops."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

import pytest
import uvicorn
from serving_material import Service as Running
from serving_material import write_export

from recbole_unisid.commands.main import main
from recbole_unisid.serving import server, service
from recbole_unisid.serving.recommender import Recommender
from recbole_unisid.serving.service import Served, Service

BODY = json.dumps({"history": ["i1"], "k": 3}).encode()
HEAD = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
WHOLE = HEAD + str(len(BODY)).encode() + b"\r\n\r\n" + BODY
#: What a client may send and then wait for ever.
PARTS = {"nothing": b"", "half the headers": HEAD[:50], "half a body": WHOLE[:-5]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    return write_export(tmp_path_factory.mktemp("limits") / "export")


@pytest.fixture
def start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, int]]]:
    """A service in a thread of this process, with settings of the server's module; its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(**settings: object) -> tuple[str, int]:
        for name, value in settings.items():
            monkeypatch.setattr(server, name, value)
        made = server.make_server(Service(Served(Recommender(folder), "UniSID", "toys", "1")))
        own = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=made.run, args=([own],))
        running.append((made, thread))
        address = own.getsockname()
        thread.start()
        return address

    yield started
    for made, thread in running:
        made.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def ask(address: tuple[str, int], sent: bytes = WHOLE, half_close: bool = False) -> bytes:
    """The answer on a connection of its own, head and body."""
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(sent)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        return answer_on(client)


def answer_on(client: socket.socket) -> bytes:
    """One answer, in however many pieces it comes; what there was of it where the service closes."""
    came = b""
    while piece := client.recv(1 << 16):
        came += piece
        head, end, body = came.lower().partition(b"\r\n\r\n")
        if end and len(body) >= int(head.split(b"content-length: ")[1].split(b"\r\n")[0]):
            break
    return came


@pytest.mark.parametrize("answered", [0, 1])
@pytest.mark.parametrize("part", PARTS)
def test_a_client_that_keeps_the_service_waiting_is_let_go(
    part: str, answered: int, start: Callable[..., tuple[str, int]]
) -> None:
    """With 408, and it alone: others are answered. At its first request, and at one that follows an answer."""
    address = start(HEADERS=0.5, BODY=0.5, IDLE=1)
    with socket.create_connection(address, timeout=30) as client:
        for _ in range(answered):
            client.sendall(WHOLE)
            assert answer_on(client).startswith(b"HTTP/1.1 200")
        client.sendall(PARTS[part])
        assert ask(address).startswith(b"HTTP/1.1 200")
        came = b""
        while piece := client.recv(1 << 16):
            came += piece
    if answered and not PARTS[part]:
        assert came == b"", "it has asked nothing more"
    else:
        assert came.startswith(b"HTTP/1.1 408")
        assert json.loads(came.split(b"\r\n\r\n")[1])["error"]


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(folder: Path) -> None:
    """Every connection has TCP_NODELAY, of a socket that names no protocol too (asyncio sets it of others)."""
    made = server.make_server(Service(Served(Recommender(folder), "UniSID", "toys", "1")))
    made.config.load()
    delays: list[int] = []

    class Noted(server._Connection):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            delays.append(
                transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            )

    async def connect() -> None:
        own, state = socket.create_server(("127.0.0.1", 0)), made.server_state
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Noted(made.config, state, {}, loop), sock=own):
            _, writer = await asyncio.open_connection(*own.getsockname())
            while not delays:
                await asyncio.sleep(0.01)
            writer.close()

    asyncio.run(asyncio.wait_for(connect(), 10))
    assert delays
    assert all(delays)


def test_a_client_that_takes_no_answer_is_let_go(start: Callable[..., tuple[str, int]]) -> None:
    """One that asks for the same large file again and again, and reads nothing."""
    address = start(ANSWER=0.5)
    asking = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(asking * 20)
        time.sleep(2)
        came = 0
        with suppress(ConnectionError):
            while piece := client.recv(1 << 20):
                came += len(piece)
    assert came < 20 * len((service._SWAGGER / "swagger-ui-bundle.js").read_bytes())
    assert ask(address).startswith(b"HTTP/1.1 200")


def test_connections_are_bounded_and_those_that_wait_longest_go(
    start: Callable[..., tuple[str, int]],
) -> None:
    """A crowd of idle and half-sent connections does not keep a client at work from being answered."""
    address = start(MOST_CONNECTIONS=20)
    kept = http.client.HTTPConnection(*address, timeout=30)
    kinds = list(PARTS.values())[:3]
    crowd = []
    for n in range(60):
        one = socket.create_connection(address, timeout=30)
        one.sendall(kinds[n % 3])
        crowd.append(one)
        kept.request("POST", "/recommend", BODY, {"Content-Type": "application/json"})
        answer = kept.getresponse()
        assert (answer.status, len(json.loads(answer.read())["items"])) == (200, 3)
    assert ask(address).startswith(b"HTTP/1.1 200"), "a new client too"
    for one in crowd[:30]:
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 503")
    for one in [*crowd, kept]:
        one.close()


def test_a_client_that_has_closed_its_side_is_answered(start: Callable[..., tuple[str, int]]) -> None:
    """It has sent all it wants to, and reads."""
    address = start()
    assert ask(address, half_close=True).startswith(b"HTTP/1.1 200")
    assert ask(address, WHOLE[:-5], half_close=True) == b""


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"])
def test_other_names_are_refused(name: str, start: Callable[..., tuple[str, int]]) -> None:
    """A page of another site that a browser was made to take this machine for cannot ask (DNS rebinding)."""
    found = ask(start(), WHOLE.replace(b"localhost", name.encode()))
    assert found.startswith(b"HTTP/1.1 400")
    assert "allowed_hosts" in json.loads(found.split(b"\r\n\r\n")[1])["error"]


def test_allowed_hosts_is_a_setting(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and domains are added to loopback's; a pattern that means nothing is refused."""
    running = Running(f"--export={folder}", "--allowed_hosts=shop.example,*.shop.example")
    for name, status in (
        ("shop.example", 200),
        ("a.shop.example:80", 200),
        ("[::1]", 200),
        ("else.example", 400),
    ):
        assert running.ask("health", headers={"Host": name})[0] == status
    assert running.stop() == (0, "")
    assert main(["serve", f"--export={folder}", "--allowed_hosts=shop.*"]) == 2
    assert "shop.*" in capsys.readouterr().err
    assert main(["serve", f"--export={folder}", "--workers=0"]) == 2
    assert "--workers=0" in capsys.readouterr().err


def test_head_allow_and_redirects(start: Callable[..., tuple[str, int]]) -> None:
    """HEAD is GET without a body, 405 says what is allowed, and no address is answered by a redirect."""
    address = start()

    def ask_for(method: str, path: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Allow"), answer.read()

    for path in ("/health", "/", "/docs", "/items?limit=2"):
        assert ask_for("GET", path)[0] == 200
        assert ask_for("HEAD", path) == (200, None, b"")
    for method, path, allowed in (("DELETE", "/health", "GET"), ("GET", "/recommend", "POST")):
        status, allow, content = ask_for(method, path)
        assert (status, allow, list(json.loads(content))) == (405, allowed, ["error"])
    assert ask_for("GET", "/health/")[0] == 404


def test_the_log_cannot_flood(
    start: Callable[..., tuple[str, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Malformed requests are not logged, and what is logged is a few lines a minute."""
    address = start()
    for _ in range(50):
        assert ask(address, b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    records = [logging.LogRecord("any", logging.ERROR, "", 0, f"line {n}", None, None) for n in range(1000)]
    few = server._FewLines()
    shown = [record.getMessage() for record in records if few.filter(record)]
    assert shown[:9] == [f"line {n}" for n in range(9)]
    assert len(shown) == 10
    assert "left out" in shown[9]
    assert capfd.readouterr().err == ""


def load(address: str, clients: int, fresh: bool, stop: Callable[[], None]) -> Counter[object]:
    """Clients that ask without a pause while the service is stopped; what became of each request."""
    place = urlparse(address).netloc
    seen: Counter[object] = Counter()

    def one() -> None:
        connection = None
        while True:
            if connection is None or fresh:
                connection = http.client.HTTPConnection(place, timeout=60)
                try:
                    connection.connect()
                except OSError:
                    seen["not connected"] += 1
                    return
            try:
                connection.request("POST", "/recommend", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                seen[type(error).__name__] += 1
                return
            seen[answer.status] += 1
            if answer.status != 200:
                return

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    stop()
    for thread in threads:
        thread.join(60)
    return seen


@pytest.mark.parametrize(("fresh", "workers"), [(False, 1), (True, 1), (False, 2)])
def test_a_stop_under_load_loses_no_request(folder: Path, fresh: bool, workers: int) -> None:
    """Each is answered, or refused with 503; one that was half sent does not hold the stop up."""
    running = Running(f"--export={folder}", f"--workers={workers}")
    stuck = socket.create_connection(urlparse(running.address).netloc.split(":"), timeout=60)
    stuck.sendall(WHOLE[:-5])
    seen = load(running.address, 8, fresh, lambda: running.process.send_signal(signal.SIGTERM))
    assert set(seen) <= {200, 503, "not connected"}, seen
    assert seen[200] > 0
    assert seen[503] > 0
    assert stuck.recv(1 << 16).startswith(b"HTTP/1.1 503")
    error = running.process.communicate(timeout=30)[1]
    assert (running.process.returncode, error) == (0, "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_that_is_asked_for_again_is_no_traceback(folder: Path, workers: int) -> None:
    """A terminal sends Ctrl-C to all processes, and whoever started the service may send SIGTERM as well."""
    running = Running(f"--export={folder}", f"--workers={workers}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        for process in {running.process.pid, *children(running.process.pid)}:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        time.sleep(0.1)
    assert running.process.communicate(timeout=30)[1] == ""
    assert running.process.returncode in (0, -signal.SIGINT, -signal.SIGTERM)


def test_workers_share_the_vectors_and_are_replaced(folder: Path) -> None:
    """Two processes answer on one port; one that is killed is replaced, and none outlives its supervisor."""
    running = Running(f"--export={folder}", "--workers=2")
    first = children(running.process.pid)
    assert len(first) == 2
    for worker in first:
        assert "vectors.safetensors" in Path(f"/proc/{worker}/maps").read_text()
    assert len(running.recommended(["i1"])) == 10
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(children(running.process.pid) - first) == 1)
    second = children(running.process.pid)
    assert len(second - first) == 1
    assert [len(running.recommended(["i1"])) for _ in range(10)] == [10] * 10
    running.process.kill()
    running.process.communicate(timeout=30)
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in second))


def children(parent: int) -> set[int]:
    """The workers of a supervisor."""
    below = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(one) for one in below if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()}


def wait_for(found: Callable[[], object], seconds: float = 60) -> object:
    """What is found at last."""
    until = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
    return what


def test_a_port_that_is_taken_is_refused_for_workers_too(folder: Path) -> None:
    """Sockets of workers share a port with each other, with nobody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "recbole_unisid.commands.main", "serve", f"--export={folder}"]
        command += [f"--port={port}", "--workers=2"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert str(port) in line
