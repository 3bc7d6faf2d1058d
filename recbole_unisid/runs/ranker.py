"""How a model that writes items ranked them: its beam, and what the beam misses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_unisid.data.split import TEST
from recbole_unisid.distributed import gather_rows
from recbole_unisid.evaluation.candidates import seen_pairs
from recbole_unisid.models.tiger.scoring import share_of_top
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import TARGET_POSITION
from recbole_unisid.recbole_adapter.loaders import HistoryLoader


def ranker_facts(config: UniSIDConfig, model: Any, dataset: Any) -> dict[str, Any] | None:
    """What ``result.json`` says of a list-making model's ranker; None for models that score all items.

    Parameters
    ----------
    model : TIGER or other
        At its best epoch.
    dataset : PrefixRowDataset
        With sequences and split.

    Returns
    -------
    dict or None
        ``name`` (``beam`` or ``exact``); for beams ``width``, and ``top10_share`` and
        ``top10_share_unseen``: the share of the exact best 10 among all items and among unseen ones that
        the beam holds, over ``users`` test cases that are spread evenly.
    """
    if not hasattr(model, "exact_scores"):
        return None
    if not model.listed:
        return {"name": "exact"}
    targets = dataset.split.targets(TEST)
    step = max(1, len(targets) // max(1, config["beam_check_users"]))
    rows = []  # a batch each: the two shares, and over how many cases
    with torch.no_grad():
        model.eval()
        for batch in HistoryLoader(config, dataset, targets[::step]):
            interaction = batch[0].to(model.device)
            listed, exact = model.beam_scores(interaction), model.exact_scores(interaction)
            share = share_of_top(listed, exact)
            cases, items = seen_pairs(dataset.sequences, interaction[TARGET_POSITION].cpu().numpy())
            exact[torch.from_numpy(cases), torch.from_numpy(items)] = -torch.inf
            rows.append([share, share_of_top(listed, exact), len(interaction)])
    shares, shares_unseen, counts = gather_rows(torch.tensor(rows, dtype=torch.float64)).T.numpy()
    return {
        "name": "beam",
        "width": model.listed,
        "top10_share": float(np.average(shares, weights=counts)),
        "top10_share_unseen": float(np.average(shares_unseen, weights=counts)),
        "users": int(counts.sum()),
    }
