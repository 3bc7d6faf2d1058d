"""``recbole_unisid.load``: a finished run as a model with named items, in any later process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.errors import UserError
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.plugins.loading import code_of
from recbole_unisid.recbole_adapter.finished_run import (
    StoredConfig,
    StoredDataset,
    build_stored_model,
    stored_sequences,
)
from recbole_unisid.recbole_adapter.from_recbole import Interaction
from recbole_unisid.runs.stored import StoredRun, Version, read_run, read_version
from recbole_unisid.serving.requests import ItemLookup

LOG = logging.getLogger("recbole_unisid")
#: Histories that are encoded at once.
_CHUNK = 256


class LoadedRun:
    """A trained model with what its items are called. Made by :func:`load`.

    `items` are the items as a table, `version` is how it has grown since the training; `catalogue` is its number, 1 as
    trained. By item number, padding first, go `item_ids`, `titles` (the identifier where there is none) and `codes`,
    the tokens, int64 [n_items + 1, levels]; these and `tokenization` are None for models without.
    """

    def __init__(
        self,
        stored: StoredRun,
        config: StoredConfig,
        model: Any,
        version: Version,
        data_path: str | Path | None = None,
    ) -> None:
        self.stored, self.config, self.model = stored, config, model
        self.path, self._data_path, self.version = stored.path, data_path, version
        self.catalogue, self.items = version.number, version.catalogue
        self.item_ids, self.titles = self.items.item_ids, self.items.titles
        self.names = ItemLookup(self.item_ids, self.titles)
        self.codes: NDArray[np.int64] | None = None
        self.tokenization = stored.tokenization
        if self.tokenization is not None:
            codes = np.concatenate([self.tokenization.codes, version.added])
            self.tokenization = replace(self.tokenization, item_ids=self.item_ids[1:], codes=codes)
            self.codes = np.concatenate([np.zeros_like(codes[:1]), codes])

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.item_ids) - 1

    @cached_property
    def item_vectors(self) -> NDArray[np.float32] | None:
        """Items folded into one vector each, [n_items + 1, width]; a score is state @ vector. None for other models."""
        if not getattr(self.model, "scores_by_vectors", False):
            return None
        with torch.no_grad():
            vectors: NDArray[np.float32] = self.model.items.all_items().float().cpu().numpy()
        return vectors

    @cached_property
    def sequences(self) -> UserSequences | None:
        """Everybody's sequences in the data set, which must have the run's items; None where it is not at hand."""
        sequences = stored_sequences(self.stored.settings, self._data_path, self.stored.catalogue.item_ids)
        if sequences is not None and sequences.item_ids[1:].tolist() != self.stored.catalogue.item_ids[1:]:
            raise UserError(
                f"The data set '{self.config['dataset']}' has changed since {self.path} was made (other items): name "
                "the former one with --data_path, or run again."
            )
        return sequences

    def number_of(self, id_or_title: str) -> int:
        """The number of the one item of an identifier, a title, or a part of a title."""
        return self.names.number_of(id_or_title)

    @torch.no_grad()
    def states(self, histories: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Encode histories to [histories, width]; refused for a model without states.

        A history has item numbers, oldest first, at least one; the last ``MAX_ITEM_LIST_LENGTH`` are read.
        """
        if self.item_vectors is None:
            raise UserError(f"{self.config['model']} has no item vectors; use scores.")
        vectors = torch.from_numpy(self.item_vectors).to(self.model.device)
        parts = [np.zeros((0, vectors.shape[1]), dtype=np.float32)]
        for inputs, lengths in self._batches(histories):
            states = self.model.transformer(vectors[inputs])  # [chunk, longest, width]
            last = states[torch.arange(len(states), device=states.device), lengths - 1]
            parts.append(last.float().cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def scores(self, histories: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Score the catalogue as the evaluation does, [histories, n_items + 1]; column 0 is padding."""
        scores = np.empty((len(histories), self.n_items + 1), dtype=np.float32)
        start = 0
        for inputs, lengths in self._batches(histories):
            batch = Interaction({self.model.ITEM_SEQ: inputs, self.model.ITEM_SEQ_LEN: lengths})
            found = self.model.full_sort_predict(batch).float().view(len(inputs), -1)
            scores[start : start + len(inputs)] = found[:, : self.n_items + 1].cpu().numpy()
            start += len(inputs)
        if np.isnan(scores[:, 1:]).any():
            raise UserError(f"{self.path} gives scores that are not numbers; run again.")
        return scores

    @torch.no_grad()
    def parts(self, history: NDArray[np.int64], items: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """What adds up to the scores of items [k] after a history, [k] by name: a model's own, and its score terms'.

        The model's own score is parted as the item is (``model (tokens)``, ``model (ID)``) where it is a product of
        state and vector; else it is ``model`` alone.
        """
        chosen, model = torch.from_numpy(items).to(self.model.device), self.model
        if self.item_vectors is None:
            return {"model": self.scores([history])[0, items]}
        state = torch.from_numpy(self.states([history])[0]).to(model.device)
        found, (vectors, ids) = {}, model.items.parts(chosen)
        if vectors is not None:
            found[f"model ({model.items.semantic.label})"] = vectors @ state[: vectors.shape[1]]
        if ids is not None:
            lift = model.items.lift
            found["model (ID)"] = ids @ state[-ids.shape[1] :] if lift is None else lift(ids) @ state
        if getattr(model, "terms", None) is not None:
            ((inputs, _),) = self._batches([history])
            found |= model.terms.parts(inputs, chosen)
        return {name: part.float().cpu().numpy() for name, part in found.items()}

    def _batches(self, histories: Sequence[NDArray[np.int64]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Padded item numbers [chunk, longest] and lengths [chunk], on the model's device."""
        longest = self.model.max_seq_length
        # RecBole's models read rows padded to the full length; ours as long as the longest history.
        width = 0 if isinstance(self.model, WholeSequenceRecommender) else longest
        for history in histories:
            if not len(history) or history.min() < 1 or history.max() > self.n_items:
                raise UserError(f"A history needs item numbers 1 to {self.n_items}, at least one.")
        for start in range(0, len(histories), _CHUNK):
            recent = [history[-longest:] for history in histories[start : start + _CHUNK]]
            lengths = np.array([len(history) for history in recent])
            inputs = np.zeros((len(recent), max(width, int(lengths.max()))), dtype=np.int64)
            for row, history in enumerate(recent):
                inputs[row, : len(history)] = history
            device = self.model.device
            yield torch.from_numpy(inputs).to(device), torch.from_numpy(lengths).to(device)


def load(
    run_dir: str | Path,
    catalogue: int | None = None,
    device: str = "cpu",
    data_path: str | Path | None = None,
) -> LoadedRun:
    """Load a finished run with a version of its catalogue, 1 as trained; by default the newest (``add-items``).

    `data_path` is the folder of the data sets, for users' histories; by default that of the run.

    Raises UserError: the run is not finished, versions do not fit, a file is missing or damaged, or the model cannot be
    loaded without its data set. Nothing in any file is executed. A class of the user's own whose source was edited
    since is a warning in the log.

    Examples
    --------
    With a run at hand::

        run = recbole_unisid.load("runs/ml-100k/UniSID/2020-0123456789ab")
        history = [run.number_of("Toy Story"), run.number_of("Fargo")]
        run.scores([np.array(history)]).argmax()
    """
    stored = read_run(Path(run_dir))
    version = read_version(stored, catalogue)
    config = StoredConfig(stored.settings, device)
    made = stored.manifest.get("code") or {}
    for name, code in code_of(made).items():
        if code != made[name]:
            LOG.warning(
                "The source of '%s' was edited since %s was made: what is recommended may be other than what the run "
                "measured. Put the source back, or run again.",
                name,
                stored.path,
            )
    users = int(stored.result["data"]["users"])
    dataset = StoredDataset(config, stored.catalogue, users, stored.semantics())
    model = build_stored_model(config, dataset, stored.weights)
    for name, tensor in model.state_dict().items():
        if stored.weights[name].dtype != tensor.dtype:  # torch would convert them without a word
            found = stored.weights[name].dtype
            raise UserError(
                f"{stored.path}/model.safetensors: {name} is {found}, not {tensor.dtype}; run again."
            )
    if len(version.added):
        model.items.append(torch.from_numpy(version.added).to(config["device"]))
        if getattr(model, "terms", None) is not None:
            vectors = None if stored.recipe is None else torch.from_numpy(version.text_vectors)
            model.terms.append(vectors, len(version.added))
        model.n_items = model.items.n_items + 1
    return LoadedRun(stored, config, model, version, data_path)
