"""Beams and exact scorers of item codes, against brute force and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.errors import UserError
from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.backbones.base import TransformerSettings
from recbole_unisid.models.backbones.transformer import CausalTransformer
from recbole_unisid.models.tiger.causal import CausalItems, CodeHead
from recbole_unisid.models.tiger.decoder import children_loss
from recbole_unisid.models.tiger.encoder_decoder import (
    CodeTransformer,
    CodeVocabulary,
    EncoderDecoder,
    prefix_histories,
)
from recbole_unisid.models.tiger.scoring import (
    beam_search,
    score_candidates,
    score_catalogue,
    share_of_top,
    spread_over_items,
)
from recbole_unisid.recbole_adapter.optimisation import follow_schedule, relative_groups

SIZES = [6, 5, 7]
USERS = 4


def catalogue(items: int = 60, seed: int = 0) -> np.ndarray:
    """Distinct tuples in an order of their own."""
    rng = np.random.default_rng(seed)
    codes = np.unique(np.column_stack([rng.integers(0, size, items) for size in SIZES]), axis=0)
    return rng.permutation(codes)


class Case:
    """A decoder with large random weights, histories, and every item's likelihood by brute force."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(3)
        codes = catalogue()
        self.trie, self.n_items = CodeTrie.of(codes), len(codes)
        self.codes = torch.from_numpy(np.concatenate([np.zeros_like(codes[:1]), codes]))
        if kind.startswith("t5"):
            self._t5(kind == "t5 over children")
        else:
            self._head(kind == "head over children")

    def _head(self, among_children: bool) -> None:
        self.decoder = CodeHead(SIZES, 16, 32, 0.5, 1.0, among_children).eval()
        table, states = torch.randn(sum(SIZES), 16), torch.randn(USERS, 16)
        self.state = self.decoder.begin(states, table)
        rows = self.codes[1:] + torch.tensor(self.decoder.starts[:-1])
        self.brute = torch.stack([self._of_head(state, table, rows) for state in states])

    def _of_head(self, state: torch.Tensor, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        vectors = table[rows]
        prefixes = vectors.cumsum(1) - vectors
        states = state.expand(len(rows), -1)
        logits = [self.decoder(level, states, prefixes[:, level], table) for level in range(rows.shape[1])]
        return self._likely(logits)

    def _likely(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """Of all items, from logits of each level's codes [items, codes] after the items' own prefixes."""
        codes, likely = self.codes[1:], torch.zeros(self.n_items)
        for level, row in enumerate(logits):
            if self.decoder.among_children:
                # Of every item: the codes that some item has after the same prefix.
                same = (codes[:, None, :level] == codes[None, :, :level]).all(-1)
                after = [codes[alike, level].unique() for alike in same]
                total = torch.stack([row[n, some].logsumexp(0) for n, some in enumerate(after)])
            else:
                total = row.logsumexp(-1)
            likely += row.gather(1, codes[:, [level]])[:, 0] - total
        return likely

    def _t5(self, among_children: bool) -> None:
        words = CodeVocabulary(self.codes, SIZES, users=3)
        self.decoder = CodeTransformer(words, 16, 32, 2, 2, 8, 0.5, 1.0, among_children).eval()
        for weight in self.decoder.parameters():
            weight.data.mul_(2)
        histories = torch.randint(1, self.n_items + 1, (USERS, 5))
        histories[0, 2:] = 0
        tokens = words.histories(histories, torch.tensor([1, 5, 2, 9]))
        self.state = self.decoder.begin(tokens)
        answers = words.tokens[1:]
        # By transformers, one user a time and without padding: what padding does is a part of the test.
        kept = [row[row > 0].expand(self.n_items, -1) for row in tokens]
        given = torch.nn.functional.pad(answers[:, :-1], (1, 0))
        theirs = [self.decoder.t5(input_ids=row, decoder_input_ids=given).logits for row in kept]
        if among_children:
            parts = [zip(words.starts, words.sizes, logits.unbind(1), strict=True) for logits in theirs]
            rows = [[row[:, start : start + size] for start, size, row in part] for part in parts]
            self.brute = torch.stack([self._likely(one) for one in rows])
            return
        likely = [logits.log_softmax(-1) for logits in theirs]
        self.brute = torch.stack([one.gather(2, answers[..., None])[..., 0].sum(1) for one in likely])


@pytest.fixture(params=["head", "head over children", "t5", "t5 over children"])
def case(request: pytest.FixtureRequest) -> Case:
    with torch.no_grad():
        return Case(request.param)


@torch.no_grad()
@pytest.mark.parametrize("numbers", [1, 400, 1 << 20])
def test_exact_scores_equal_teacher_forcing_of_every_item(case: Case, numbers: int) -> None:
    """Shared prefixes, blocks of any size and caches change nothing."""
    found = score_catalogue(case.decoder, case.state, USERS, case.trie, numbers)
    assert torch.isneginf(found[:, 0]).all()
    torch.testing.assert_close(found[:, 1:], case.brute, rtol=0, atol=2e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["head", "t5"])
def test_likelihoods_over_children_sum_to_one(kind: str) -> None:
    """No probability is lost on tuples that no item has."""
    case, open_case = Case(f"{kind} over children"), Case(kind)
    found = score_catalogue(case.decoder, case.state, USERS, case.trie)
    torch.testing.assert_close(found.logsumexp(1), torch.zeros(USERS), rtol=0, atol=1e-5)
    assert (score_catalogue(open_case.decoder, open_case.state, USERS, case.trie).logsumexp(1) < -0.1).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("among_children", [True, False])
def test_the_loss_is_the_mean_negative_log_likelihood(smoothing: float, among_children: bool) -> None:
    """Of all targets of whole sequences, each given its own prefix; smoothing adds to it."""
    codes = catalogue()
    trie = CodeTrie.of(codes)
    padded = torch.from_numpy(np.concatenate([np.zeros_like(codes[:1]), codes]))
    torch.manual_seed(1)
    transformer = CausalTransformer(16, TransformerSettings(6, 1, 1, 16, 32))
    head = CodeHead(SIZES, 16, 32, 0.0, 1.0, among_children)
    writer = CausalItems(padded, SIZES, trie, transformer, head, 16)
    inputs = torch.tensor([[3, 1, 4, 1], [5, 9, 0, 0]])
    targets = torch.tensor([[0, 4, 1, 5], [9, 2, 0, 0]])
    likely = []
    for row, place in (targets > 0).nonzero().tolist():
        history = inputs[row : row + 1, : place + 1]
        state = writer.begin(history, torch.tensor([place + 1]), None)
        likely.append(score_catalogue(head, state, 1, trie)[0, targets[row, place]])
    mean = -torch.stack(likely).mean()
    loss = writer.loss(inputs, targets, None, smoothing)
    if smoothing == 0:
        torch.testing.assert_close(loss, mean)
    else:
        assert loss > mean + 0.01


@pytest.mark.parametrize("among_children", [True, False])
def test_the_loss_of_t5_is_the_mean_negative_log_likelihood(among_children: bool) -> None:
    """Of all targets of whole sequences, each given the items before it."""
    codes = catalogue()
    padded = torch.from_numpy(np.concatenate([np.zeros_like(codes[:1]), codes]))
    torch.manual_seed(1)
    words = CodeVocabulary(padded, SIZES, users=3)
    t5 = CodeTransformer(words, 16, 32, 2, 2, 8, 0.0, 1.0, among_children)
    writer = EncoderDecoder(words, t5, 3, CodeTrie.of(codes))
    inputs = torch.tensor([[3, 1, 4, 1], [5, 9, 0, 0]])
    targets = torch.tensor([[0, 4, 1, 5], [9, 2, 0, 0]])
    users = torch.tensor([7, 8])
    likely = []
    for row, place in (targets > 0).nonzero().tolist():
        history, length = inputs[row : row + 1, : place + 1], torch.tensor([place + 1])
        state = writer.begin(history, length, users[row : row + 1])
        likely.append(score_catalogue(t5, state, 1, writer.trie)[0, targets[row, place]])
    torch.testing.assert_close(writer.loss(inputs, targets, users, 0.0), -torch.stack(likely).mean())


def test_children_are_summed_up_in_float32() -> None:
    level = CodeTrie.of(np.arange(200)[:, None]).levels[0]
    logits = torch.randn(9, 200).bfloat16()
    nodes, wanted = torch.zeros(9, dtype=torch.int64), torch.arange(9)
    found = children_loss(level, nodes, wanted, logits, 0.0)
    assert found.dtype == torch.float32
    expected = torch.nn.functional.cross_entropy(logits.double(), wanted, reduction="sum")
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


@torch.no_grad()
def test_code_vectors_of_t5_start_from_codebooks() -> None:
    """As long as T5's own; a level without a codebook, as the suffix, keeps those."""
    case = Case("t5")
    shared = case.decoder.t5.shared.weight
    before, table = shared.clone(), 0.01 * torch.randn(sum(SIZES), 16)
    table[-SIZES[-1] :] = 0
    writer = EncoderDecoder(case.decoder.vocabulary, case.decoder, 5, case.trie)
    writer.start(table.numpy())
    first, last = 4, len(shared) - SIZES[-1]
    assert torch.equal(shared[:first], before[:first])
    assert torch.equal(shared[last:], before[last:])
    for book, own in zip(
        table[: -SIZES[-1]].split(SIZES[:2]), shared[first:last].split(SIZES[:2]), strict=True
    ):
        torch.testing.assert_close(own.square().mean(), torch.tensor(1.0))
        torch.testing.assert_close(own / own.norm(), book / book.norm())


@torch.no_grad()
def test_candidates_have_the_same_likelihoods(case: Case) -> None:
    items = torch.randint(1, case.n_items + 1, (USERS, 9))
    found = score_candidates(case.decoder, case.state, case.trie, items)
    torch.testing.assert_close(found, case.brute.gather(1, items - 1), rtol=0, atol=2e-4)


@torch.no_grad()
def test_a_beam_as_wide_as_the_catalogue_is_exact(case: Case) -> None:
    items, scores = beam_search(case.decoder, case.state, USERS, case.trie, case.n_items)
    order = case.brute.sort(dim=1, descending=True)
    torch.testing.assert_close(scores, order.values, rtol=0, atol=2e-4)
    assert torch.equal(items, order.indices + 1)


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 2, 7, 20])
def test_no_beam_is_invalid(case: Case, width: int) -> None:
    """Each is an item, once, with its own likelihood."""
    items, scores = beam_search(case.decoder, case.state, USERS, case.trie, width)
    assert items.shape == (USERS, width)
    assert (items > 0).all()
    assert all(len(set(row)) == width for row in items.tolist())
    torch.testing.assert_close(scores, case.brute.gather(1, items - 1), rtol=0, atol=2e-4)


@torch.no_grad()
def test_generate_of_transformers_finds_the_same_lists() -> None:
    """The library's own beam search with a prefix-allowed function, on the same weights."""
    case = Case("t5")
    words, width = case.decoder.vocabulary, 8
    tokens = words.histories(torch.randint(1, case.n_items + 1, (USERS, 5)), torch.arange(USERS))
    items, scores = beam_search(case.decoder, case.decoder.begin(tokens), USERS, case.trie, width)
    known = [tuple(row) for row in words.tokens[1:].tolist()]

    def allowed(_: int, sentence: torch.Tensor) -> list[int]:
        prefix = tuple(sentence.tolist()[1:])
        return sorted({row[len(prefix)] for row in known if row[: len(prefix)] == prefix})

    answer = case.decoder.t5.generate(
        input_ids=tokens,
        attention_mask=(tokens > 0).long(),
        num_beams=width,
        num_return_sequences=width,
        min_new_tokens=len(SIZES),
        max_new_tokens=len(SIZES),
        length_penalty=0.0,
        prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True,
        output_scores=True,
    )
    lists = [known.index(tuple(row)) + 1 for row in answer.sequences[:, 1:].tolist()]
    assert items.tolist() == torch.tensor(lists).view(USERS, width).tolist()
    torch.testing.assert_close(scores, answer.sequences_scores.view(USERS, width), rtol=0, atol=2e-4)


@torch.no_grad()
def test_fewer_items_than_beams_below_a_code() -> None:
    """Beams without a child die; they never come back as items."""
    codes = np.array([[0, 0], [1, 0], [1, 1]])
    decoder = CodeHead([2, 2], 4, 8, 0.0, 1.0).eval()
    state = decoder.begin(torch.randn(2, 4), torch.randn(4, 4))
    items, scores = beam_search(decoder, state, 2, CodeTrie.of(codes), 10)
    listed = scores > -torch.inf
    assert [sorted(row[kept].tolist()) for row, kept in zip(items, listed, strict=True)] == [[1, 2, 3]] * 2
    assert (items[~listed] == 0).all()
    spread = spread_over_items(items, scores, 3)
    assert torch.isneginf(spread[:, 0]).all()
    assert torch.isfinite(spread[:, 1:]).all()


def test_levels_where_no_prefix_branches_cost_nothing() -> None:
    """The first code tells the items apart: the decoder is asked for no other, in ranking or in training."""
    codes = np.array([[2, 1], [0, 0], [1, 1]])
    trie, padded = CodeTrie.of(codes), torch.from_numpy(np.concatenate([np.zeros((1, 2), np.int64), codes]))
    head = CodeHead([3, 2], 4, 8, 0.0, 1.0)
    writer = CausalItems(
        padded, [3, 2], trie, CausalTransformer(4, TransformerSettings(6, 1, 1, 4, 8)), head, 4
    )
    writer.loss(torch.tensor([[1, 2]]), torch.tensor([[2, 3]]), None, 0.0).backward()
    assert all(float(weight.grad.abs().sum()) == 0 for weight in head.out[1].parameters())
    state = writer.begin(torch.tensor([[1, 2]]), torch.tensor([2]), None)
    exact = score_catalogue(head, state, 1, trie)
    torch.testing.assert_close(exact.logsumexp(1), torch.zeros(1))
    items, scores = beam_search(head, state, 1, trie, 3)
    torch.testing.assert_close(scores, exact.gather(1, items))
    torch.testing.assert_close(score_candidates(head, state, trie, items), scores)


def test_temperature_flattens_the_likelihoods() -> None:
    head, flat = (CodeHead([4], 3, 4, 0.0, temperature, False) for temperature in (1.0, 1000.0))
    flat.load_state_dict(head.state_dict())
    state = head.begin(torch.randn(1, 3), 10 * torch.randn(4, 3))
    place = (torch.tensor([0]), torch.tensor([0]))
    assert float(head.score(state, 0, place).detach().std()) > 1
    even = torch.full((1, 4), 0.25)
    torch.testing.assert_close(flat.score(state, 0, place).exp(), even, rtol=0, atol=0.03)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(*[st.integers(0, 3)] * 3), min_size=1), st.randoms())
def test_the_tree_holds_the_tuples_and_nothing_else(tuples: set[tuple[int, ...]], random) -> None:
    codes = list(tuples)
    random.shuffle(codes)
    trie = CodeTrie.of(np.array(codes))
    found = {}

    def walk(depth: int, node: int, prefix: tuple[int, ...]) -> None:
        if depth == len(trie.levels):
            found[int(trie.items[node])] = prefix
            return
        level = trie.levels[depth]
        for child in range(int(level.start[node]), int(level.start[node + 1])):
            assert int(level.parent[child]) == node
            walk(depth + 1, child, (*prefix, int(level.code[child])))

    walk(0, 0, ())
    assert [found[item + 1] for item in range(len(codes))] == codes
    prefixes = {row[:length] for row in codes for length in range(3)}
    assert sum(len(level.start) - 1 for level in trie.levels) == len(prefixes)


def test_shared_tuples_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"3 of 4 items share .*--collisions=suffix or --collisions=balanced"):
        CodeTrie.of(np.array([[1, 2], [1, 2], [0, 1], [1, 2]]))


def test_share_of_the_exact_top() -> None:
    exact = torch.tensor([[-torch.inf, 4.0, 3.0, 2.0, -torch.inf], [-torch.inf, 1.0, 2.0, 3.0, 4.0]])
    listed = torch.tensor([[-torch.inf, 4.0, -torch.inf, 2.0, -torch.inf], [-torch.inf, 1.0, 2.0, 3.0, 4.0]])
    assert share_of_top(listed, exact, k=2) == pytest.approx(0.75)
    assert share_of_top(listed, exact, k=4) == pytest.approx((2 / 3 + 1) / 2)


def test_every_target_gets_the_history_before_it() -> None:
    inputs = torch.tensor([[5, 6, 7, 8], [3, 4, 0, 0]])
    targets = torch.tensor([[0, 7, 8, 9], [4, 2, 0, 0]])
    histories, wanted, rows = prefix_histories(inputs, targets, max_len=3)
    assert histories.tolist() == [[5, 6, 0], [5, 6, 7], [6, 7, 8], [3, 0, 0], [3, 4, 0]]
    assert wanted.tolist() == [7, 8, 9, 4, 2]
    assert rows.tolist() == [0, 0, 0, 1, 1]


def test_rates_follow_the_steps_and_go_on_after_a_restart() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))

    def steps(optimizer: torch.optim.Optimizer, count: int) -> list[float]:
        rates = []
        for _ in range(count):
            weight.grad = torch.ones(2)
            optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    for schedule, rates in (
        ("inverse_sqrt", [1, 1, 1.5**-0.5, 2**-0.5]),
        ("cosine", [0.5, 1, 0.75, 0.25, 0]),  # rising for two steps, then half a cosine over three
    ):
        first = torch.optim.Adam([weight], lr=1.0)
        follow_schedule(first, schedule, 1.0, 2, lambda: 5)
        assert steps(first, 3) == pytest.approx(rates[:3])
        second = torch.optim.Adam([weight], lr=1.0)
        follow_schedule(second, schedule, 1.0, 2, lambda: 5)
        second.load_state_dict(first.state_dict())
        assert steps(second, len(rates) - 3) == pytest.approx(rates[3:])
    with pytest.raises(UserError, match="schedule='linear'"):
        follow_schedule(first, "linear", 1.0, 2, lambda: 5)


def test_relative_rates_follow_the_schedule_too() -> None:
    """Each weight is changed by its share: Adam's first steps are the rate itself."""
    large, small, none = (torch.nn.Parameter(torch.full((3,), size)) for size in (2.0, -0.05, 0.0))
    optimizer = torch.optim.Adam(relative_groups([large, small, none], 0.1), lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.005, 0.0001])
    follow_schedule(optimizer, "cosine", 0.1, 2, lambda: 6)
    for part in (large, small, none):
        part.grad = torch.ones(3)
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.0025, 0.00005])
    torch.testing.assert_close(large.detach(), torch.full((3,), 1.9))
    torch.testing.assert_close(small.detach(), torch.full((3,), -0.0525))
