"""The service on a socket of its own."""

from __future__ import annotations

import contextlib
import socket

import uvicorn

from recbole_unisid.errors import UserError
from recbole_unisid.serving.recommender import ItemRecommender
from recbole_unisid.serving.service import create_app

#: Seconds that open requests have to end when the service is stopped.
_GRACE = 5


def serve(recommender: ItemRecommender, model: str, dataset: str, host: str, port: int) -> None:
    """Serve until stopped (Ctrl-C or SIGTERM).

    Parameters
    ----------
    recommender : ItemRecommender
        Answers.
    model, dataset : str
        Names for the page.
    host : str
        An address of this machine.
    port : int
        0 takes a free one.

    Raises
    ------
    UserError
        When the address cannot be had.
    """
    with _bind(host, port) as bound:
        app = create_app(recommender, model, dataset)
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_GRACE, server_header=False
        )
        # The socket listens already: what is asked from now on waits until the server takes it.
        name = f"[{host}]" if ":" in host else host
        print(
            f"{model} on {dataset}: http://{name}:{bound.getsockname()[1]}/ (API at /docs); Ctrl-C stops.",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended well and passes the signal on
            uvicorn.Server(config).run(sockets=[bound])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}; name another --host or --port."
        ) from error
