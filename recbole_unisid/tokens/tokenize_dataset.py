"""From an item file to ``tokens.tsv`` and its health: the whole step by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_unisid.embeddings import encode_texts
from recbole_unisid.files import write_json
from recbole_unisid.text import item_categories, item_texts, item_titles, read_item_file
from recbole_unisid.tokens.published import output_tags
from recbole_unisid.tokens.tokenization import Tokenization, tokenize_items
from recbole_unisid.tokens.tokens_file import write_index_json, write_tokens_tsv


def tokenize_dataset(
    item_file: Path,
    output_dir: Path,
    cache_dir: Path,
    item_ids: Sequence[str] | None = None,
    text_fields: Sequence[str] | None = None,
    text_template: str | None = None,
    item_file_format: dict[str, str] | None = None,
    encoder: str = "offline",
    encoder_options: dict[str, Any] | None = None,
    tokenizer: str = "residual_kmeans",
    codebook_sizes: Sequence[int] = (256, 256, 256),
    distances: Sequence[str] | None = None,
    seed: int = 2020,
    collisions: str = "none",
    tokenizer_options: dict[str, Any] | None = None,
    show_progress: bool = True,
) -> Tokenization:
    """Read items, encode their texts, tokenize them, and write the result.

    Parameters
    ----------
    item_file : Path
        RecBole's ``.item`` file.
    output_dir : Path
        Gets ``tokens.tsv``, ``index.json`` (LETTER's form), ``health.json`` and ``tokenizer.safetensors``.
    cache_dir : Path
        Keeps vectors and codes for the next time.
    item_ids : sequence of str, optional
        The items to tokenize, by default all of the file.
    text_fields, text_template
        As in :func:`recbole_unisid.text.item_texts`.
    item_file_format : dict, optional
        ``separator``, ``encoding``, ``id_field`` of :func:`recbole_unisid.text.read_item_file`.
    encoder : str
    encoder_options : dict, optional
        ``batch_size``, ``device``, ``max_length``, ``prompt``, ``processes`` of
        :func:`recbole_unisid.embeddings.encode_texts`.
    tokenizer, codebook_sizes, distances, seed, collisions
        As in :func:`tokenize_items`.
    tokenizer_options : dict, optional
        Further settings of the tokenizer.
    show_progress : bool
        Whether progress bars are shown.

    Returns
    -------
    Tokenization

    Raises
    ------
    UserError
        When anything that was given is wrong; nothing is written then.
    """
    table = read_item_file(Path(item_file), **(item_file_format or {}))
    items = list(table.ids if item_ids is None else item_ids)
    texts = item_texts(table, items, text_fields, text_template)
    cache, show = Path(cache_dir), show_progress
    vectors = encode_texts(
        texts, encoder, cache / "embeddings", items, show_progress=show, **(encoder_options or {})
    )
    result = tokenize_items(
        vectors,
        items,
        tokenizer,
        codebook_sizes,
        distances,
        seed,
        collisions,
        cache_dir=cache / "tokens",
        titles=item_titles(table, items),
        categories=item_categories(table, items),
        show_progress=show,
        **(tokenizer_options or {}),
    )
    write_tokenization(result, Path(output_dir))
    return result


def write_tokenization(result: Tokenization, folder: Path) -> None:
    """Write ``tokens.tsv``, ``index.json`` (LETTER's form), ``health.json`` and the tokenizer.

    Parameters
    ----------
    result : Tokenization
        What to write.
    folder : Path
        Where; it is made.
    """
    write_tokens_tsv(folder / "tokens.tsv", result.item_ids, result.codes)
    tags = output_tags(result.tokenizer, result.codes.shape[1])
    write_index_json(folder / "index.json", result.item_ids, result.codes, tags)
    result.tokenizer.save(folder)
    write_json(folder / "health.json", result.health)
