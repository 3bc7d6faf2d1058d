"""``recbole-unisid tokenize``: item text to semantic IDs, without a sequence model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_unisid.commands.options import parse_options, take_config_files

if TYPE_CHECKING:
    from recbole_unisid.recbole_adapter.config import UniSIDConfig

HELP = """\
usage: recbole-unisid tokenize --dataset=D [--tokenizer=T] [--key=value ...]

Encode the items' text, fit a tokenizer, write tokens.tsv, index.json, health.json and the tokenizer, and
show the health of the tokens.

  --dataset=ml-100k       a folder under --data_path with D.item
  --tokenizer=residual_kmeans   rqvae, opq, random, lsh, file with --tokens_file=F, or module:Class
  --codebook_sizes=[256,256,256,256,256]
  --distances=...         of each level; cosine, the last euclidean
  --collisions=none       suffix, balanced
  --text_encoder=offline  lsa, a file of vectors, any sentence-transformers model, module:Class
  --tokenizer_options={}  further settings of the tokenizer, such as {code_length: unit}
  --seed=2020
  --config_files=F        YAML files of settings, with commas
  --output_dir=runs       the files go to OUTPUT_DIR/D/tokens/TOKENIZER

The settings are those of UniSID (properties/model/UniSID.yaml), or of --model=M, another that reads tokens.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options = parse_options(arguments)
    from recbole_unisid.config.given import DEFAULT_MODEL, given_settings
    from recbole_unisid.plugins.loading import short_name, use_named

    files = take_config_files(options)
    use_named(options.get("model", DEFAULT_MODEL), options)
    config = _config(given_settings(files, options))
    # Torch and RecBole take seconds to import: what cannot be meant was said before.
    from recbole_unisid.recbole_adapter.dataset import load_dataset
    from recbole_unisid.recbole_adapter.semantics import item_semantics
    from recbole_unisid.tokens import health_table
    from recbole_unisid.tokens.tokenization import write_tokenization

    semantics = item_semantics(config, load_dataset(config))
    assert semantics is not None
    tokenization = semantics.tokenization
    assert tokenization is not None
    folder = Path(config["output_dir"]) / config["dataset"] / "tokens" / short_name(str(config["tokenizer"]))
    write_tokenization(tokenization, folder)
    print(health_table(tokenization.health))
    print(f"\n-> {folder}")
    return 0


def _config(settings: dict[str, Any]) -> UniSIDConfig:
    """Settings of one model that reads tokens of a tokenizer."""
    from recbole_unisid.config.given import take_dataset, take_models
    from recbole_unisid.errors import UserError
    from recbole_unisid.recbole_adapter.keys import check_read, keys_read
    from recbole_unisid.recbole_adapter.registry import resolve

    model, *others = take_models(settings)
    if others or "tokenizer" not in keys_read(resolve(model)):
        raise UserError(
            f"tokenize makes the tokens of one model, and {', '.join([model, *others])} is none that reads tokens: "
            "leave --model out, or name one such as UniSID or TIGER."
        )
    dataset = take_dataset(settings)
    check_read(settings, [resolve(model)])
    from recbole_unisid.recbole_adapter.config import UniSIDConfig

    config = UniSIDConfig(model, dataset, settings)
    part = getattr(config.model_class, "semantic_part", lambda _: None)(config)
    if part is not None and part.learns:
        raise UserError(
            "semantics=joint learns the tokens with the model, so there is nothing to tokenize without one; "
            "train it (run --model=UniSID --semantics=joint), or leave semantics=fixed."
        )
    if config.chosen.reads(config) != "tokens":
        raise UserError(f"{model} reads no tokens with these settings, so there is nothing to tokenize.")
    return config
