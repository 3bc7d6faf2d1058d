"""What the order of a tie is worth to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.tie_orders import over_orders
from recbole_unisid.evaluation.metrics import per_user_metric

#: What is compared over orders, of each candidate set that is the whole catalogue.
METRICS = ("recall@10", "ndcg@10")


def tie_order_metrics(
    ranks: Mapping[str, NDArray[np.int64]], others: Mapping[str, NDArray[np.int64]], case: NDArray[np.int64]
) -> dict[str, Any]:
    """Figures by candidate set and metric (:func:`over_orders`), and how many cases tie.

    The `ranks` [cases] are the targets', `others` [orders] those of what could have come last, by candidate set.
    """
    table: dict[str, Any] = {"cases": len(np.unique(case)), "orders": len(case)}
    for candidates, found in others.items():
        table[candidates] = {
            metric: over_orders(
                per_user_metric(ranks[candidates], metric), per_user_metric(found, metric), case
            )
            for metric in METRICS
        }
    return table
