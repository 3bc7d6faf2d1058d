"""Values that a setting cannot have are refused at once, in one line; those of our own files fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.config.defaults import (
    dataset_defaults,
    model_defaults,
    overall_defaults,
    properties_folder,
    read_yaml,
)
from recbole_unisid.config.settings import check_values, misfit, settings, words_of
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter import features
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.features import recipes_of_data
from recbole_unisid.recbole_adapter.registry import OWN_MODELS, PUBLISHED_MODELS, known_models, recbole_folder

KINDS_OF = {key: setting.kind for key, setting in settings().items()}
NUMBERS = sorted(
    key for key, kind in KINDS_OF.items() if re.match("a (whole )?number(?!.* or )", words_of(kind))
)
WORDS = sorted(key for key, kind in KINDS_OF.items() if isinstance(kind, tuple))


def recipes(model: str) -> list[str]:
    """The recipes of one of our models."""
    return ["default", *read_yaml(properties_folder() / "model" / f"{model}.yaml").get("recipes", {})]


def config_of(ml_mini: Path, **settings: Any) -> UniSIDConfig:
    """Settings as a run gets them."""
    model = settings.pop("model", "UniSID")
    return UniSIDConfig(model, "ml-mini", settings={"data_path": str(ml_mini), **settings})


def test_categories_of_prepared_amazon_sets_are_parted_as_they_were_joined() -> None:
    """`prepare` writes "Beauty, Nails"; RecBole's models with item features would read "Beauty,"."""
    for name in ("amazon-beauty", "amazon-toys-games", "amazon-video-games-23"):
        assert dataset_defaults(name)["seq_separator"] == ", "
    assert dataset_defaults("amazon-of-ones-own") == dataset_defaults("ml-100k") == {}


def test_every_setting_of_ours_is_described() -> None:
    """A new key in a YAML file without a description would let nonsense through."""
    for model in OWN_MODELS | PUBLISHED_MODELS:
        for recipe in recipes(model):
            assert (overall_defaults() | model_defaults(model, recipe)).keys() <= settings().keys()


@pytest.mark.parametrize("model", OWN_MODELS | PUBLISHED_MODELS)
def test_our_own_defaults_and_recipes_fit(model: str) -> None:
    """The files of ``properties/`` keep the rules."""
    for recipe in recipes(model):
        defaults = overall_defaults() | model_defaults(model, recipe)
        check_values(defaults, defaults)


def test_recboles_defaults_fit() -> None:
    """A name of ours that means something else in RecBole would be refused there; a run's config.yaml has them all."""
    folder, checked = recbole_folder() / "properties", 0
    for file in sorted(
        [*folder.glob("model/*.yaml"), *folder.glob("*/sample.yaml"), folder / "overall.yaml"]
    ):
        if file.stem in known_models() or file.parent.name != "model":
            defaults = read_yaml(file)
            defaults.pop("eval_args", None)  # of another protocol than ours
            check_values(defaults, defaults)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("value", ["abc", -1e9, 1e300, True, [1], float("nan"), float("inf")])
@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_takes_nonsense(key: str, value: Any) -> None:
    """Text, true, lists, NaN, and numbers far out of bounds, where the setting has bounds there."""
    if value == 1e300 and not re.search("whole|below|at most", words_of(KINDS_OF[key])):
        check_values({key: value}, {})
        return
    with pytest.raises(UserError, match=rf"^{key}=.* must be a"):
        check_values({key: value}, {key: 1})


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("count", [1, 2], [0, -1, 1.5, 2.0, None, True]),
        ("rate", [0, 0.0, 0.5, np.float64(0.5)], [1, 1.0, -0.1]),
        ("share", [1e-9, 0.5], [0, 1, 1.1]),
        ("number", [-5, 1e9], ["1", None, False]),
        (
            "interval",
            ["[5,inf)", "(-1, 2.5]", "[0,3];(7,9)", "[-inf,4]"],
            ["5", "[5,inf]", "[5;9)", "[9,5]", 5, ""],
        ),
        ("gbce_t", [0, 1], [1.01]),
    ],
)
def test_bounds(kind: str, inside: list[Any], outside: list[Any]) -> None:
    """On the bounds, inside and outside of them."""
    kind = settings()[kind].kind if kind in settings() else kind
    assert all(misfit(value, kind) is None for value in inside)
    assert all(misfit(value, kind) is not None for value in outside)


@pytest.mark.parametrize("key", WORDS)
def test_words(key: str) -> None:
    """A word that is none of the choices is refused with the nearest one; each choice is taken."""
    for word in KINDS_OF[key]:
        check_values({key: word}, {key: word})
        with pytest.raises(UserError, match=f"one of .*Did you mean .*{word}"):
            check_values({key: f"{word}s"}, {key: word})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codebook_sizes": "[8,0]"}, "codebook_sizes=[8, 0] must be a list"),
        ({"codebook_sizes": "[]"}, "codebook_sizes=[] must be a list"),
        ({"distances": "cosine,manhattan"}, "one of cosine, euclidean"),
        ({"negatives": "{bce: 1}"}, "with one for 'shared'"),
        ({"negatives": "0"}, "negatives=0 must be a whole number of at least 1"),
        ({"tokenizer_options": "abc"}, "a mapping such as"),
        ({"eval_args": "{a: 1}"}, "a mapping of split, order, group_by and mode"),
        ({"clip_grad_norm": "{a: 1}"}, "a mapping of max_norm and norm_type"),
        ({"clip_grad_norm": "{max_norm: 0}"}, "numbers above 0"),
        (
            {"val_interval": "{rating:[4,inf)}"},
            "A shell takes quotes away: put the whole between double ones",
        ),
        ({"user_inter_num_interval": 5}, "must be text such as [5,inf)"),
        ({"val_interval": {"rating": "[5,inf]"}}, "must be a mapping to text such as [5,inf)"),
        ({"text_fields": "-5"}, "each of it text"),
        ({"hidden_dropout_prob": "1"}, "at least 0 and below 1; the default is 0.3"),
        ({"n_heads": "None"}, "n_heads=None must be"),
        ({"seed": "-1"}, "of at least 0 and at most 4,294,967,295"),
        ({"exact_times": "maybe"}, "true or false"),
        ({"model": "SASRec", "hidden_size": "abc"}, "hidden_size=abc"),
        ({"model": "NextItNet", "kernel_size": "abc"}, "must be a number; the default is 3"),
        ({"model": "BPR", "require_pow": "abc"}, "true or false; the default is False"),
    ],
)
def test_one_line_says_what_fits(settings: dict[str, Any], words: str, ml_mini: Path) -> None:
    """Text of the command line, read as a value first; RecBole's models and settings too."""
    with pytest.raises(UserError) as raised:
        config_of(ml_mini, **settings)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_meant_is_taken(ml_mini: Path) -> None:
    """One value for a list, commas for brackets, a number for each loss, None where that is the default."""
    config = config_of(
        ml_mini,
        codebook_sizes=8,
        distances="cosine",
        text_fields="movie_title",
        negatives={"shared": 7, "bce": 2},
        loss="bce",
        window_stride=None,
        tokens_file=Path("codes.tsv"),
        clip_grad_norm={"max_norm": 5.0},
    )
    assert config["negatives"] == 2
    assert config["codebook_sizes"] == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "UniSID", "n_heads": 7}, "n_heads=7 must divide attention_dim=64"),
        ({"model": "SASRec", "n_heads": 7}, "RecBole (SASRec) fails on these settings"),
        (
            {"tokenizer_options": {"iterations": "abc"}},
            "iterations=abc of residual_kmeans must be a whole number",
        ),
        ({"tokenizer_options": {"centre": "abc"}}, "true or false; the default is True"),
        ({"tokenizer": "rqvae", "tokenizer_options": {"hidden": [0]}}, "a list, each of it a whole number"),
    ],
)
def test_what_shows_only_as_parts_are_made(
    settings: dict[str, Any], words: str, ml_mini: Path, in_empty_folder: Path
) -> None:
    """Of the backbone, of RecBole's models, of tokenizers: still one line."""
    given = {"model": "UniSID", "data_path": str(ml_mini), "epochs": 1} | settings
    given |= {"text_encoder": "lsa"} if given["model"] == "UniSID" else {}
    with pytest.raises(UserError) as raised:
        recbole_unisid.run(given.pop("model"), "ml-mini", given, verbose=False)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_item_needs_a_part(ml_mini: Path, in_empty_folder: Path) -> None:
    """Without text, an ID of no width is nothing to learn."""
    with pytest.raises(UserError, match="id_dim=0 leaves an item of ItemID without any part"):
        recbole_unisid.run("ItemID", "ml-mini", {"data_path": str(ml_mini), "id_dim": 0}, verbose=False)


def test_the_command_ends_with_that_line(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and no run folder is begun."""
    arguments = [
        "run",
        "--model=ItemID",
        "--dataset=ml-mini",
        f"--data_path={ml_mini}",
        "--train_batch_size=0",
    ]
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last == (
        "recbole-unisid: train_batch_size=0 must be a whole number of at least 1; the default is 1536."
    )
    assert not (in_empty_folder / "runs").exists()


@pytest.mark.parametrize(
    ("interactions", "items", "dense", "epochs"),
    [
        (200, 10, False, 30),
        (201, 10, True, 30),
        (50_000, 10, True, 30),
        (50_001, 10, True, 10),
        (50_001, 1_251, True, 30),
    ],
)
def test_dense_data_have_a_recipe_of_their_own(
    interactions: int, items: int, dense: bool, epochs: int, tmp_path: Path
) -> None:
    """More than 20 interactions an item: a wider ID, and windows that do not overlap; above 40: fewer epochs."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [f"{row}\t{row % items}\t{row}" for row in range(interactions)]
    (folder / "shop.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    (folder / "shop.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *map(str, range(items))]))

    def config(model: str, **more: Any) -> UniSIDConfig:
        return UniSIDConfig(model, "shop", {"data_path": str(tmp_path), **more})

    for model, width in (("UniSID", 16 if dense else 6), ("ItemID", 64), ("SemanticID", 0), ("DenseText", 0)):
        chosen = config(model)
        assert (chosen["id_dim"], chosen["window_stride"]) == (width, 50 if dense else None), model
        shortened = model == "UniSID" and epochs == 10
        assert (chosen["epochs"], chosen["eval_step"]) == ((10, 10) if shortened else (30, 5)), model
        plain = config(model, recipe="plain")
        assert plain["window_stride"] is None
    assert config("UniSID", recipe="plain")["id_dim"] == 6
    assert config("UniSID", id_dim=8)["id_dim"] == 8
    assert config("TIGER")["window_stride"] is None
    for text in ("", "item_id:token"):
        (folder / "shop.item").write_text(text)
        assert not recipes_of_data(config("ItemID").final_config_dict, folder)


def test_defaults_follow_the_items_that_somebody_has(tmp_path: Path) -> None:
    """Not the rows of the item file: 30 interactions for each of 10 items are dense, and call for few codes."""
    (tmp_path / "shop").mkdir()
    rows = [f"{row}\t{row % 10}\t{row}" for row in range(300)]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (tmp_path / "shop" / "shop.inter").write_text("\n".join([head, *rows]))
    listed = ["item_id:token\ttitle:token_seq", *map(str, range(3000))]
    (tmp_path / "shop" / "shop.item").write_text("\n".join(listed))
    chosen = UniSIDConfig("UniSID", "shop", {"data_path": str(tmp_path)})
    assert (chosen["id_dim"], chosen["codebook_sizes"]) == (16, [4] * 3)


@pytest.mark.parametrize("items", [10, 100, None])
def test_large_data_have_larger_batches(
    items: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what dense data have, without an item file, too; for our models, in the default recipe alone."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [f"{row}\t{row % (items or 10)}\t{row}" for row in range(301)]
    (folder / "shop.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    if items is not None:
        (folder / "shop.item").write_text("\n".join(["item_id:token", *map(str, range(items))]))

    def size(model: str, **more: Any) -> int:
        return UniSIDConfig(model, "shop", {"data_path": str(tmp_path), **more})["train_batch_size"]  # type: ignore[no-any-return]

    assert size("UniSID") == 1536
    for limit, expected in ((301, 1536), (300, 6144)):
        monkeypatch.setattr(features, "LARGE", limit)
        assert [size(model) for model in ("UniSID", "ItemID", "SemanticID", "DenseText")] == [expected] * 4
    assert size("UniSID", recipe="plain") == size("TIGER") == size("UniSID", train_batch_size=1536) == 1536
    wide = UniSIDConfig("UniSID", "shop", {"data_path": str(tmp_path)})["id_dim"]
    assert wide == (16 if items == 10 else 6)
