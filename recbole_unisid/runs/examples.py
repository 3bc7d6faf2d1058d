"""Some people and items of a run, for the report: what was recommended, what is near what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.split import TEST
from recbole_unisid.recbole_adapter.from_recbole import Interaction
from recbole_unisid.report import examples
from recbole_unisid.runs.result import Measured


def write_run_examples(measured: Measured, path: Path) -> None:
    """Write ``examples.json`` of a model of ours at its best epoch; the same people and items for every model."""
    sequences = measured.dataset.sequences
    targets = measured.dataset.split.targets(TEST)
    chosen = examples.choose_examples(len(targets))
    targets = targets[chosen]
    owners = sequences.owners(targets)
    histories = [sequences.items[sequences.offsets[u] : t] for u, t in zip(owners, targets, strict=True)]
    people = examples.people_examples(
        sequences.user_ids[owners].tolist(),
        histories,
        sequences.items[targets].tolist(),
        measured.ranks["test"]["full"][chosen].tolist(),
        sequences.item_ids.tolist(),
        _scores(measured.trainer.model, histories, owners + 1),
    )
    items = (examples.choose_examples(sequences.n_items) + 1).tolist()
    found = _representations(measured)
    neighbours = examples.neighbour_examples(items, found, sequences.item_ids.tolist()) if found else []
    titles = dict(zip(sequences.item_ids[1:].tolist(), measured.titles, strict=True))
    examples.write_examples(path, people, neighbours, titles)


@torch.no_grad()
def _scores(
    model: Any, histories: Sequence[NDArray[np.int64]], users: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Scores of the catalogue, shape [histories, n_items + 1], as the evaluation makes them; users count from 1."""
    recent = [torch.from_numpy(history[-model.max_seq_length :].copy()) for history in histories]
    lengths = torch.tensor([len(history) for history in recent])
    inputs = torch.nn.utils.rnn.pad_sequence(recent, batch_first=True)  # [histories, longest]
    batch = {model.USER_ID: torch.from_numpy(users), model.ITEM_SEQ: inputs, model.ITEM_SEQ_LEN: lengths}
    scores: torch.Tensor = model.eval().full_sort_predict(Interaction(batch).to(model.device))
    return scores.float().cpu().numpy()


@torch.no_grad()
def _representations(measured: Measured) -> dict[str, NDArray[np.float32]]:
    """What an item is by its parts and as a whole, each [n_items + 1, width]."""
    items = getattr(measured.trainer.model, "items", None)
    if items is None:
        return {}
    numbers = torch.arange(items.n_items + 1, device=measured.trainer.model.device)
    parts, (semantic, ids) = {"unified": items(numbers)}, items.parts(numbers)
    if semantic is not None:
        parts[items.semantic.label] = semantic
    if ids is not None:
        parts["ID"] = ids
    return {name: vectors.float().cpu().numpy() for name, vectors in parts.items()}
