"""An export without training, of a catalogue with hostile titles, and the service in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from recbole_unisid.models.backbones.base import TransformerSettings
from recbole_unisid.models.backbones.transformer import CausalTransformer
from recbole_unisid.serving.export import export

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 2'>",
    "&lt;b&gt; is no markup & never was",
    "“quoted” \"quoted\" 'quoted' `${window.hacked = 3}` {{7 * 7}} $title",
    "שלום עולם \u202eright-to-left override",
    "a line\u2028separator, a tab\tand a bell\x07",
    "W" * 10_000,
    "Crème brûlée de Müller",
]
N_ITEMS, WIDTH, MAX_LENGTH, LEVELS = 120, 12, 6, 3
#: Files of an export, the description first and the code last.
FILES = (
    "manifest.json",
    "items.json",
    "vectors.safetensors",
    "index.faiss",
    "encoder.onnx",
    "recommender.py",
)
WORDS = ("lavender", "shampoo", "brush", "mirror", "soap", "cream", "blade", "comb")


class UntrainedRun(SimpleNamespace):
    """What the export reads of a loaded run, with random weights."""

    def __init__(self, n_items: int = N_ITEMS, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        torch.manual_seed(seed)
        transformer = CausalTransformer(WIDTH, TransformerSettings(MAX_LENGTH, 2, 2, 8, 16, 0.1, 0.1)).eval()
        plain = [f"{WORDS[k % 8]} {WORDS[(k // 8) % 8]} {k}" for k in range(len(HOSTILE) + 1, n_items + 1)]
        super().__init__(
            path=Path("runs/toys/UniSID/2020-0123456789ab"),
            config={"model": "UniSID", "dataset": "toys"},
            model=SimpleNamespace(transformer=transformer, max_seq_length=MAX_LENGTH),
            item_ids=["[PAD]", *(f"i{k}" for k in range(1, n_items + 1))],
            titles=["", *HOSTILE, *plain],
            codes=generator.integers(0, 4, (n_items + 1, LEVELS)),
            item_vectors=generator.normal(size=(n_items + 1, WIDTH)).astype(np.float32),
        )

    def scores(self, histories: list[Any]) -> Any:
        """[histories, n_items + 1], one history at a time, by torch alone."""
        vectors = torch.from_numpy(self.item_vectors)
        rows = []
        with torch.no_grad():
            for history in histories:
                recent = torch.as_tensor(np.asarray(history)[-MAX_LENGTH:])
                rows.append(vectors @ self.model.transformer(vectors[recent][None])[0, -1])
        return torch.stack(rows).numpy()


def write_export(folder: Path, index: str = "auto") -> Path:
    """Export the untrained run."""
    return export(UntrainedRun(), folder, index)


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


class Service:
    """``recbole-unisid serve`` on a free port of this machine, in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "recbole_unisid.commands.main", "serve", *arguments, "--port=0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        assert "http://" in self.greeting, self.process.communicate()[1]
        self.address = "http://" + self.greeting.split("http://")[1].split()[0]

    def ask(
        self, question: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the answer; a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + question, data, kind | (headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def recommended(self, history: list[str], **more: Any) -> list[str]:
        """Names of the items recommended after a history."""
        status, answer = self.ask("recommend", {"history": history, **more})
        assert status == 200, answer
        return [item["id"] for item in answer["items"]]

    def stop(self) -> tuple[int, str]:
        """End it as a service manager would; the exit status and what it wrote on standard error."""
        self.process.send_signal(signal.SIGTERM)
        error = self.process.communicate(timeout=30)[1]
        return self.process.returncode, error
