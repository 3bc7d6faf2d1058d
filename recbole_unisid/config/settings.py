"""Every setting by its description in ``properties/settings.yaml``: kind, words and who reads it.

Nothing of this file imports torch or RecBole: a misspelt option is answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from recbole_unisid.config.defaults import properties_folder, read_yaml
from recbole_unisid.errors import UserError, did_you_mean, shown


def as_list(value: Any) -> list[Any] | None:
    """Read a setting that is a list, given as one, as one value or as values with commas between."""
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _interval(text: str) -> str:
    number = r"\s*(-?(?:\d+\.?\d*|\.\d+|inf))\s*"
    for part in text.split(";"):
        found = re.fullmatch(rf"\s*([\[(]){number},{number}([\])])\s*", part)
        if not found or float(found[2]) > float(found[3]) or f"{found[3]}{found[4]}" == "inf]":
            raise ValueError("no interval")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _EvalArgs(_Strict):
    split: dict[str, Any] | None = None
    order: str = "TO"
    group_by: str | None = None
    mode: str | dict[str, str] | None = None


class _ClipGradNorm(_Strict):
    max_norm: Annotated[float, Field(gt=0)]
    norm_type: Annotated[float, Field(gt=0)] = 2.0


class _Negatives(_Strict):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[int, Field(ge=1)]]
    shared: Annotated[int, Field(ge=1)]


def _numbers(words: str, kind: Any, **bounds: Any) -> tuple[Any, str]:
    return Annotated[kind, Field(**bounds)], words


def _lists(member: Any, words: str) -> tuple[Any, str]:
    values = Annotated[list[member], BeforeValidator(as_list), Field(min_length=1)]
    return values, f"a list, each of it {words}"


def _mappings(member: Any, words: str) -> tuple[Any, str]:
    return Annotated[dict[str, member], Field()], f"a mapping to {words}"


def _words(*words: str, any_case: bool = False) -> tuple[Any, str]:
    read = BeforeValidator(lambda given: str(given).lower() if any_case else given)
    return Annotated[Literal[words], read], f"one of {', '.join(words)}"


_TEXT, _COUNT = (str, "text"), _numbers("a whole number of at least 1", int, ge=1)
_INTERVAL = (Annotated[str, AfterValidator(_interval)], "text such as [5,inf)")
#: The kinds of values that settings.yaml names: what they keep, and what completes "must be ...".
KINDS: dict[str, tuple[Any, str]] = {
    "any": (Any, "anything"),
    "flag": (bool, "true or false"),
    "text": _TEXT,
    "texts": _lists(*_TEXT),
    "names": (list[str], "a list of text"),
    "parts": (Annotated[list[str], BeforeValidator(as_list)], "a list, each of it text, or []"),
    "place": (str | Path, "text"),
    "count": _COUNT,
    "counts": _lists(*_COUNT),
    "whole": _numbers("a whole number of at least 0", int, ge=0),
    "seed": _numbers("a whole number of at least 0 and at most 4,294,967,295", int, ge=0, le=2**32 - 1),
    "integer": (int, "a whole number"),
    "number": (float, "a number"),
    "not_negative": _numbers("a number of at least 0", float, ge=0),
    "positive": _numbers("a number above 0", float, gt=0),
    "rate": _numbers("a number of at least 0 and below 1", float, ge=0, lt=1),
    "share": _numbers("a number above 0 and below 1", float, gt=0, lt=1),
    "part": _numbers("a number of at least 0 and at most 1", float, ge=0, le=1),
    "table": (dict[str, Any] | None, "a mapping such as {key: value}"),
    "columns": _mappings(*_lists(*_TEXT)),
    "interval": _INTERVAL,
    "intervals": _mappings(
        _INTERVAL[0] | list[str], f"{_INTERVAL[1]}, of a column of names to a list of them"
    ),
    "distances": _lists(*_words("cosine", "euclidean")),
    "negatives": (_COUNT[0] | _Negatives, f"{_COUNT[1]} or such numbers by loss with one for 'shared'"),
    "eval_args": (_EvalArgs, "a mapping of split, order, group_by and mode"),
    "clip_grad_norm": (_ClipGradNorm, "a mapping of max_norm and norm_type, numbers above 0"),
    # RecBole takes Adam where it does not know the name, and says so in the log.
    "learner": _words("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam", any_case=True),
    "state": _words("debug", "info", "warning", "error", "critical", any_case=True),
}
#: What stands for the same thing in different models; the one that a model reads is named.
SAME = (
    ("hidden_size", "embedding_size", "semantic_dim", "attention_dim", "id_dim"),
    ("num_layers", "n_layers"),
    ("num_heads", "n_heads"),
    ("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob"),
    ("loss_type", "loss"),
    ("train_neg_sample_args", "negatives"),
)


#: A name of `KINDS`, or the words of a choice.
Kind = str | tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A setting's description.

    `by` is who reads it: ``all``, ``ours``, ``recbole``, ``sequential``, ``listed`` (models whose file has it) or
    ``nobody``; `place` whether it is no part of a run's hash; `known` are words that it takes among others, each with
    the class that it names (``module:Class``) where there is one.
    """

    name: str
    group: str
    words: str
    kind: Kind = "any"
    by: str = "all"
    place: bool = False
    known: Mapping[str, str | None] = field(default_factory=dict)


@cache
def settings() -> dict[str, Setting]:
    """All settings by name, in the order of settings.yaml."""
    found = {}
    for group, members in read_yaml(properties_folder() / "settings.yaml").items():
        common = members.pop("_", {})
        for name, said in members.items():
            about = common | (said if isinstance(said, dict) else {"words": said})
            if isinstance(about.get("kind"), list):
                about = about | {"kind": tuple(about["kind"])}
            if isinstance(about.get("known"), list):
                about = about | {"known": dict.fromkeys(about["known"])}
            found[name] = Setting(name, group, **about)
    return found


def registered(name: str) -> dict[str, str]:
    """The classes that a setting names: word -> ``module:Class``."""
    return {word: place for word, place in settings()[name].known.items() if place}


@cache
def place_keys() -> frozenset[str]:
    """Settings that are no part of a run's hash, and no difference between two variants of a model."""
    return frozenset(name for name, setting in settings().items() if setting.place)


def split_keys() -> frozenset[str]:
    """Settings that decide what is trained on and asked for, and places: all that a split can read."""
    groups = ("Protocol", "Places and screen", "Data files")
    return frozenset(name for name, setting in settings().items() if setting.group in groups)


def words_of(kind: Kind) -> str:
    """The values of a kind, as what completes "must be ..."."""
    return KINDS[kind][1] if isinstance(kind, str) else _words(*kind)[1]


@cache
def _checker(kind: Kind) -> type[BaseModel]:
    values = KINDS[kind][0] if isinstance(kind, str) else _words(*kind)[0]
    return create_model("_One", __base__=_Strict, value=(values, ...))


def misfit(value: Any, kind: Kind) -> tuple[str, str] | None:
    """What a value must be where it is not of a kind, and the nearest word that would do.

    >>> misfit(0, "count"), misfit("cosin", ("cosine", "euclidean")), misfit(3, "number")
    (('a whole number of at least 1', ''), ('one of cosine, euclidean', ' Did you mean cosine?'), None)
    """
    try:
        _checker(kind).model_validate({"value": value})
    except ValidationError as error:
        first = error.errors()[0]
        words = re.findall(r"'([^']+)'", str(first.get("ctx", {}).get("expected", "")))
        return words_of(kind), did_you_mean(str(first["input"]), words)
    return None


def kind_like(default: Any) -> Kind:
    """The kind that a default tells: of a number, true or false, text or a tuple of counts; else ``any``."""
    kinds = {bool: "flag", int: "integer", float: "number", str: "text", tuple: "counts"}
    return kinds.get(type(default), "any")


def check_values(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "") -> None:
    """Refuse values that a setting cannot have.

    Of RecBole's settings without a description, a number must stay a number and true or false must stay so; `where`
    begins the message.

    >>> check_values({"n_heads": 0}, {"n_heads": 2})
    Traceback (most recent call last):
    recbole_unisid.errors.UserError: n_heads=0 must be a whole number of at least 1; the default is 2.
    """
    known, of_recbole = settings(), {"flag": "flag", "integer": "number", "number": "number"}
    for key, value in given.items():
        default = defaults.get(key)
        kind = known[key].kind if key in known else of_recbole.get(str(kind_like(default)), "any")
        if (value is None and default is None) or not (wrong := misfit(value, kind)):
            continue
        said = f"; the default is {default}" if key in defaults else ""
        quoted = isinstance(value, str) and value.startswith("{")  # and so no mapping that can be read
        eaten = (
            f' A shell takes quotes away: put the whole between double ones, --{key}="...".' if quoted else ""
        )
        raise UserError(f"{where}{key}={shown(value)} must be {wrong[0]}{said}.{wrong[1]}{eaten}")
