"""What a request may bring, and the middleware that stops what is larger before it is read."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

#: Bytes of a request's body.
MAX_BODY = 1_000_000
#: Items of a history.
MAX_HISTORY = 1_000
#: Items of an answer.
MAX_K = 100
#: Characters of an item's name, and of a search.
MAX_TEXT = 500
#: Bytes of a refused body that are still taken (and dropped): most clients read no answer before they have sent all.
_DRAINED = 100_000_000


class BodyLimit:
    """ASGI middleware: a body above the limit is answered 413, whether its length is told or not.

    Parameters
    ----------
    app : ASGI application
    limit : int
        Bytes.
    """

    def __init__(self, app: App, limit: int = MAX_BODY) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        told = headers.get(b"content-length", b"0")
        too_large = not told.isdigit() or len(told) > 18 or int(told) > self.limit
        if too_large and headers.get(b"expect", b"").lower() == b"100-continue":
            await self._refuse(send)  # a client that asks first need not send anything
            return
        # Bodies are small: read here, and handed on in one piece.
        body, taken, more = bytearray(), 0, True
        while more and taken < _DRAINED:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            taken, more = taken + len(part), message.get("more_body", False)
            too_large = too_large or taken > self.limit
            if not too_large:
                body += part
        if too_large:
            await self._refuse(send)
        else:
            await self.app(scope, _replay(bytes(body), receive), send)

    async def _refuse(self, send: Send) -> None:
        content = json.dumps({"error": f"the body is above {self.limit} bytes."}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what comes next."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
