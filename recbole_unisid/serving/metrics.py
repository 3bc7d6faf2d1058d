"""What the service tells Prometheus: requests by status, their times, and what is served, over all its workers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CONTENT_TYPE_LATEST as METRICS_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

__all__ = ["METRICS_TYPE", "Metrics", "forget_process", "shared_between_processes"]

#: Where the library keeps the numbers of several processes; it reads this when it is imported.
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_PATHS = frozenset({"/recommend", "/similar", "/items", "/health", "/metrics", "/", "/docs"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counts of this process, shown together with those of the other workers."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        start, path = "recbole_unisid_", "path"
        self._requests = Counter(f"{start}requests", "Answers by status.", [path, "status"], registry=own)
        self._seconds = Histogram(
            f"{start}request_seconds", "From a request to its answer.", [path], buckets=_SECONDS, registry=own
        )
        self._workers = Gauge(
            f"{start}workers",
            "Workers that serve a version.",
            ["version"],
            multiprocess_mode="livesum",
            registry=own,
        )
        self._items = Gauge(
            f"{start}items", "Items of the catalogue.", multiprocess_mode="livemostrecent", registry=own
        )
        self._version: str | None = None

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; paths that the service does not know are one."""
        path = path if path in _PATHS else "other"
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def serve(self, version: str, items: int) -> None:
        """Tell what this process serves from here on."""
        if self._version is not None:
            self._workers.labels(self._version).set(0)
        self._workers.labels(version).set(1)
        self._items.set(items)
        self._version = version

    def exposition(self) -> bytes:
        """The numbers of all workers, as Prometheus reads them."""
        registry, folder = self._registry, os.environ.get(_SHARED)
        if folder is not None:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


@contextmanager
def shared_between_processes() -> Iterator[None]:
    """Have processes that are started meanwhile keep their numbers in one folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_SHARED] = folder
        try:
            yield
        finally:
            del os.environ[_SHARED]


def forget_process(number: int) -> None:
    """Leave a process that has ended out of what is told of living ones; what it counted stays."""
    multiprocess.mark_process_dead(number, os.environ[_SHARED])  # type: ignore[no-untyped-call]
