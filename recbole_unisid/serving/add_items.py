"""New items into a trained model without retraining: text to tokens, with a neutral ID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.items.representation import SemanticTokens, TextProjection
from recbole_unisid.models.unisid import ItemID
from recbole_unisid.recbole_adapter.item_text import cache_folder
from recbole_unisid.serving.loaded import LoadedRun, load, scores_by_vectors
from recbole_unisid.serving.new_items import NewItems, read_new_items
from recbole_unisid.serving.versions import Version, version_numbers, write_version


@dataclass(frozen=True)
class Added:
    """What :func:`add_items` has done.

    Attributes
    ----------
    path : Path
        Folder of the new version of the catalogue.
    version : Version
        The whole catalogue.
    items : NewItems
        What was added.
    wordless : int
        Items of whose text the encoder knows nothing: their vector is zero.
    """

    path: Path
    version: Version
    items: NewItems
    wordless: int


def add_items(
    run_dir: str | Path,
    items: str | Path,
    columns: Mapping[str, str] | None = None,
    vectors: str | None = None,
    show_progress: bool = True,
) -> Added:
    """Give a run's catalogue a new version with further items; nothing is trained, nothing old is changed.

    Their text is encoded by the run's encoder, their codes come from the run's fitted tokenizer
    (``encode``, no refit), their ID token is the mean of the trained ones.

    Parameters
    ----------
    run_dir : str or Path
        A run of UniSID, SemanticID or DenseText.
    items : str or Path
        Table of new items (:func:`recbole_unisid.serving.new_items.read_new_items`).
    columns : mapping of str, optional
        Field of the run -> column of the table, where they are called differently.
    vectors : str, optional
        A file of the new items' vectors, for runs whose vectors came from one.
    show_progress : bool
        Whether a progress bar is shown.

    Returns
    -------
    Added

    Raises
    ------
    UserError
        When the model knows items by number alone, the table cannot be used, or the encoder is not the
        run's. Nothing is written then.
    """
    run = load(run_dir)
    recipe = _recipe(run)
    id_field, separator = str(run.config["ITEM_ID_FIELD"]), str(run.config["field_separator"])
    encoding = str(run.config["encoding"] or "utf-8")
    new = read_new_items(Path(items), recipe, run.item_ids, columns or {}, id_field, separator, encoding)
    found = recipe.encode(
        new.texts,
        new.item_ids,
        run.stored.catalogue.texts[1:],
        cache_folder(run.config) / "embeddings",
        vectors,
        int(run.config["text_batch_size"]),
        show_progress,
    )
    number = version_numbers(run.path)[-1] + 1
    catalogue = run.items.extended(new.item_ids, new.titles, new.texts)
    version = Version(number, catalogue, np.concatenate([run.added, _content(run, found)]))
    path = write_version(run.stored, version)
    return Added(path, version, new, int((~found.any(axis=1)).sum()))


def _recipe(run: LoadedRun) -> TextRecipe:
    """The run's way from text to vectors, if its model can take in items at all."""
    name, model = run.config["model"], run.model
    reads_text = scores_by_vectors(model) and isinstance(
        model.items.semantic, (SemanticTokens, TextProjection)
    )
    if reads_text and run.stored.recipe is not None:
        return run.stored.recipe
    reason = (
        "knows items by number alone, so it can say nothing of one that it was not trained on"
        if isinstance(model, ItemID) or run.stored.recipe is None
        else f"of the recipe '{run.stored.result.get('recipe')}' has no place for items that it was not trained on"
    )
    raise UserError(f"{name} {reason}; UniSID, SemanticID and DenseText of the default recipe do.")


def _content(run: LoadedRun, vectors: NDArray[np.float32]) -> NDArray[np.int64] | NDArray[np.float32]:
    """What the model reads of the new items: codes, or their vectors."""
    tokenization = run.tokenization
    return vectors if tokenization is None else tokenization.encode(vectors)
