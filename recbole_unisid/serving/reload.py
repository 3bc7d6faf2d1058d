"""Another version in the place of the one that is served, without a request lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from recbole_unisid.serving.service import Served, Service

LOG = logging.getLogger("recbole_unisid")

#: Makes what is served; runs once in every worker, and again where another version is current.
Maker: TypeAlias = Callable[[], Served]
#: Names the version that is current.
Current: TypeAlias = Callable[[], str]


class Follower:
    """Goes over to the version that is current. It is read beside the service, which answers meanwhile as before."""

    def __init__(self, service: Service, make: Maker, current: Current) -> None:
        self._service, self._make, self._current = service, make, current
        self._refused: str | None = None  # what could not be read is not read again and again
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """See whether another version is current, in the background."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        name, served = "", self._service.served.version
        try:
            name = await asyncio.to_thread(self._current)
            if name == served:
                self._refused = None  # gone back; a later promotion is tried again
            elif name != self._refused:
                self._service.put(await asyncio.to_thread(self._make))
                self._refused = None
        except Exception as error:  # whatever it is, the version that is served is whole
            if self._refused != name:
                LOG.warning("Version %s cannot be served (%s); %s goes on.", name, error, served)
            self._refused = name
