"""Servers on this machine that hold Amazon Beauty's originals, a small one, and fail as they are told to."""

import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.sources import catalogue
from recbole_unisid.errors import UserError

REVIEWS, META = "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"
USERS, ITEMS = 12, 8


def reviews() -> bytes:
    """Every user meets every item, in the 2014 format."""
    lines = [
        json.dumps(
            {
                "reviewerID": f"A{user}",
                "asin": f"B{item}",
                "overall": 4.0,
                "unixReviewTime": 1_300_000_000 + 86_400 * ((item * 5 + user) % ITEMS),
            }
        )
        for item in range(ITEMS)
        for user in range(USERS)
    ]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


def metadata() -> bytes:
    """Python literals, as in 2014."""
    lines = [repr({"asin": f"B{item}", "title": f'Thing {item} "so" it\'s'}) for item in range(ITEMS)]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


@dataclass
class Shelf:
    """What a server gives, and how badly.

    `cut` is how often it stops half-way; `ranges` whether it knows them.
    """

    files: dict[str, bytes]
    cut: int = 0
    ranges: bool = True
    dead: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's shelf."""

    def do_GET(self) -> None:
        shelf: Shelf = self.server.shelf  # type: ignore[attr-defined]
        wanted_range = self.headers.get("Range")
        name = self.path.rpartition("/")[2]
        shelf.asked.append((name, wanted_range))
        if shelf.dead or name not in shelf.files:
            self.send_error(503 if shelf.dead else 404)
            return
        body, start = shelf.files[name], 0
        if wanted_range and shelf.ranges:
            start = int(wanted_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if shelf.cut:
            shelf.cut -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def servers() -> Iterator[Callable[..., Shelf]]:
    """A function that starts a server for a shelf with the options given; all are stopped at the end."""
    running = []

    def start(**options: object) -> Shelf:
        shelf = Shelf(files={REVIEWS: reviews(), META: metadata()})
        for name, value in options.items():
            setattr(shelf, name, value)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.shelf = shelf  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        running.append(server)
        shelf.url = f"http://127.0.0.1:{server.server_address[1]}/files"
        return shelf

    try:
        yield start
    finally:
        for server in running:
            server.shutdown()
            server.server_close()


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, which must be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


def prepare_from(data_path: Path, *shelves: Shelf) -> None:
    """Prepare amazon-beauty from servers alone."""
    prepare(
        "amazon-beauty",
        data_path,
        mirrors=[shelf.url for shelf in shelves],
        check_counts=False,
        progress=False,
    )


def no_public_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the known addresses by one where nothing listens, so that no test leaves this machine."""
    known = catalogue.CATALOGUE["amazon-beauty"]
    nowhere = {
        role: replace(original, urls=(f"http://127.0.0.1:9/{original.file}",))
        for role, original in (("interactions", known.interactions), ("items", known.items))
    }
    monkeypatch.setitem(catalogue.CATALOGUE, "amazon-beauty", replace(known, **nowhere))
