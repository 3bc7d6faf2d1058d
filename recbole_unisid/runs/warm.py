"""Warm start: a finished run's weights and tokens as the start of a run on data that has grown (``run --from``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from recbole_unisid.config.defaults import properties_folder, read_yaml
from recbole_unisid.config.settings import settings
from recbole_unisid.embeddings.vectors import is_vector_file
from recbole_unisid.errors import UserError, shown
from recbole_unisid.items.catalogue import one_line
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.recbole_adapter.config import UniSIDConfig, content_of
from recbole_unisid.recbole_adapter.finished_run import settings_as_made
from recbole_unisid.recbole_adapter.item_text import (
    cache_folder,
    encode_items,
    item_names,
    item_table,
    shown_items,
)
from recbole_unisid.recbole_adapter.registry import RULES, resolve
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.report.run_files import newest_run
from recbole_unisid.runs.stored import StoredRun, Version, read_run, read_version
from recbole_unisid.text.item_text import item_texts
from recbole_unisid.tokens.tokenization import Tokenization, tokenization_of

#: Settings of these groups make weights and tokens what they are, but for some.
_FIXED_GROUPS = ("Text", "Tokens", "Model")
_FREE = frozenset(
    """
    text_batch_size text_processes hidden_dropout_prob attn_dropout_prob score_terms term_weights popularity_scale loss
    negatives gbce_t lookahead_weight label_smoothing temperature new_item_popularity new_item_neighbours
    shrinkage id_decay
    """.split()  # noqa: SIM905
)


def warm_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that starts from another (`from`): the other's, a short schedule, and what is given.

    Raises UserError: for a run that cannot be read, and for what is given and would not fit its weights.
    """
    if "tune" in given:
        raise UserError("--tune trains from the beginning: leave --from out, or --tune.")
    if not str(given["from"]):
        raise UserError("--from= names no run; give a run's folder, or leave it out.")
    run = newest_run(Path(str(given["from"])))
    stored = read_run(run)
    was = settings_as_made(stored.settings)
    if "model" in given and given["model"] != was["model"]:
        raise UserError(f"{run} is of the model {was['model']}, not {given['model']}: leave --model out.")
    _check_kind(was)
    ids = stored.weights.get("items.ids.weight")
    if ids is not None and was.get("weak_text_id_dim"):
        was |= {
            "id_dim": ids.shape[1],
            "weak_text_id_dim": 0,
        }  # as wide as they are, whatever the new data say
    for key, value in given.items():
        about = settings().get(key)
        fixed = about is not None and about.group in _FIXED_GROUPS and key not in _FREE
        fixed = (fixed or key in {"MAX_ITEM_LIST_LENGTH", "recipe"}) and not is_vector_file(str(was.get(key)))
        if fixed and value != was.get(key):
            raise UserError(
                f"{key}={shown(value)}, but the weights of {run} are for {shown(was.get(key))}: leave it out, or train "
                "from the beginning, without --from."
            )
    schedule = read_yaml(properties_folder() / "warm_start.yaml")
    share = schedule.pop("share_of_learning_rate")
    if not was.get("from"):  # a run that started warm itself has such a rate already
        schedule["learning_rate"] = share * was["learning_rate"]
    absent = {key for key in schedule if key.endswith("dropout_prob")} - was.keys()
    schedule = {key: value for key, value in schedule.items() if key not in absent}
    kept = {key: value for key, value in was.items() if key not in {"load_col", "checkpoint_dir"}}
    return kept | schedule | dict(given) | {"from": str(run)}


def _check_kind(was: Mapping[str, Any]) -> None:
    """Refuse a model whose items cannot grow."""
    chosen = resolve(str(was["model"]))
    kind = chosen.cls
    vectors = issubclass(kind, WholeSequenceRecommender) and chosen.family not in RULES
    vectors = vectors and kind.full_sort_predict is WholeSequenceRecommender.full_sort_predict
    part = kind.semantic_part(was) if vectors else None
    if not vectors or (part is not None and not part.grows):
        what = f"semantics={was['semantics']}" if vectors else str(was["model"])
        raise UserError(
            f"{what} cannot be started from a run: UniSID, SemanticID, ItemID and DenseText with fixed tokens or text "
            "can. Train it from the beginning, without --from."
        )


@dataclass
class WarmStart:
    """A finished run as the start of another, with the newest version of its catalogue."""

    stored: StoredRun
    version: Version

    @classmethod
    def of(cls, config: UniSIDConfig) -> Self | None:
        """What the setting `from` names; None where nothing is."""
        if not config["from"]:
            return None
        stored = read_run(Path(config["from"]))
        if stored.result["model"] != config["model"]:
            raise UserError(f"{stored.path} is of the model {stored.result['model']}, not {config['model']}.")
        return cls(stored, read_version(stored, None))

    def semantics(self, config: UniSIDConfig, dataset: Any) -> ItemSemantics | None:
        """The data set's items as the run reads them: its encoder and its columns, known items by their own codes."""
        item_ids = item_names(dataset)
        self._check_common(config, item_ids)
        recipe, tokens = self.stored.recipe, self.stored.tokenization
        if recipe is None:
            return None
        started, table = time.perf_counter(), item_table(config)
        titles, categories = shown_items(table, item_ids)
        if recipe.key is None or table is None:
            texts, vectors, recipe = encode_items(config, dataset, table, item_ids)
            if vectors.shape[1] != recipe.width:
                raise UserError(
                    f"The items' vectors are {vectors.shape[1]} wide, those of {self.stored.path} are {recipe.width}."
                )
        else:
            made = item_texts(table, item_ids, recipe.fields, recipe.template, recipe.roots)
            texts, cache = [one_line(text) for text in made], cache_folder(config) / "embeddings"
            size, show = int(config["text_batch_size"]), bool(config["show_progress"])
            vectors = recipe.encode(texts, item_ids, self.stored.corpus, cache, None, size, show)
        encoded, found = time.perf_counter(), None
        if tokens is not None:
            codes = self._codes(tokens, item_ids, vectors)
            about = (codes, vectors, item_ids, titles, categories, tokens.health["collisions"])
            found = tokenization_of(tokens.tokenizer, *about)
        seconds = {"text_encoding": encoded - started, "tokenizer": time.perf_counter() - encoded}
        corpus = self.stored.corpus if recipe.learns else None
        return ItemSemantics(vectors, titles, found, seconds, item_ids, categories, texts, recipe, corpus)

    def _check_common(self, config: UniSIDConfig, item_ids: list[str]) -> None:
        if not set(item_ids) & set(self.stored.catalogue.item_ids[1:]):
            raise UserError(
                f"No item of '{config['dataset']}' is one of {self.stored.path}: items are matched by their names, "
                f"such as '{item_ids[0]}' here and '{self.stored.catalogue.item_ids[1]}' there."
            )

    def _codes(
        self, tokens: Tokenization, item_ids: list[str], vectors: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Codes [n_items, levels]: a known item's own, a new one's by the tokenizer as it was fitted."""
        known = np.concatenate([tokens.codes, self.version.added.astype(np.int64)])
        rows = _rows(self.version.catalogue.item_ids, item_ids) - 1  # -1: new
        codes = known[np.maximum(rows, 0)]
        new = np.flatnonzero(rows < 0)
        if len(new):
            codes[new] = replace(tokens, codes=known).encode(vectors[new])
        return codes

    @torch.no_grad()
    def load_into(self, model: Any, item_ids: list[str]) -> None:
        """Give a model the run's weights; an item's ID by its name, a new item's is the mean of the trained ones.

        Score terms are of the new data: they are not trained, but counted and fitted.
        """
        for name, parameter in model.named_parameters():
            start = self.stored.weights.get(name)
            if start is not None and name == "items.ids.weight":
                start = self._ids(start, item_ids)
            if start is None or start.shape != parameter.shape:
                told = "does not have" if start is None else f"has {list(start.shape)} of"
                raise UserError(
                    f"{self.stored.path} {told} the weights {name} {list(parameter.shape)}: its settings are others."
                )
            parameter.copy_(start)

    def _ids(self, known: torch.Tensor, item_ids: list[str]) -> torch.Tensor:
        """ID vectors of items, padding first, out of those of the run [its n_items + 1, width]."""
        trained = torch.from_numpy(self._trained())
        known = torch.where(trained[:, None], known, known[trained].mean(0))  # row 0 stands for new items
        rows = torch.from_numpy(_rows(self.stored.catalogue.item_ids, item_ids))
        return torch.cat([torch.zeros_like(known[:1]), known[rows]])

    def trained(self, item_ids: list[str]) -> NDArray[np.bool_]:
        """Whether the run, or one that it started from, has trained items: [n_items + 1], padding first."""
        rows = np.append(0, _rows(self.stored.catalogue.item_ids, item_ids))
        found: NDArray[np.bool_] = self._trained()[rows]
        return found

    def training_counts(self, item_ids: list[str]) -> NDArray[np.int64]:
        """How often the run has trained on items, [n_items + 1], padding first; 0 of those that it has not."""
        counts = np.append(0, self.stored.catalogue.training_counts[1:])
        found: NDArray[np.int64] = counts[np.append(0, _rows(self.stored.catalogue.item_ids, item_ids))]
        return found

    def _trained(self) -> NDArray[np.bool_]:
        """The same of the run's own items, [its n_items + 1]."""
        untrained = self.stored.weights.get("items.untrained")
        trained = np.ones(self.stored.catalogue.n_items + 1, dtype=np.bool_)
        if untrained is not None:
            trained &= ~untrained.numpy()
        trained[0] = False
        return trained

    def told(self, item_ids: list[str]) -> dict[str, Any]:
        """What ``result.json`` says of the start."""
        known, place = set(self.stored.catalogue.item_ids[1:]), self.stored.path
        common = sum(item in known for item in item_ids)
        return {
            "run": f"{self.stored.result['dataset']}/{place.parent.name}/{place.name}",
            "fingerprint": content_of(place),
            "known_items": common,
            "new_items": len(item_ids) - common,
            "gone_items": len(known) - common,
        }


def _rows(known: list[str], item_ids: list[str]) -> NDArray[np.int64]:
    """The number of each item among known ones (padding first), 0 where it is none of them."""
    number = {item: row for row, item in enumerate(known) if row}
    return np.array([number.get(item, 0) for item in item_ids], dtype=np.int64)
