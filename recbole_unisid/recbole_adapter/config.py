"""RecBole's Config with our models, our defaults and no silent keys."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_unisid.recbole_adapter import upstream_fixes as mends

mends.mend()  # before RecBole's own modules read NumPy's names

from recbole.config import Config  # noqa: E402
from recbole.utils import InputType  # noqa: E402

from recbole_unisid import distributed  # noqa: E402
from recbole_unisid.config.defaults import (  # noqa: E402
    dataset_defaults,
    model_defaults,
    overall_defaults,
    values_when_absent,
)
from recbole_unisid.config.given import parsed  # noqa: E402
from recbole_unisid.config.settings import as_list, check_values, place_keys  # noqa: E402
from recbole_unisid.data.disk import folder_to_read  # noqa: E402
from recbole_unisid.data.prepare import ensure_dataset  # noqa: E402
from recbole_unisid.errors import UserError  # noqa: E402
from recbole_unisid.evaluation.metrics import FULL_CUTOFFS  # noqa: E402
from recbole_unisid.files import fingerprint, sha256_of  # noqa: E402
from recbole_unisid.plugins.loading import CLASS_SETTINGS, check_class_defaults, class_defaults, code_of  # noqa: E402
from recbole_unisid.recbole_adapter.features import (  # noqa: E402
    DENSE,
    SMALL,
    feature_settings,
    fitting_sizes,
    header,
    inter_columns,
    items_in_use,
    recipes_of_data,
)
from recbole_unisid.recbole_adapter.keys import check_known, documented_keys, recbole_code_keys  # noqa: E402
from recbole_unisid.recbole_adapter.protocol import check_metrics, check_protocol, check_valid_metric  # noqa: E402
from recbole_unisid.recbole_adapter.registry import PUBLISHED_MODELS, part_classes, resolve  # noqa: E402

#: What RecBole works out from the other settings, and would refuse or ignore if it were given.
_DERIVED = frozenset(
    """
    MODEL_TYPE MODEL_INPUT_TYPE eval_type device single_spec local_rank valid_metric_bigger
    valid_neg_sample_args test_neg_sample_args
    """.split()  # noqa: SIM905
)
#: Lists that RecBole's code reads.
LISTS = frozenset(
    """
    metrics topk benchmark_filename additional_feat_suffix alias_of_user_id alias_of_item_id selected_features
    score_terms
    """.split()  # noqa: SIM905
)


class UniSIDConfig(Config):
    """A run's settings, resolved.

    From weak to strong: RecBole's defaults, ours (overall, data set, model, recipe), a class's own, `settings`, of
    which texts are parsed as literals. An unknown model, recipe or key, or a value that cannot be used, is a UserError.
    """

    def __init__(self, model: str, dataset: str, settings: Mapping[str, Any] | None = None) -> None:
        distributed.join()
        external = parsed(settings or {})
        if isinstance(external.get("eval_args"), Mapping):  # RecBole fills up with random rows instead
            external["eval_args"] = overall_defaults()["eval_args"] | external["eval_args"]
        self._recipe = str(external.get("recipe", "default"))
        self.chosen = resolve(model)  # an unknown model is named before an unknown key
        check_known(external, model)
        # It follows from the model; a copy of RecBole's defaults has False.
        if external.pop("repeatable", False) and not self.chosen.sequential:
            raise UserError(f"repeatable=True has no effect here: {model} leaves out what a user had.")
        try:
            super().__init__(model=model, dataset=dataset, config_dict=external)
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"RecBole refuses these settings: {' '.join(str(error).split())}") from error

    # --- what RecBole's constructor calls ---------------------------------------------------------

    def compatibility_settings(self) -> None:
        """RecBole writes removed NumPy names here; :mod:`.upstream_fixes` did it safely."""

    def _load_cmd_line(self) -> dict[str, Any]:
        """The command line is read by our own parser, never from ``sys.argv`` behind a caller's back."""
        return {}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return parsed(config_dict)

    def _get_model_and_dataset(self, model: str, dataset: str) -> tuple[str, type[Any], str]:
        return model, self.chosen.cls, dataset

    def _load_internal_config_dict(self, model: str, model_class: type[Any], dataset: str) -> None:
        # RecBole extends its module-wide list of dataset keys at every call; ours stays per object.
        shared: dict[str, list[str]] = self.parameters
        self.parameters: dict[str, list[str]] = {kind: list(keys) for kind, keys in shared.items()}
        kin = self.chosen.family
        super()._load_internal_config_dict(kin, model_class, dataset)
        own = overall_defaults() | dataset_defaults(dataset) | model_defaults(kin, self._recipe)
        brought = self._defaults_of_classes(own)
        self.internal_config_dict.update(own | brought)
        check_values(self.external_config_dict, self.internal_config_dict)
        for key in LISTS & self.external_config_dict.keys():  # RecBole takes a text for a list of letters
            self.external_config_dict[key] = as_list(self.external_config_dict[key])
        merged = self.internal_config_dict | self.external_config_dict
        check_metrics(as_list(merged["metrics"]) or [])
        folder = folder_to_read(dataset, str(merged["data_path"]))
        self._make_ready(folder, merged)
        own |= model_defaults(kin, self._recipe, recipes_of_data(merged, folder))
        if "weak_text_id_dim" in own and "id_dim" in {*brought, *self.external_config_dict}:
            own["weak_text_id_dim"] = 0  # a width that is asked for is one for any text
        self.internal_config_dict.update(own | brought)
        if (
            "codebook_sizes" in own
            and self._recipe in ("default", "plain", *DENSE, "large")
            and "codebook_sizes" not in brought
        ):
            items = items_in_use(merged, folder, SMALL)
            sizes = fitting_sizes(own["codebook_sizes"], bool(merged.get("id_dim")), items)
            self.internal_config_dict["codebook_sizes"] = sizes
        # General models mask what a user had; sequential ones may recommend it again (RecBole's rule).
        self.internal_config_dict["repeatable"] = self.chosen.sequential
        self._choose_columns(merged, folder)
        self._choose_negatives(merged)

    def _defaults_of_classes(self, own: dict[str, Any]) -> dict[str, Any]:
        """The defaults that the model's class and those of its parts bring along; `own` are this package's."""
        brought = class_defaults(self.model_class)
        for part in part_classes(own | brought | self.external_config_dict, own):
            brought = class_defaults(part) | brought
        check_class_defaults(brought, self.model, documented_keys(), recbole_code_keys)
        check_values(brought, self.internal_config_dict | own, f"'{self.model}': in its defaults, ")
        return brought

    def _choose_columns(self, merged: Mapping[str, Any], folder: Path) -> None:
        """Have the columns loaded that are read or named, and those alone."""
        columns = {"inter": inter_columns(merged, folder)}
        features = feature_settings(self.chosen.family, merged, folder)
        for names in features.values():
            columns["item"] = [merged["ITEM_ID_FIELD"], *(as_list(names) or [])]
        for suffix in merged["additional_feat_suffix"] or ():
            columns[suffix] = [*header(folder / f"{folder.name}.{suffix}", merged["field_separator"])]
        self._load_filtered(columns, merged, folder)
        self.internal_config_dict |= features | {"load_col": columns}

    def _choose_negatives(self, merged: Mapping[str, Any]) -> None:
        """Take the number of negatives of the loss, and no sampled ones where the model reads none."""
        if isinstance(merged.get("negatives"), Mapping):  # our default: a number for each loss
            numbers = merged["negatives"]
            given = "negatives" in self.external_config_dict
            settings = self.external_config_dict if given else self.internal_config_dict
            settings["negatives"] = numbers.get(merged["loss"], numbers["shared"])
        # A full softmax needs no sampled negatives; RecBole raises where its own default has them, or a copy of it.
        full_softmax = merged.get("loss_type") == "CE" and not hasattr(self.model_class, "input_type")
        if self.chosen.sequential and (full_softmax or self.chosen.family in PUBLISHED_MODELS):
            usual, asked = self.internal_config_dict["train_neg_sample_args"], self.external_config_dict
            if asked.get("train_neg_sample_args") == usual:
                asked["train_neg_sample_args"] = None
            self.internal_config_dict["train_neg_sample_args"] = None
        learns_from = getattr(self.model_class, "input_type", None)
        pairwise = learns_from == InputType.PAIRWISE or merged.get("loss_type") == "BPR"
        if pairwise and not self.chosen.ours and not merged.get("train_neg_sample_args", True):
            raise UserError(
                f"{self.chosen.name} learns from pairs of a positive and a negative item: train_neg_sample_args must "
                "say how negatives are drawn, as by default, {distribution: uniform, sample_num: 1}."
            )

    def _load_filtered(
        self, columns: dict[str, list[str]], settings: Mapping[str, Any], folder: Path
    ) -> None:
        """Have the columns loaded that ``val_interval`` filters by, beside those that are read or named."""
        if settings.get("unload_col"):
            raise UserError(
                "unload_col has no effect: only columns that are read are loaded; load_col names others."
            )
        given = self.external_config_dict.get("load_col")
        if given is not None:
            missing = [name for name in columns["inter"] if name not in given.get("inter", ())]
            if missing and given.get("inter") != "*":
                raise UserError(
                    f"load_col: inter lacks {', '.join(missing)}, which every model reads; add it."
                )
            columns = copy.deepcopy(dict(given))
            self.external_config_dict["load_col"] = columns
        for field in () if settings.get("benchmark_filename") else settings.get("val_interval") or ():
            suffixes = {"inter": "USER_ID_FIELD", "item": "ITEM_ID_FIELD", "user": "USER_ID_FIELD"}
            separator = settings["field_separator"]
            files = {suffix: header(folder / f"{folder.name}.{suffix}", separator) for suffix in suffixes}
            held = {suffix: types[field] for suffix, types in files.items() if field in types}
            if not held:
                raise UserError(f"val_interval: no file of '{folder.name}' has a column '{field}'.")
            kept = settings["val_interval"][field]
            names = any(kind.startswith("token") for kind in held.values())
            if isinstance(kept, str) == names:
                wanted = (
                    "names: give a list of those" if names else "numbers: give an interval such as '[4,inf)'"
                )
                raise UserError(f"val_interval: '{field}' holds {wanted} to keep, not {kept}.")
            for suffix in held:
                loaded = columns.setdefault(suffix, [settings[suffixes[suffix]]])
                if isinstance(loaded, list) and field not in loaded:
                    loaded.append(field)

    def _init_device(self) -> None:
        """Choose the device without hiding GPUs from the rest of the process, as RecBole does."""
        import torch

        settings = self.final_config_dict
        names, number = [str(name) for name in as_list(settings["gpu_id"]) or []], distributed.local_rank()
        settings["device"] = torch.device("cpu")
        if not all(name.isdecimal() for name in names):
            raise UserError(
                f"gpu_id={settings['gpu_id']} must be numbers of GPUs; --use_gpu=False runs on the CPU."
            )
        if names and settings["use_gpu"] and torch.cuda.is_available():
            # With several processes on this machine: the n-th of the GPUs named, or of all from the first on.
            chosen = int(names[number]) if number < len(names) else int(names[0]) + number
            settings["device"] = torch.device("cuda", chosen)
            torch.cuda.set_device(settings["device"])
        # Several processes are our trainer's matter: RecBole's own way stays off.
        settings["single_spec"], settings["local_rank"] = True, distributed.rank()

    # --- what the rest of the package asks --------------------------------------------------------

    def _make_ready(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Prepare the data set if it is not there yet; the columns to load depend on its files."""
        parts = settings.get("benchmark_filename")
        if not parts:
            with distributed.writer_first():
                ensure_dataset(folder.name, folder.parent, progress=bool(settings["show_progress"]))
        named = {"benchmark_filename": [f"{part}.inter" for part in parts or ()]}
        named["additional_feat_suffix"] = settings.get("additional_feat_suffix") or []
        for key, endings in named.items():
            for file in (f"{folder.name}.{ending}" for ending in endings):
                if not (folder / file).is_file():
                    raise UserError(f"{key} names {file}, but there is no such file in {folder}.")

    def _set_default_parameters(self) -> None:
        data_path = str(self.final_config_dict["data_path"])
        super()._set_default_parameters()
        settings, usual = self.final_config_dict, overall_defaults()["eval_args"]
        check_protocol(settings, usual, self.chosen)
        check_valid_metric(settings)
        if settings["log_wandb"] and importlib.util.find_spec("wandb") is None:
            raise UserError("log_wandb=True needs the package wandb: pip install wandb.")
        self.final_config_dict["data_path"] = str(folder_to_read(self.dataset, data_path))
        self.data_root = data_path

    @property
    def is_own_model(self) -> bool:
        """Whether the model trains on whole sequences (ours) rather than on RecBole's prefix rows."""
        return self.chosen.ours

    @property
    def is_written_here(self) -> bool:
        """Whether the model is this package's code rather than RecBole's."""
        return self.chosen.ours or self.chosen.family in PUBLISHED_MODELS

    @property
    def is_sequential(self) -> bool:
        """Whether the model reads a history rather than a user number."""
        return self.chosen.sequential

    def make_model(self, dataset: Any) -> Any:
        """The model, on the run's device; it reads its sizes from the dataset."""
        model = self.model_class(self, dataset).to(self.final_config_dict["device"])
        listed, least = getattr(model, "listed", None), FULL_CUTOFFS[-1]
        if listed and listed < least:
            raise UserError(f"beams={listed} cannot be measured at {least} items: set beams to that or more.")
        return model

    def resolved(self) -> dict[str, Any]:
        """Every setting as plain values, fit for YAML, to run the same again."""
        plain = {k: v for k, v in self.final_config_dict.items() if k not in _DERIVED}
        plain["data_path"] = self.data_root
        if plain["train_neg_sample_args"]["distribution"] == "none":
            plain["train_neg_sample_args"] = None  # as RecBole wants it given
        resolved: dict[str, Any] = json.loads(json.dumps(plain, sort_keys=True, default=_plain))
        return resolved

    def hashed(self) -> dict[str, Any]:
        """The settings that decide the figures, with the source of the user's own classes; no paths or device."""
        settings = {key: value for key, value in self.resolved().items() if key not in place_keys()}
        later = values_when_absent(settings)
        settings = {key: value for key, value in settings.items() if later.get(key, settings) != value}
        named = [settings.get(key) for key in CLASS_SETTINGS] + list(settings.get("score_terms") or [])
        code = code_of([self.model, *named])
        settings |= {"code": code} if code else {}
        return settings | ({"from": content_of(Path(self["from"]))} if self["from"] else {})


def content_of(run: Path) -> str:
    """What a finished run's weights, items and tokens are, those that were added to it as well, wherever it lies."""
    manifests = [run / "serving.json", *sorted(run.glob("catalogue/*/serving.json"))]
    return fingerprint([sha256_of(path) for path in manifests])


def _plain(value: Any) -> Any:
    """What JSON has no form for, as a list or text."""
    return list(value) if isinstance(value, set) else str(value)
