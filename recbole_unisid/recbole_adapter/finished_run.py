"""A finished run's settings and items, enough for its model to be built without the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_unisid.config.defaults import model_defaults, values_when_absent
from recbole_unisid.data.disk import folder_to_read
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.errors import UserError
from recbole_unisid.items.catalogue import Catalogue
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset
from recbole_unisid.recbole_adapter.registry import resolve
from recbole_unisid.recbole_adapter.semantics import ItemSemantics


def settings_as_made(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings; of those that came later, the values that stood for them when it was made."""
    known = model_defaults(resolve(str(settings["model"])).family)
    return {key: value for key, value in values_when_absent(settings).items() if key in known} | dict(
        settings
    )


class StoredConfig(UniSIDConfig):
    """The settings of ``config.yaml``, read where the data set may not be."""

    def __init__(self, settings: Mapping[str, Any], device: str = "cpu") -> None:
        try:
            place = torch.device(device)
        except RuntimeError:
            raise UserError(f"There is no device '{device}'; name cpu, cuda or cuda:1.") from None
        if place.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"There is no GPU here for device '{device}'; leave it out to use the CPU.")
        given = settings_as_made(settings) | {"use_gpu": False}
        if "table_init" in given:  # the trained weights follow: nothing is to be computed for a start
            given["table_init"] = "normal"
        super().__init__(str(given["model"]), str(given["dataset"]), given)
        self["device"] = place

    def _make_ready(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Nothing is read from the data set, so nothing is prepared or downloaded."""


class StoredDataset:
    """What a model asks of its data set when it is built, out of a run's own files."""

    def __init__(
        self, config: StoredConfig, catalogue: Catalogue, users: int, semantics: ItemSemantics | None
    ) -> None:
        self.config, self.catalogue, self.semantics = config, catalogue, semantics
        self.item_num, self.user_num = catalogue.n_items + 1, users + 1
        self.sequences = None
        self.split = self  # of a split, models ask how often items are trained on

    def num(self, field: str) -> int:
        """Number of values of a field, padding counted (RecBole's name)."""
        counts = {self.config["ITEM_ID_FIELD"]: self.item_num, self.config["USER_ID_FIELD"]: self.user_num}
        if field not in counts:
            raise UserError(
                f"{self.config['model']} reads '{field}' of the data set, which a run does not keep."
            )
        return int(counts[field])

    def training_counts(self, _sequences: Any) -> Any:
        """How often each item occurs in training, shape [n_items + 1]."""
        return self.catalogue.training_counts


def build_stored_model(
    config: StoredConfig, dataset: StoredDataset, weights: Mapping[str, torch.Tensor]
) -> Any:
    """Build a run's model with its weights, in evaluation mode."""
    name = config["model"]
    if not config.is_sequential:
        raise UserError(f"{name} knows users by number only; load takes models that read a history.")
    if "all" in (config["score_terms"] or ()) and "terms.popularity.level" not in weights:  # an older run
        text = ["text"] if "terms.text.vectors" in weights else []
        config["score_terms"] = ["seen", *text, "transitions", "neighbours"]
    if "items.ids.weight" in weights and "weak_text_id_dim" in config:  # it was chosen by the data
        config["id_dim"] = weights["items.ids.weight"].shape[1]
    with torch.random.fork_rng():  # what is drawn here is overwritten: the caller's draws go on unchanged
        try:
            model = config.model_class(config, dataset)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"RecBole's {name} reads more of its data set than items and histories ({error}); it cannot be "
                "loaded from its run folder alone."
            ) from None
    if hasattr(model, "n_users") or hasattr(model, "n_user"):
        raise UserError(f"RecBole's {name} scores known users only, by number; load takes histories.")
    items = getattr(model, "items", None)
    if "items.untrained" in weights and isinstance(items, ItemRepresentation) and items.untrained is None:
        items.leave_untrained(torch.arange(1, items.n_items + 1))  # which ones it is follows
    if "items.new_items.shift" in weights and isinstance(items, ItemRepresentation):
        parts = items.parts(torch.zeros(1, dtype=torch.int64))
        width = sum(part.shape[1] for part in parts if part is not None)
        items.new_items.shift = torch.zeros(items.n_items + 1, width)
    try:
        model.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"The weights are not those of this {name}: {line}") from None
    if config.chosen.family == "BERT4Rec":
        score = model.full_sort_predict

        def checked(interaction: Any) -> Any:
            """All histories of one item would get one list."""
            if bool((interaction[model.ITEM_SEQ_LEN] < 2).any()):
                raise UserError(
                    f"RecBole's {name} leaves out the first item of a history; give it two items or more."
                )
            return score(interaction)

        model.full_sort_predict = checked
    return model.to(config["device"]).eval()


def stored_sequences(
    settings: Mapping[str, Any], data_path: str | Path | None, item_ids: Sequence[str]
) -> UserSequences | None:
    """Everybody's sequences, from the data set that a run was made from; None where it is not at hand.

    Items have the numbers of `item_ids`, the run's (padding first), however the rows of the files stand; a data set
    with other items keeps its own.
    """
    root = str(data_path if data_path is not None else settings["data_path"])
    folder = folder_to_read(str(settings["dataset"]), root)
    parts = settings.get("benchmark_filename")
    names = [f"{folder.name}.{part}.inter" for part in parts] if parts else [f"{folder.name}.inter"]
    if not all((folder / name).is_file() for name in names):
        return None
    given = dict(settings) | {"data_path": root, "use_gpu": False}
    dataset = PrefixRowDataset(UniSIDConfig(str(settings["model"]), str(settings["dataset"]), given))
    dataset.build_sequences()
    found, numbers = dataset.sequences, {name: number for number, name in enumerate(item_ids)}
    if set(found.item_ids[1:].tolist()) != set(item_ids[1:]):
        return found
    number = np.array([0, *(numbers[name] for name in found.item_ids[1:].tolist())])
    return replace(found, items=number[found.items], item_ids=np.asarray(item_ids, dtype=np.str_))
