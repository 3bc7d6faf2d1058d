"""Recommendations as a table for people or as JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from recbole_unisid.serving.loaded import LoadedRun
from recbole_unisid.serving.recommend import Reason, Recommendation
from recbole_unisid.serving.requests import Request

_TITLE_WIDTH = 50
_SHOWN_HISTORY = 3


def as_json_line(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """One JSON object on one line: user, history length and the items with score, tokens and why."""
    items = [
        {
            "rank": rank,
            "item_id": run.item_ids[one.item],
            "title": run.titles[one.item],
            "score": one.score,
            "tokens": None if run.codes is None else run.codes[one.item].tolist(),
            "why": [_reason_as_json(run, reason) for reason in one.why],
        }
        for rank, one in enumerate(found, start=1)
    ]
    line = {"user": request.user, "history_length": len(request.history), "items": items}
    return json.dumps(line, ensure_ascii=False)


def as_table(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """A table under a line that says whose it is."""
    last = [_short(run.titles[item]) for item in request.history[-_SHOWN_HISTORY:][::-1]]
    whose = f"user {request.user}" if request.user is not None else "this history"
    rows = [
        [
            rank,
            run.item_ids[one.item],
            _short(run.titles[one.item]),
            one.score,
            *([] if run.codes is None else [" ".join(map(str, run.codes[one.item].tolist()))]),
            _because(run, one.why),
        ]
        for rank, one in enumerate(found, start=1)
    ]
    tokens = [] if run.codes is None else ["tokens"]
    header = ["", "item", "title", "score", *tokens, "nearest in the history"]
    table = tabulate(rows, header, floatfmt=".3f", disable_numparse=[1, 2])
    count = len(request.history)
    return f"for {whose} ({count} {'item' if count == 1 else 'items'}, last: {'; '.join(last)})\n\n{table}\n"


def _because(run: LoadedRun, why: Sequence[Reason]) -> str:
    if not why:
        return ""
    nearest = why[0]
    if nearest.shared:
        how = f"{nearest.shared} of {nearest.levels} codes"
    elif nearest.similarity is not None:
        how = f"cosine {nearest.similarity:.2f}"
    else:
        return ""
    return f"{_short(run.titles[nearest.item])} ({how})"


def _reason_as_json(run: LoadedRun, reason: Reason) -> dict[str, Any]:
    return {
        "item_id": run.item_ids[reason.item],
        "title": run.titles[reason.item],
        "shared_codes": reason.shared if reason.levels else None,
        "levels": reason.levels or None,
        "similarity": reason.similarity,
    }


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 1] + "…"
