"""The service on a socket: deadlines, a bound on connections, several workers, and an end that loses no request.

uvicorn closes connections that are idle after an answer; it waits for ever for the rest of a request and for a client
that takes no answer, and when it stops it resets connections on which a request has just arrived. What is missing is
added to its own classes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import multiprocessing
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import connection
from typing import Any, ClassVar

import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recbole_unisid.errors import UserError
from recbole_unisid.interruption import STOPS, deafen, listen
from recbole_unisid.serving.metrics import forget_process, shared_between_processes
from recbole_unisid.serving.reload import Current, Follower, Maker
from recbole_unisid.serving.service import LOOPBACK, Service, problem

LOG = logging.getLogger("recbole_unisid")
#: Seconds for the headers of a request, for its body, for a client to take an answer, and between two requests.
HEADERS, BODY, ANSWER, IDLE = 10.0, 20.0, 20.0, 5
#: When the service stops: seconds in which further requests are still refused in words, and to end what has begun.
LINGER, GRACE = 0.5, 8
#: Connections of a process at most, where so many files may be open.
MOST_CONNECTIONS = 8192
#: Lines of the log in a minute at most: no client can fill a disk.
_MOST_LINES = 10

#: Seconds between two looks at which version is current.
LOOK = 1.0


def serve(
    make: Maker,
    host: str,
    port: int,
    allowed_hosts: Sequence[str] = LOOPBACK,
    workers: int = 1,
    current: Current | None = None,
) -> None:
    """Serve until stopped (Ctrl-C or SIGTERM).

    `allowed_hosts` are names that requests may give as theirs of this service; ``*`` is any. Several workers are
    processes, each with a socket of its own on the same port: the kernel shares connections out; `make` must be
    picklable for them. Where `current` names another version than is served, each makes that and goes over to it;
    requests that are being answered are answered by the one before.
    """
    made = make()  # also where only workers use it: what cannot be served is one line, here
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in _bind(host, port, workers)]
        # The sockets listen already: what is asked from here on waits until a worker takes it.
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{sockets[0].getsockname()[1]}/"
        greeting = f"{made.model} on {made.dataset}: {address} (API at /docs); Ctrl-C stops."
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended well and passes the signal on
            if workers == 1:
                _hold_stops()
                print(greeting, flush=True)
                make_server(Service(made, allowed_hosts), make, current).run(sockets)
            else:
                del made
                with shared_between_processes():
                    _keep_workers(partial(_work, make, allowed_hosts, current), sockets, greeting)
        deafen()


def _bind(host: str, port: int, workers: int) -> list[socket.socket]:
    """A listening socket for each worker."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        first = socket.create_server(address[:2], family=family, backlog=2048)
        if workers == 1:
            return [first]
        with first:  # one that is alone on the port tells whether it is free; those of the workers share it
            address = first.getsockname()
        return [
            socket.create_server(address[:2], family=family, backlog=2048, reuse_port=True)
            for _ in range(workers)
        ]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"Cannot listen on {host}, port {port}: {reason}; name another --host or --port."
        ) from error


def _keep_workers(work: Callable[..., None], sockets: Sequence[socket.socket], greeting: str) -> None:
    """Run a worker for each socket, and another in the place of one that has died."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of the libraries' threads
    ready = context.Semaphore(0)

    def start(own: socket.socket) -> Any:
        worker = context.Process(target=work, args=(own, ready))
        worker.start()
        return worker

    workers = [start(own) for own in sockets]
    try:
        if not all(ready.acquire(timeout=60) for _ in workers):
            raise UserError("A worker did not begin within a minute; the log above may say why.")
        print(greeting, flush=True)
        while True:
            connection.wait([worker.sentinel for worker in workers])
            for at, worker in enumerate(workers):
                if not worker.is_alive():
                    LOG.warning("A worker ended with status %s; another takes its place.", worker.exitcode)
                    forget_process(worker.pid)
                    time.sleep(1)
                    workers[at] = start(sockets[at])
    finally:
        deafen()  # the end takes no longer than GRACE
        for own in sockets:
            own.close()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _work(
    make: Maker, allowed_hosts: Sequence[str], current: Current | None, own: socket.socket, ready: Any
) -> None:
    listen()
    _hold_stops()
    with contextlib.suppress(KeyboardInterrupt):
        service = Service(make(), allowed_hosts)
        ready.release()
        make_server(service, make, current).run([own])
    deafen()


def _hold_stops() -> None:
    """Let a stop wait until the server runs, and ends as it should."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def make_server(
    service: Service, make: Maker | None = None, current: Current | None = None
) -> uvicorn.Server:
    """A service's server in this process, with its log; `make` and `current` as in :func:`serve`."""
    log = logging.StreamHandler()
    log.addFilter(_FewLines())
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[log])
    files = _open_files()
    # One round of the event loop accepts so many, and counts them three rounds later.
    backlog = min(1024, files // 8)
    _Connection.most = max(16, min(MOST_CONNECTIONS, files - 4 * backlog - 64))
    config = uvicorn.Config(
        service.app,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a malformed request is the client's matter
        access_log=False,
        backlog=backlog,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
    )
    return _Server(config, None if make is None or current is None else Follower(service, make, current))


def _open_files() -> int:
    """Files that this process may have open at once, after asking for as many as it may ask for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if most == resource.RLIM_INFINITY else min(most, 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted


class _FewLines(logging.Filter):
    """Lets some lines a minute through and says where others are left out."""

    started, count = -60.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self.started >= 60:
            self.started, self.count = now, 0
        self.count += 1
        if self.count == _MOST_LINES:
            record.msg, record.args = f"{record.getMessage()}\n(the rest of this minute is left out)", None
        return self.count <= _MOST_LINES


class _Connection(HttpToolsProtocol):
    """A connection with deadlines for what its client sends and takes."""

    most: ClassVar[int] = MOST_CONNECTIONS
    _timer: asyncio.TimerHandle | None = None
    #: Whether the client is to send something, a request or the rest of one; and whether the rest of a body.
    _awaited, _in_body = True, False
    #: When the last answer was complete, or the connection was made.
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Of a socket that is bound beforehand asyncio's loop does not set it, and the body of an answer waits some
        # 40 ms until the client has acknowledged the head (Kludex/uvicorn issue 3149).
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since = self.loop.time()
        self._expect(HEADERS)
        if len(self.connections) > self.most:
            # Those go that have waited longest: clients at work have just been answered.
            waiting = [one for one in self.connections if isinstance(one, _Connection) and one._awaited]
            for one in heapq.nsmallest(1 + self.most // 50, waiting, key=lambda one: one._since):
                one.refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is None and self._awaited:
            self._expect(HEADERS)  # of a further request
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open: a client that has sent its request may close its side."""
        if self._awaited:
            return False
        self.cycle.keep_alive = False
        return True

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._expect(BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = self._awaited = False
        self._expect(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        self._awaited = self._in_body or not self.pipeline
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._expect(ANSWER)
        elif self._in_body:
            self._expect(BODY)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect(ANSWER)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect(BODY if self._in_body else None)

    def shutdown(self) -> None:
        """End the connection when its request is answered; at once where none is whole."""
        if self._in_body:
            self.refuse(503)
        else:
            super().shutdown()

    def refuse(self, status: int) -> None:
        """Answer without the application, and close."""
        if self._in_body and self.cycle.response_started:
            self.transport.abort()
            return
        body = bytes(problem(status).body)
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # nobody takes the answer
        elif self.flow.read_paused:
            self._expect(BODY)  # it is the service that is slow
        elif self._awaited:
            self.refuse(408)


class _Server(uvicorn.Server):
    """Ends what was received and refuses what comes then, for a moment, with 503; follows the current version."""

    def __init__(self, config: uvicorn.Config, follower: Follower | None) -> None:
        super().__init__(config)
        self._follower, self._looked = follower, time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.loaded_app = _stopping  # for connections to come
        for one in self.server_state.connections:
            if isinstance(one, _Connection):
                one.app = _stopping
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            self.should_exit = True  # its supervisor was killed
        if self._follower is not None and time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            self._follower.look()
        return await super().on_tick(counter)


async def _stopping(scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = {"more_body": True}
    while message.get("more_body"):  # most clients read no answer before they have sent all
        message = await receive()
    answer = problem(503)
    answer.headers["connection"] = "close"
    await answer(scope, receive, send)
