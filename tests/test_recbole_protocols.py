"""RecBole's protocol settings: every model has the rows and the targets that they name, or says no before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_items import with_items

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.data.split import TEST, TRAIN, VALID
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.registry import recbole_folder
from recbole_unisid.runs.split_files import load_split

Row = tuple[str, str, float]
QUICK: dict[str, Any] = {"epochs": 1, "show_progress": False, "use_gpu": False, "eval_batch_size": 64}
RATIO = {"split": {"RS": [0.8, 0.1, 0.1]}}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "ratio by user": RATIO,
    "ratio in time": RATIO | {"group_by": "none"},
    "other shares": {"split": {"RS": [5, 2, 3]}, "group_by": None},
    "no validation": {"split": {"RS": [0.7, 0, 0.3]}},
    "test only": {"split": {"LS": "test_only"}},
    "leave one out": {"split": {"LS": "valid_and_test"}},
    "random ratio": RATIO | {"order": "RO"},
    "random leave one out": {"order": "RO"},
}


def expected(root: Path, args: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """The split in plain loops over the file: pairs of user and item that are trained, validated and tested on."""
    rows = [line.split("\t") for line in (root / "tiny" / "tiny.inter").read_text().splitlines()[1:]]
    histories: dict[str, list[tuple[float, str]]] = {}
    for user, item, _, time in rows:
        histories.setdefault(user, []).append((float(time), item))
    for history in histories.values():
        history.sort(key=lambda entry: entry[0])  # stable: ties as in the file
    first = {(user, history[0][1]) for user, history in histories.items()}
    lists = [[(user, item) for _, item in history[1:]] for user, history in histories.items()]
    if str(args.get("group_by", "user")).lower() == "none":
        everything = [(time, user, item) for user, history in histories.items() for time, item in history[1:]]
        lists = [[(user, item) for _, user, item in sorted(everything, key=lambda entry: entry[0])]]
    found: dict[str, set[tuple[str, str]]] = {"train": first, "valid": set(), "test": set()}
    ((kind, value),) = args["split"].items()
    for targets in lists:
        n = len(targets)
        if kind == "LS":
            test = int(n >= 2)
            valid = int(n >= 3 and value == "valid_and_test")
        else:
            total = sum(value)
            valid, test = int(value[1] / total * n), int(value[2] / total * n)
            for part in ("test", "valid"):
                share = value[2 if part == "test" else 1] / total * n
                if n - valid - test > 1 and 0 < share < 1:
                    valid, test = (valid, test + 1) if part == "test" else (valid + 1, test)
        found["train"] |= set(targets[: n - valid - test])
        found["valid"] |= set(targets[n - valid - test : n - test])
        found["test"] |= set(targets[n - test :])
    return found


def split_rows(model: str, root: Path, args: dict[str, Any]) -> tuple[Any, dict[str, set[tuple[str, str]]]]:
    """What a model's loaders hold, as pairs of names."""
    config = UniSIDConfig(model, "tiny", settings=QUICK | {"data_path": str(root), "eval_args": args})
    dataset = load_dataset(config)
    loaders = make_loaders(config, dataset)
    sequences, split = dataset.sequences, dataset.split
    phases = {"train": split.phase <= TRAIN, "valid": split.phase == VALID, "test": split.phase == TEST}
    found = {
        name: {
            (sequences.user_ids[user], sequences.item_ids[item])
            for user, item in zip(sequences.users[mask], sequences.items[mask], strict=True)
        }
        for name, mask in phases.items()
    }
    if not config.is_own_model:  # what RecBole's loaders hold, too: prefix rows leave out first interactions
        for name, loader in (("train", loaders.train), ("valid", loaders.valid), ("test", loaders.test)):
            if loader is None:
                assert not found[name]
                continue
            table = loader.dataset.inter_feat
            users = dataset.field2id_token["user_id"][table["user_id"].numpy()]
            items = dataset.field2id_token["item_id"][table["item_id"].numpy()]
            held = set(zip(users.tolist(), items.tolist(), strict=True))
            first = {(sequences.user_ids[u], sequences.item_ids[sequences.of(u)[0]]) for u in range(50)}
            assert held == (found[name] - first if config.is_sequential else found[name])
    return dataset, found


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_model_has_the_same_rows(name: str, tiny: Path, in_empty_folder: Path) -> None:
    """Ours, RecBole's sequential and RecBole's general ones; in time as an independent split has it."""
    found = {model: split_rows(model, tiny, PROTOCOLS[name])[1] for model in ("ItemID", "GRU4Rec", "BPR")}
    assert found["ItemID"] == found["GRU4Rec"] == found["BPR"]
    if "random" not in name:
        assert found["ItemID"] == expected(tiny, {"split": {"LS": "valid_and_test"}} | PROTOCOLS[name])
    else:
        in_time = expected(tiny, {"split": {"LS": "valid_and_test"}} | PROTOCOLS[name])
        assert {part: len(rows) for part, rows in found["BPR"].items()} == {
            k: len(v) for k, v in in_time.items()
        }
        assert found["BPR"]["test"] != in_time["test"]


def test_a_random_history_is_what_was_trained_on(tiny: Path, in_empty_folder: Path) -> None:
    """In random order a user's training items stand first, in time, and what is held out behind them."""
    dataset, _ = split_rows("ItemID", tiny, PROTOCOLS["random ratio"])
    sequences, phase = dataset.sequences, dataset.split.phase
    assert (np.diff(sequences.users) >= 0).all()
    for user in range(sequences.n_users):
        own = slice(*sequences.offsets[user : user + 2])
        assert (np.diff(phase[own]) >= 0).all()
        trained = sequences.times[own][phase[own] <= TRAIN]
        assert (np.diff(trained) >= 0).all()


def test_protocols_are_named_and_hashed(tiny: Path, in_empty_folder: Path) -> None:
    """Each has a folder and a description of its own; two models of one protocol have one description."""
    said, folders = {}, set()
    for name, args in PROTOCOLS.items():
        result = recbole_unisid.run(
            "Pop", "tiny", QUICK | {"data_path": str(tiny), "eval_args": args}, verbose=False
        )
        said[name] = (result["protocol"]["description"], result["protocol"]["order"])
        folders.add(result["run_dir"])
        assert (result["valid"] is None) == (name in ("no validation", "test only"))
    assert len(folders) == len(set(said.values())) == len(PROTOCOLS)
    assert said["random ratio"][1] == "random"


@pytest.mark.parametrize("name", ["ratio by user", "ratio in time", "test only", "random ratio"])
def test_models_are_ranked_on_the_same_targets(name: str, tiny: Path, in_empty_folder: Path) -> None:
    """Case by case, and where the order is that of time on those of an independent split."""
    given = QUICK | {"data_path": str(tiny), "eval_args": PROTOCOLS[name]}
    cases, said = [], set()
    for model in ("ItemID", "GRU4Rec", "BPR"):
        result = recbole_unisid.run(model, "tiny", given, verbose=False)
        said.add(result["protocol"]["description"])
        with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
            cases.append([ranks[key].tolist() for key in ("user", "target", "target_popularity")])
    assert cases[0] == cases[1] == cases[2]
    assert len(said) == 1
    if "random" not in name:
        targets = expected(tiny, PROTOCOLS[name])["test"]
        assert set(zip(*cases[0][:2], strict=True)) == targets
        assert len(cases[0][0]) == len(targets)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eval_args": {"split": {"LS": "valid_only"}}}, "say valid_and_test or test_only"),
        ({"eval_args": {"split": {"LS": "valid_test"}}}, "Did you mean valid_and_test"),
        ({"eval_args": {"split": {"SR": [0.8, 0.1, 0.1]}}}, "no split 'SR'.*three shares"),
        ({"eval_args": {"split": {"TS": [0.8, 0.1, 0.1]}}}, "--split=global_time"),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, "three shares"),
        ({"eval_args": {"split": {"RS": [0.8, 0.2, 0]}}}, "three shares"),
        ({"eval_args": {"split": "RS"}}, "must be a mapping of split"),
        ({"eval_args": {"group_by": "none"}}, "group_by=none must be user"),
        ({"eval_args": RATIO | {"group_by": "item"}}, "must be user or none"),
        ({"eval_args": {"order": "XO"}}, "order=XO must be TO"),
        ({"eval_args": {"mode": "labeled"}}, "mode labeled is not evaluated here"),
        ({"eval_args": {"mode": None}}, "mode None is not evaluated here"),
        ({"eval_args": {"mode": {"valid": "uni", "test": "full"}}}, "mode uni is not evaluated"),
        ({"eval_args": RATIO, "split": "global_time"}, "two protocols"),
        ({"eval_args": RATIO | {"order": "RO"}, "ties": "shuffled:3"}, "no effect in random order"),
        ({"unload_col": {"inter": ["rating"]}}, "load_col names others"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "lacks timestamp"),
        ({"val_interval": {"stars": "[4,inf)"}}, "no file of 'tiny' has a column 'stars'"),
        (
            {"user_inter_num_interval": "[99,inf)"},
            r"user_inter_num_interval=\[99,inf\) leaves nothing of 'tiny' to train on: 0 of 403 interactions",
        ),
        (
            {"val_interval": {"rating": "[9,inf)"}},
            r"val_interval=.*\[9,inf.* leaves nothing .* 0 of 50 users",
        ),
        ({"log_wandb": True}, "pip install wandb"),
        ({"metrics": ["AUC"], "valid_metric": "AUC"}, "AUC is no metric of rankings.*RecBole has .*NDCG"),
        ({"metrics": "NDCG,Recal"}, "Recal is no metric .*Did you mean Recall"),
        ({"metrics": ["GAUC"], "valid_metric": "GAUC@10"}, "valid_metric=GAUC@10 is none of"),
    ],
)
@pytest.mark.parametrize("model", ["ItemID", "BPR"])
def test_what_cannot_be_is_said_before_any_work(
    model: str, change: dict[str, Any], words: str, tiny: Path, in_empty_folder: Path
) -> None:
    """One line, and no run folder with weights."""
    with pytest.raises(UserError, match=words):
        recbole_unisid.run(model, "tiny", QUICK | {"data_path": str(tiny)} | change, verbose=False)
    assert not list(Path().rglob("*.safetensors"))


@pytest.mark.parametrize("model", ["ItemID", "GRU4Rec", "BPR"])
def test_a_metric_without_a_cutoff_chooses_the_epoch(model: str, tiny: Path, in_empty_folder: Path) -> None:
    """RecBole's GAUC is one figure."""
    given = QUICK | {"data_path": str(tiny), "metrics": ["GAUC"], "valid_metric": "GAUC"}
    result = recbole_unisid.run(model, "tiny", given, verbose=False)
    assert result["protocol"]["valid_metric"] == "gauc"
    assert 0 < result["test"]["recbole"]["gauc"] < 1


@pytest.mark.parametrize("model", ["ItemID", "GRU4Rec", "BPR"])
def test_filters_hold_for_every_model(model: str, tiny: Path, in_empty_folder: Path) -> None:
    """Columns that are filtered by are loaded; counts are those of a loop over the file."""
    lines = [line.split("\t") for line in (tiny / "tiny" / "tiny.inter").read_text().splitlines()[1:]]
    kept = [line for line in lines if int(line[2]) >= 3]
    users = [line[0] for line in kept]
    kept = [line for line in kept if users.count(line[0]) >= 5]
    change = {"val_interval": {"rating": "[3,inf)"}, "user_inter_num_interval": "[5,inf)"}
    result = recbole_unisid.run(model, "tiny", QUICK | {"data_path": str(tiny)} | change, verbose=False)
    assert result["data"]["interactions"] == len(kept)
    assert result["data"]["users"] == len({line[0] for line in kept})
    explicit = change | {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    again = recbole_unisid.run(model, "tiny", QUICK | {"data_path": str(tiny)} | explicit, verbose=False)
    assert again["test"] == result["test"]


@pytest.mark.parametrize("model", ["ItemID", "GRU4Rec", "BPR"])
@pytest.mark.parametrize("field", ["user_id", "kind"])
def test_filters_by_names(field: str, model: str, tiny: Path, tmp_path: Path, in_empty_folder: Path) -> None:
    """RecBole's list of what is kept, of a column of either file."""
    kept = [f"u{user}" for user in range(20)] if field == "user_id" else ["kind0", "kind2"]
    lines = [line.split("\t") for line in (tiny / "tiny" / "tiny.inter").read_text().splitlines()[1:]]
    names = [row[0] if field == "user_id" else f"kind{int(row[1][1:]) % 3}" for row in lines]
    given = QUICK | {"data_path": str(with_items(tiny, tmp_path)), "val_interval": {field: kept}}
    result = recbole_unisid.run(model, "tiny", given, verbose=False)
    assert result["data"]["interactions"] == sum(name in kept for name in names)


@pytest.mark.parametrize("model", ["ItemID", "SASRec", "BPR"])
def test_a_copy_of_recboles_defaults_is_taken(model: str, tiny: Path, in_empty_folder: Path) -> None:
    """Files of settings begin as one; its protocol is RecBole's, and what suits other models alone asks for nothing."""
    given = QUICK | {"data_path": str(tiny), "checkpoint_dir": "saved"}
    file = recbole_folder() / "properties" / "overall.yaml"
    result = recbole_unisid.run(model, "tiny", given, [file], verbose=False)
    assert result["protocol"]["description"].startswith("in random order (seed 12345), ratio 0.8")
    assert result["protocol"]["valid_metric"] == "mrr@10"


@pytest.mark.parametrize("model", ["ItemID", "SASRec", "BPR"])
def test_a_doubled_row_is_dropped_and_ties_stay(model: str, tmp_path: Path, in_empty_folder: Path) -> None:
    """RecBole sorts unstably for rm_dup_inter; where nothing is doubled nothing moves."""
    draw = np.random.default_rng(3)
    rows = [
        f"u{u}\ti{i}\t{day}"
        for u in range(40)
        for day in range(2)
        for i in draw.permutation(40)[:20] + 40 * day
    ]
    folder = tmp_path / "days"
    folder.mkdir()
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "days.inter").write_text("\n".join([head, *rows]) + "\n")
    given = {"data_path": str(tmp_path)} | QUICK

    def items(**more: Any) -> list[int]:
        config = UniSIDConfig(model, "days", settings=given | more)
        dataset = load_dataset(config)
        make_loaders(config, dataset)
        names = dataset.sequences.item_ids[dataset.sequences.items]
        return list(names)

    plain = items()
    assert plain == [row.split("\t")[1] for row in rows]
    assert items(rm_dup_inter="first") == items(rm_dup_inter="last") == plain
    (folder / "days.inter").write_text("\n".join([head, *rows, "u0\ti0\t5", "u0\ti0\t5"]) + "\n")
    assert len(items(rm_dup_inter="last")) == len(set(rows) | {"u0\ti0\t5"}) - (rows[0:40].count("u0\ti0\t0"))


def test_pop_is_popularity(in_empty_folder: Path) -> None:
    """ml-100k's figures whatever the batch, and the control's; RecBole's own figure follows its batches."""
    own = set()
    for batch in (1024, 100_000):
        given = QUICK | {"train_batch_size": batch, "eval_batch_size": 1024}
        result = recbole_unisid.run("Pop", "ml-100k", given, verbose=False)
        assert result["test"]["full"] == result["controls"]["popularity"]["full"]
        assert result["test"]["full"]["recall@10"] == pytest.approx(79 / 943)  # .0838
        own.add(result["test"]["recbole"]["recall@10"])
    assert len(own) == 2


def write_repeats(root: Path) -> dict[str, Any]:
    """Write `again`, 40 users who have two in five items anew; the settings of a run on it."""
    draw = np.random.default_rng(11)
    rows = []
    for user in range(40):
        history: list[int] = []
        for time in np.sort(draw.uniform(0, 1000, draw.integers(8, 25))):
            again = history and draw.random() < 0.4
            history.append(int(draw.choice(history) if again else draw.zipf(1.5) % 60))
            rows.append(f"u{user}\ti{history[-1]}\t{time:.3f}")
    (root / "again").mkdir(parents=True)
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (root / "again" / "again.inter").write_text("\n".join([head, *rows]) + "\n")
    return QUICK | {"data_path": str(root)}


def ranked(scores: np.ndarray, loaded: Any) -> dict[str, list[int]]:
    """Ranks of every test target by the scores [users, n_items + 1], in plain loops: `full` and `full_unfiltered`."""
    sequences, found = loaded.sequences, {"full": [], "full_unfiltered": []}
    for target in loaded.split.targets(TEST):
        user = int(np.searchsorted(sequences.offsets, target, side="right")) - 1
        item, own = int(sequences.items[target]), scores[user]
        had = set(sequences.items[sequences.offsets[user] : target].tolist())
        rivals = [other for other in range(1, sequences.n_items + 1) if other != item]
        for name, left_out in (("full", had), ("full_unfiltered", set())):
            found[name].append(1 + sum(own[other] >= own[item] for other in rivals if other not in left_out))
    return found


@pytest.mark.parametrize("model", ["Pop", "BPR"])
@pytest.mark.parametrize(
    "change",
    [
        {"split": "global_time"},
        {"split": "global_time", "eval_batch_size": 10**6},
        {"eval_args": RATIO},
        {"eval_args": RATIO | {"group_by": "none"}},
        {"eval_args": RATIO | {"order": "RO"}},
        {},
    ],
)
def test_general_models_leave_out_what_was_had_before_each_target(
    change: dict[str, Any], model: str, in_empty_folder: Path
) -> None:
    """Every candidate set, also where users have several targets and repeat; popularity is its control."""
    given = write_repeats(Path("data")) | change
    result = recbole_unisid.run(model, "again", given, verbose=False)
    assert result["repeated_targets"] > 0.2
    loaded = load_split(
        "again", {"data_path": "data"} | {k: v for k, v in change.items() if "batch" not in k}
    )
    sequences, folder = loaded.sequences, Path(result["run_dir"])
    if model == "Pop":
        counts = loaded.split.training_counts(sequences)
        scores = np.broadcast_to(counts, (sequences.n_users, len(counts)))
        for name, figures in result["controls"]["popularity"].items():
            assert result["test"][name] == figures
    else:
        weights = load_file(folder / "model.safetensors")
        scores = weights["user_embedding.weight"][1:] @ weights["item_embedding.weight"].T
    expected_ranks = ranked(scores, loaded)
    with np.load(folder / "ranks.npz") as ranks:
        for name, its in expected_ranks.items():
            assert ranks[f"rank_{name}"].tolist() == its
        assert "rank_sampled99" in ranks
    assert result["test"]["full_unfiltered"]["ndcg@10"] != result["test"]["full"]["ndcg@10"]


@pytest.mark.parametrize("model", ["ItemKNN", "BPR"])
def test_general_models_among_sampled_candidates(model: str, in_empty_folder: Path) -> None:
    """Of a catalogue in which all the others are drawn: the ranks among what the user never has."""
    given = write_repeats(Path("data")) | {"split": "global_time", "valid_candidates": "sampled99"}
    result = recbole_unisid.run(model, "again", given, verbose=False)
    with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
        assert (ranks["rank_sampled99"] <= ranks["rank_full"]).all()
        assert (ranks["rank_full"] <= ranks["rank_full_unfiltered"]).all()
        assert (ranks["rank_sampled99"] < ranks["rank_full"]).any()
    assert result["history"][-1]["valid"] == pytest.approx(result["valid"]["sampled99"]["ndcg@10"])


@pytest.mark.parametrize("model", ["ItemID", "TIGER", "SASRec", "Pop"])
def test_renamed_columns(model: str, tiny: Path, tmp_path: Path, in_empty_folder: Path) -> None:
    """Users, items and times under names of one's own: the same figures."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    text = (tiny / "tiny" / "tiny.inter").read_text()
    for old, new in (("user_id:", "sess:"), ("item_id:", "p_id:"), ("timestamp:", "when:")):
        text = text.replace(old, new)
    (folder / "tiny.inter").write_text(text)
    item = "item_id:token\ttitle:token_seq\n" + "".join(f"i{k}\tthing {k} of {k % 5}\n" for k in range(30))
    (tiny / "tiny" / "tiny.item").write_text(item)
    (folder / "tiny.item").write_text(item.replace("item_id:", "p_id:"))
    quick = QUICK | {"text_encoder": "lsa", "codebook_sizes": [4, 4]}
    quick = quick if model == "TIGER" else QUICK
    names = {"USER_ID_FIELD": "sess", "ITEM_ID_FIELD": "p_id", "TIME_FIELD": "when"}
    renamed = recbole_unisid.run(model, "tiny", quick | names | {"data_path": str(tmp_path)}, verbose=False)
    plain = recbole_unisid.run(model, "tiny", quick | {"data_path": str(tiny)}, verbose=False)
    (tiny / "tiny" / "tiny.item").unlink()
    assert renamed["test"]["full"] == plain["test"]["full"]


def test_runs_that_cannot_share_a_table(tiny: Path, tmp_path: Path, in_empty_folder: Path) -> None:
    """RecBole drops interactions of items that the item file lacks, for models that read it: said before training."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.inter").write_text((tiny / "tiny" / "tiny.inter").read_text())
    lines = [f"i{k}\tthing {k}\tkind{k % 3}\n" for k in range(30)]
    header = "item_id:token\ttitle:token_seq\tclass:token_seq\n"
    (folder / "tiny.item").write_text(header + "".join(lines[2:]))
    given = QUICK | {"data_path": str(tmp_path)}
    with pytest.raises(UserError, match=r"SASRecF reads tiny.item, which lacks 2 items .*apart from ItemID"):
        recbole_unisid.run("ItemID,SASRecF", "tiny", given, verbose=False)
    assert not Path("runs").exists()
    assert recbole_unisid.run("SASRecF", "tiny", given, verbose=False)["data"]["items"] == 28
    (folder / "tiny.item").write_text(header + "".join(lines))
    both = recbole_unisid.run("ItemID,SASRecF", "tiny", given, verbose=False)
    assert both[0]["data"] == both[1]["data"]


def test_bert4rec_wants_two_items(
    tiny: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It leaves out the first item of a history: every history of one item would get the same list."""
    folder = recbole_unisid.run("BERT4Rec", "tiny", QUICK | {"data_path": str(tiny)}, verbose=False)[
        "run_dir"
    ]
    assert main(["recommend", "--run", folder, "--history", "i1", "-k", "3"]) == 2
    assert "leaves out the first item of a history" in capsys.readouterr().err
    assert main(["recommend", "--run", folder, "--history", "i1,i2", "-k", "3"]) == 0
