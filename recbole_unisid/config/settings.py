"""Every setting by its description in ``properties/settings.yaml``: kind, words and who reads it.

Nothing of this file imports torch or RecBole: a misspelt option is answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
from recbole_unisid.errors import UserError, did_you_mean


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
    """Numbers by loss."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[int, Field(ge=1)]]
    shared: Annotated[int, Field(ge=1)]


def _listed(member: Any) -> Any:
    return Annotated[list[member], BeforeValidator(as_list), Field(min_length=1)]


def _by_name(member: Any) -> Any:
    return Annotated[dict[str, member], Field()]


def _any_case(*words: str) -> Any:
    return Annotated[Literal[words], BeforeValidator(lambda given: str(given).lower())]


_COUNT = Annotated[int, Field(ge=1)]
_INTERVAL = Annotated[str, AfterValidator(_interval), Field(examples=["[5,inf)"])]
#: The kinds of values that settings.yaml names.
KINDS: dict[str, Any] = {
    "any": Any,
    "flag": bool,
    "text": str,
    "texts": _listed(str),
    "place": str | Path,
    "count": _COUNT,
    "counts": _listed(_COUNT),
    "whole": Annotated[int, Field(ge=0)],
    "seed": Annotated[int, Field(ge=0, le=2**32 - 1)],
    "integer": int,
    "number": float,
    "not_negative": Annotated[float, Field(ge=0)],
    "positive": Annotated[float, Field(gt=0)],
    "rate": Annotated[float, Field(ge=0, lt=1)],
    "share": Annotated[float, Field(gt=0, lt=1)],
    "part": Annotated[float, Field(ge=0, le=1)],
    "table": dict[str, Any] | None,
    "columns": _by_name(_listed(str)),
    "interval": _INTERVAL,
    "intervals": _by_name(_INTERVAL),
    "distances": _listed(Literal["cosine", "euclidean"]),
    "negatives": _COUNT | _Negatives,
    "eval_args": _EvalArgs,
    "clip_grad_norm": _ClipGradNorm,
    # RecBole takes Adam where it does not know the name, and says so in the log.
    "learner": _any_case("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"),
    "state": _any_case("debug", "info", "warning", "error", "critical"),
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

    Attributes
    ----------
    by : str
        Who reads it: ``all``, ``ours``, ``recbole``, ``sequential``, ``listed`` (models whose file has it) or
        ``nobody``.
    place : bool
        Whether it decides where or how loudly a run happens and nothing that it computes: no part of its hash.
    known : tuple of str
        Words that it takes among others.
    """

    name: str
    group: str
    words: str
    kind: Kind = "any"
    by: str = "all"
    place: bool = False
    known: tuple[str, ...] = ()


@cache
def settings() -> dict[str, Setting]:
    """All settings by name, in the order of settings.yaml."""
    found = {}
    for group, members in read_yaml(properties_folder() / "settings.yaml").items():
        common = members.pop("_", {})
        for name, said in members.items():
            about = common | (said if isinstance(said, dict) else {"words": said})
            lists = {key: tuple(value) for key, value in about.items() if isinstance(value, list)}
            found[name] = Setting(name, group, **(about | lists))
    return found


@cache
def place_keys() -> frozenset[str]:
    """Settings that are no part of a run's hash, and no difference between two variants of a model."""
    return frozenset(name for name, setting in settings().items() if setting.place)


@cache
def _checker(kind: Kind) -> type[BaseModel]:
    values: Any = KINDS[kind] if isinstance(kind, str) else Literal[kind]
    return create_model("_One", __base__=_Strict, value=(values, ...))


@cache
def words_of(kind: Kind) -> str:
    """The values of a kind, as what completes "must be ..."."""
    found = _checker(kind).model_json_schema()
    return _words(found["properties"]["value"], found.get("$defs", {}))


_TYPES = {"integer": "a whole number", "number": "a number", "string": "text", "null": "None"}
_BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _words(schema: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    schema = named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(part, named) for part in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return f"one of {', '.join(schema.get('enum', [schema.get('const')]))}"
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("type") == "array":
        return f"a list, each of it {_words(schema['items'], named)}"
    if "properties" in schema:
        return (
            f"a mapping of {', '.join(f'{k} ({_words(v, named)})' for k, v in schema['properties'].items())}"
        )
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties", True)
        return "a mapping such as {key: value}" if inner is True else f"a mapping to {_words(inner, named)}"
    bounds = " and ".join(f"{word} {schema[key]:,.12g}" for key, word in _BOUNDS.items() if key in schema)
    example = f"such as {schema['examples'][0]}" if "examples" in schema else ""
    return " ".join(filter(None, (_TYPES.get(schema.get("type", ""), "anything"), bounds, example)))


def misfit(value: Any, kind: Kind) -> tuple[str, str] | None:
    """What a value must be where it is not of a kind, and the nearest word that would do.

    Examples
    --------
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

    Parameters
    ----------
    given : mapping
        Settings that somebody gave, their text already read as values.
    defaults : mapping
        Every default of the model. Of RecBole's own settings without a description, a number must stay a number
        and true or false must stay so.
    where : str
        Begins the message.

    Raises
    ------
    UserError
        For the first value that does not fit, with what would.

    Examples
    --------
    >>> check_values({"n_heads": 0}, {"n_heads": 2})
    Traceback (most recent call last):
    recbole_unisid.errors.UserError: n_heads=0 must be a whole number of at least 1; the default is 2.
    """
    known, of_recbole = settings(), {"flag": "flag", "integer": "number", "number": "number"}
    for key, value in given.items():
        default = defaults.get(key)
        kind = known[key].kind if key in known else of_recbole.get(str(kind_like(default)), "any")
        if value == default or not (wrong := misfit(value, kind)):
            continue
        said = f"; the default is {default}" if key in defaults else ""
        raise UserError(f"{where}{key}={value} must be {wrong[0]}{said}.{wrong[1]}")
