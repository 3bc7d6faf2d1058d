"""What values settings take: kinds, bounds and choices, checked before anything is read or trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from recbole_unisid.config.rules import COUNT, FLAG, TEXT, Choice, Kind, Listed, Number, Rule, rule_of
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.tokens.quantiser import CODE_LENGTHS, DISTANCES
from recbole_unisid.tokens.residual_quantiser import ESTIMATORS, LEARNING


@dataclass(frozen=True)
class Mapped:
    """A mapping with known keys, each with a rule, of which one is needed."""

    members: Mapping[str, Rule]
    needed: str

    def fits(self, value: Any) -> bool:
        """Whether a value is such a mapping."""
        if not isinstance(value, Mapping) or self.needed not in value:
            return False
        return all(key in self.members and self.members[key].fits(member) for key, member in value.items())

    def __str__(self) -> str:
        members = ", ".join(f"{key} ({rule})" for key, rule in self.members.items())
        return f"a mapping of {members}, of which {self.needed} is needed"


@dataclass(frozen=True)
class Negatives:
    """A number, or a number for each loss."""

    def fits(self, value: Any) -> bool:
        """Whether a value is one number, or a mapping of losses to numbers that has ``shared``."""
        if isinstance(value, Mapping):
            return "shared" in value and all(COUNT.fits(number) for number in value.values())
        return COUNT.fits(value)

    def __str__(self) -> str:
        return f"{COUNT}, or such numbers by loss with one for 'shared'"


WHOLE = Number(0, whole=True)
SEED = Number(0, 2**32 - 1, whole=True)
NOT_NEGATIVE, POSITIVE = Number(0), Number(0, above=True)
RATE = Number(0, 1, below=True)
SHARE = Number(0, 1, above=True, below=True)
PLACE = Kind((str, PathLike), "text")
OPTIONS = Kind((Mapping,), "a mapping such as {key: value}")

_GROUPS: dict[Rule, str] = {
    COUNT: """attention_dim beam_check_users beam_numbers beams epochs eval_batch_size eval_scores eval_step
        head_dim head_inner_size inner_size joint_kmeans_iterations MAX_ITEM_LIST_LENGTH n_heads n_layers semantic_dim
        text_batch_size text_max_length text_processes train_batch_size window_stride hidden_size embedding_size
        num_layers num_heads""",
    WHOLE: """exact_items id_dim loss_decimal_place metric_decimal_place stopping_step user_tokens warmup_steps
        worker""",
    SEED: "protocol_seed seed tokenizer_seed",
    NOT_NEGATIVE: """checkpoint_minutes initializer_range joint_commitment joint_dead_below joint_weight
        lookahead_weight table_scale weight_decay""",
    POSITIVE: "layer_norm_eps learning_rate temperature",
    RATE: """attn_dropout_prob dropout_prob head_dropout_prob hidden_dropout_prob joint_decay label_smoothing
        weight_average""",
    SHARE: "cold_share test_share valid_share",
    FLAG: """compile enable_amp exact_times joint_padding reproducibility show_progress shuffle use_gpu verbose""",
    TEXT: """architecture collisions loss ranker recipe schedule softmax_over split text_prompt text_template ties
        tokenizer valid_candidates valid_metric""",
    PLACE: "cache_dir data_path output_dir text_encoder tokens_file",
    OPTIONS: "tokenizer_options",
}
#: Setting -> what its value must be, whichever model reads it. Words that a class may add to (``loss``) or that
#: another module knows (``tokenizer``, ``split``, ``ranker``) are checked there.
RULES: dict[str, Rule] = {key: rule for rule, keys in _GROUPS.items() for key in keys.split()} | {
    "codebook_sizes": Listed(COUNT),
    "distances": Listed(Choice(DISTANCES)),
    "clip_grad_norm": Mapped({"max_norm": POSITIVE, "norm_type": POSITIVE}, "max_norm"),
    "eval_args": Mapped(
        {
            "split": OPTIONS,
            "order": Choice(("TO",)),  # the last items are what is to be predicted
            "group_by": Kind((str, type(None)), "text"),
            "mode": Kind((str, Mapping), "text or a mapping"),
        },
        "order",
    ),
    "gbce_t": Number(0, 1),
    "joint_hidden": Listed(COUNT),
    "metrics": Listed(TEXT),
    "negatives": Negatives(),
    "text_fields": Listed(TEXT),
    "topk": Listed(COUNT),
    # RecBole takes Adam where it does not know the name, and says so in the log.
    "learner": Choice(("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"), any_case=True),
    "table_init": Choice(("text", "normal")),
    "id_join": Choice(("concatenate", "add")),
    "semantics": Choice(("fixed", "joint")),
    "joint_learning": Choice((*LEARNING, "direct")),
    "joint_estimator": Choice(tuple(ESTIMATORS)),
    "joint_code_length": Choice(CODE_LENGTHS),
    "joint_updates": Choice(("one", "three")),
    "joint_losses": Choice(("all", "inputs")),
}


def check_values(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "") -> None:
    """Refuse values that a setting cannot have.

    Parameters
    ----------
    given : mapping
        Settings that somebody gave, their text already read as values.
    defaults : mapping
        Every default of the model. Of RecBole's own settings without a rule here, a number must stay a number
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
    for key, value in given.items():
        default = defaults.get(key)
        rule = RULES.get(key) or (None if isinstance(default, str) else rule_of(default))
        if rule is None or (value is None and default is None) or rule.fits(value):
            continue
        near = did_you_mean(value, rule.words) if isinstance(rule, Choice) and isinstance(value, str) else ""
        known = "" if key not in defaults else f"; the default is {default}"
        raise UserError(f"{where}{key}={value} must be {rule}{known}.{near}")
