"""Recommend from an exported folder with numpy, onnxruntime, faiss and safetensors: no torch, no RecBole.

This one file is copied into every folder that ``recbole-unisid export`` writes and needs nothing else of the
package: ship the folder, ``pip install numpy onnxruntime faiss-cpu safetensors``, and

    from recommender import Recommender
    Recommender("folder").recommend(["item 1", "item 2"], k=10)

Nothing is unpickled: the files are JSON, safetensors, ONNX and FAISS's own binary format, each with a SHA-256 in
``manifest.json``, which is checked before it is read.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["ItemRecommender", "Recommendation", "Recommender", "RecommenderError"]

#: Rows of the catalogue; scores, or coordinates of vectors.
Rows: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]

#: Version of the folder's layout that this file reads.
SCHEMA = 1
MANIFEST, ITEMS, VECTORS = "manifest.json", "items.json", "vectors.safetensors"
INDEX, ENCODER = "index.faiss", "encoder.onnx"
_KEYS = {
    *("schema", "model", "dataset", "run", "items", "width", "terms"),
    *("levels", "max_length", "index", "encoder", "versions", "files"),
}
_LARGEST_MANIFEST = 1 << 20
_DTYPES: dict[str, Any] = {"F32": np.float32, "I64": np.int64}
#: Items that a search looks at closely; a text that matches more is too short to rank them all.
_LOOKED_AT = 1000


class RecommenderError(ValueError):
    """A question or a folder that cannot be used: one line, what and how to mend it."""


class Recommendation(NamedTuple):
    """One item of an answer."""

    id: str  # its name in the data set
    title: str  # or its name where it has none
    codes: tuple[int, ...]  # its tokens, coarse to fine, where the model has them
    score: float = 0.0  # higher is better within one answer; 0 where nothing was scored


class ItemRecommender:
    """A catalogue that can be searched and recommended from; subclasses say how items are scored.

    Names of items stand once each; `codes`, [items, levels], are their tokens.
    """

    def __init__(
        self, ids: Sequence[str], titles: Sequence[str], codes: NDArray[np.int64] | None = None
    ) -> None:
        self.ids, self.titles, self.codes = list(ids), list(titles), codes
        self._rows = {item: row for row, item in enumerate(self.ids)}
        if len(self._rows) != len(self.ids) or len(self.titles) != len(self.ids):
            raise RecommenderError("items need a name of their own and a title each.")
        folded = [_fold(f"{title}\t{item}") for title, item in zip(self.titles, self.ids, strict=True)]
        # One long text is searched many times faster than a list of titles.
        self._text = "\n".join(folded)
        self._starts = [0, *itertools.accumulate(len(line) + 1 for line in folded)][:-1]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)

    def __contains__(self, item: object) -> bool:
        """Whether an item of that name is in the catalogue."""
        return item in self._rows

    def recommend(self, history: Sequence[str], k: int = 10, seen: bool = False) -> list[Recommendation]:
        """Recommend `k` items, or all there are, for a history, best first; equal scores in the catalogue's order.

        A history has names of items, oldest first, at least one; the model reads the last ``max_length`` of them. With
        `seen` its items may be recommended again.
        """
        return self.recommend_many([history], k, seen)[0]

    def recommend_many(
        self, histories: Sequence[Sequence[str]], k: int = 10, seen: bool = False
    ) -> list[list[Recommendation]]:
        """Recommend for several histories at once; see :meth:`recommend`."""
        if not histories:
            return []
        rows = [self._history(history) for history in histories]
        wanted = self._wanted(k)
        left_out = [frozenset() if seen else frozenset(row.tolist()) for row in rows]
        asked = min(len(self), wanted + max(map(len, left_out)))
        scores, found = self._best(rows, asked)
        answers = zip(scores, found, left_out, strict=True)
        return [self._listed(one, items, skipped, wanted) for one, items, skipped in answers]

    def similar(self, item: str, k: int = 10) -> list[Recommendation]:
        """The items whose vectors point most nearly the same way (cosine), best first, without the item."""
        row, wanted = self._row(item), self._wanted(k)
        cosines = self._cosines(row)  # [items]
        best = best_items(cosines, min(len(self), wanted + 1))
        return self._listed(cosines[best], best, frozenset([row]), wanted)

    def search(self, text: str, limit: int = 20) -> list[Recommendation]:
        """Find items by words of their titles, or by their names; for type-ahead.

        Every word must occur, in any order, without regard to case and accents. An item of just that name comes
        first, then titles that begin with the text, then those in which every word begins a word. An empty
        text gives items from all over the catalogue.
        """
        whole = _fold(text)
        words = whole.split()
        if not words or limit < 1:
            step = max(1, len(self) // max(1, limit))
            return [self._item(row) for row in range(0, len(self), step)][: max(0, limit)]
        anchor = max(words, key=len)
        found: list[tuple[int, int, int]] = []
        at = self._text.find(anchor)
        while at >= 0 and len(found) < _LOOKED_AT:
            row = bisect.bisect_right(self._starts, at) - 1
            end = self._starts[row + 1] - 1 if row + 1 < len(self) else len(self._text)
            line = self._text[self._starts[row] : end]
            if all(word in line for word in words):
                begins = all(line.startswith(word) or f" {word}" in line for word in words)
                order = 1 if line.startswith(whole) else 2 if begins else 3
                if line.endswith(whole) and _fold(self.ids[row]) == whole:
                    order = 0
                found.append((order, len(line), row))
            at = self._text.find(anchor, end)
        return [self._item(row) for *_, row in sorted(found)[:limit]]

    def item(self, name: str) -> Recommendation:
        """An item by its name; a :class:`RecommenderError` where there is none."""
        return self._item(self._row(name))

    def _best(self, histories: Sequence[Rows], count: int) -> tuple[Floats, Rows]:
        """Scores and rows of the best items of each history, both [histories, count]; row -1 is none."""
        raise NotImplementedError

    def _cosines(self, row: int) -> Floats:
        """Cosine of one item's vector with all, shape [items]."""
        raise NotImplementedError

    def _item(self, row: int, score: float = 0.0) -> Recommendation:
        codes = () if self.codes is None else tuple(self.codes[row].tolist())
        return Recommendation(self.ids[row], self.titles[row] or self.ids[row], codes, score)

    def _row(self, item: str) -> int:
        row = self._rows.get(item) if isinstance(item, str) else None
        if row is None:
            raise RecommenderError(f"no item {_short(item)} in the catalogue; search() finds names by title.")
        return row

    def _history(self, history: Sequence[str]) -> Rows:
        if isinstance(history, str) or len(history) == 0:
            raise RecommenderError("a history is a list of item names, oldest first, and holds at least one.")
        return np.array([self._row(item) for item in history], dtype=np.int64)

    def _wanted(self, k: int) -> int:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise RecommenderError(f"k={_short(k)} is no number of items; ask for 1 or more.")
        return min(int(k), len(self))

    def _listed(self, scores: Floats, rows: Rows, left_out: frozenset[int], k: int) -> list[Recommendation]:
        order = np.lexsort((rows, -scores))
        pairs = zip(rows[order].tolist(), scores[order].tolist(), strict=True)
        kept = ((row, score) for row, score in pairs if row >= 0 and row not in left_out)
        return [self._item(row, score) for row, score in itertools.islice(kept, k)]


def best_items(scores: Floats, k: int) -> Rows:
    """At most `k` places of the highest of some scores, equal ones in order; -inf is never among them."""
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero((scores >= least) & (scores > -np.inf))
    order = np.lexsort((candidates, -scores[candidates]))
    return candidates[order[:k]]


class Recommender(ItemRecommender):
    """Recommendations from a folder that ``recbole-unisid export`` wrote; a damaged one is refused.

    A score is the inner product of a history's state and an item's vector, a row of `vectors` [items, width], and
    what :class:`_AddedScores` adds. `threads` are those of one encoding; several callers may ask at the same time
    either way. `index` may be replaced by another index of `vectors` by inner product, such as a vector database's:
    ``search(states, count, params=None)`` gives scores and rows of the vectors, [states, count] each, best first.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        folder = Path(folder)
        self.manifest = _read_manifest(folder)
        items, tensors = _read_items(folder / ITEMS), _read_tensors(folder / VECTORS)
        super().__init__(items["ids"], items["titles"], tensors.get("codes"))
        self.vectors: Floats = tensors["vectors"]
        terms = self.manifest.get("terms")
        self._added = None if terms is None else _AddedScores(folder, terms, tensors, self.vectors)
        further = 0 if self._added is None else self._added.width
        self._model_vectors = self.vectors[:, : self.vectors.shape[1] - further]
        self.max_length: int = self.manifest["max_length"]
        self.index = _read_index(folder / INDEX)
        self._encoder = read_encoder(folder / ENCODER, threads)
        shape = (len(self), self.manifest["width"])
        told = {self.vectors.shape, (self.index.ntotal, self.index.d)}
        if told != {shape} or (self.codes is not None and len(self.codes) != len(self)):
            raise RecommenderError(f"the files of {folder} do not belong together; export the run anew.")
        self._try(folder)
        norms = np.linalg.norm(self._model_vectors, axis=1)
        self._inverse_norms = 1 / np.maximum(norms, np.finfo(np.float32).tiny)

    def _try(self, folder: Path) -> None:
        """One recommendation, which must be what the vectors say: files may be whole and not of one export."""
        try:
            states = self.states([np.zeros(1, dtype=np.int64)])
            scores, rows = self.index.search(states, 1, params=self._search_parameters(1))
            self._best([np.zeros(1, dtype=np.int64)], 1)
            expected = self.vectors[rows[0, 0]] @ states[0]
        except Exception as error:  # of onnxruntime or faiss, which have none of their own
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RecommenderError(f"{folder} cannot recommend ({first}); export the run anew.") from None
        allowed = 1e-3 * np.linalg.norm(states[0]) * np.linalg.norm(self.vectors[rows[0, 0]])
        agree = rows[0, 0] < 0 or abs(scores[0, 0] - expected) <= allowed  # ivf may look at an empty list
        if not (agree and np.isfinite(states).all()):
            raise RecommenderError(f"the files of {folder} do not belong together; export the run anew.")

    def states(self, histories: Sequence[Rows]) -> Floats:
        """Encode histories of rows of the catalogue, oldest first, to states [histories, width]."""
        recent = [history[-self.max_length :] for history in histories]
        lengths = np.array([len(history) for history in recent], dtype=np.int64)
        inputs = np.zeros((len(recent), lengths.max(), self._model_vectors.shape[1]), dtype=np.float32)
        for number, history in enumerate(recent):
            inputs[number, : len(history)] = self._model_vectors[history]  # padding on the right
        found = self._encoder.run(["states"], {"vectors": inputs, "lengths": lengths})
        states: Floats = found[0]
        if self._added is None or not self._added.width:
            return states
        return np.concatenate([states, self._added.states(recent)], axis=1)

    def _best(self, histories: Sequence[Rows], count: int) -> tuple[Floats, Rows]:
        states = np.ascontiguousarray(self.states(histories))
        added = [] if self._added is None else [self._added.of(h[-self.max_length :]) for h in histories]
        # Whatever loses may push an item out of the first places: so many more are looked up.
        further = max((int((values < 0).sum()) for _, values in added), default=0)
        asked = min(len(self), count + further)
        scores, rows = self.index.search(states, asked, params=self._search_parameters(asked))
        for number, (items, values) in enumerate(added):
            found, own = self._with_added(rows[number], scores[number], count, states[number], items, values)
            best = np.lexsort((found, -own))[:asked]
            rows[number], scores[number] = -1, -np.inf
            rows[number, : len(best)], scores[number, : len(best)] = found[best], own[best]
        return scores[:, :count], rows[:, :count]

    def _with_added(
        self, rows: Rows, scores: Floats, count: int, state: Floats, items: Rows, values: Floats
    ) -> tuple[Rows, Floats]:
        """What the index found, best first, with what is added, and the further items that may be among `count`."""
        if not len(items):
            return rows, scores
        at = np.minimum(np.searchsorted(items, rows), len(items) - 1)
        own = scores + np.where(items[at] == rows, values[at], 0)
        further = np.ones(len(items), dtype=bool)
        if self.manifest["index"]["kind"] == "exact":
            # No other item has a higher product than the last found.
            slack = 1e-4 * (1 + abs(float(scores[-1])))
            further = values + scores[-1] >= np.partition(own, len(own) - count)[len(own) - count] - slack
        further[at[items[at] == rows]] = False
        others = items[further]
        products = self.vectors[others] @ state
        return np.concatenate([rows, others]), np.concatenate([own, products + values[further]])

    def _search_parameters(self, count: int) -> Any:
        """How widely an approximate index looks, more widely where many items are asked for."""
        import faiss

        library: Any = faiss  # its types do not know how its parameters are made
        about = self.manifest["index"]
        if about["kind"] == "hnsw":
            return library.SearchParametersHNSW(efSearch=max(about["search"], 2 * count))
        if about["kind"] == "ivf":
            return library.SearchParametersIVF(nprobe=about["probes"])
        return None

    def _cosines(self, row: int) -> Floats:
        products: Floats = self._model_vectors @ self._model_vectors[row]
        products *= self._inverse_norms * self._inverse_norms[row]
        return products


class _Links(NamedTuple):
    """An item by item matrix, row by row; a history's items count ``rate ** age``."""

    rate: float
    starts: NDArray[np.int64]
    items: Rows
    values: Floats

    def sound(self, rows: int) -> bool:
        """Whether it links `rows` items."""
        starts, items = self.starts, self.items
        ordered = starts.shape == (rows + 1,) and starts[0] == 0 and bool((starts[1:] >= starts[:-1]).all())
        inside = not len(items) or 0 <= items.min() <= items.max() < rows
        return bool(ordered and inside and starts[-1] == len(items) == len(self.values))


class _AddedScores:
    """What the model's score terms add, as ``recbole_unisid.models.score_terms`` defines them.

    Similarity of text and popularity stand in the last `width` coordinates of the items' vectors, so that the index
    finds them; what a history links to, and what it has already, is added to the scores of those items.
    """

    def __init__(
        self, folder: Path, terms: dict[str, Any], tensors: dict[str, NDArray[Any]], vectors: Floats
    ) -> None:
        try:
            text_width, self._text_rate = int(terms["text"]["width"]), float(terms["text"]["rate"])
            self._popularity = int(bool(terms.get("popularity")))  # older exports have none
            self.width = text_width + self._popularity
            self._seen = [(float(rate), float(weight)) for rate, weight in terms["seen"]]
            self._links = [
                _Links(float(rate), *(tensors[f"{name}.{part}"] for part in ("starts", "items", "values")))
                for name, rate in terms["links"].items()
            ]
            first = vectors.shape[1] - self.width
            self._text = vectors[:, first : first + text_width]
            self._gain = tensors["text_gain"] if text_width else np.ones(len(vectors), dtype=np.float32)
            whole = text_width >= 0 and first > 0 and len(self._gain) == len(vectors)
            whole = whole and all(links.sound(len(vectors)) for links in self._links)
        except (KeyError, TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            raise RecommenderError(f"{folder} has score terms that are damaged; export the run anew.")

    def states(self, histories: Sequence[Rows]) -> Floats:
        """The text of histories, the later an item the more it counts, and 1 for popularity, [histories, width]."""
        states = np.ones((len(histories), self.width), dtype=np.float32)
        for state, rows in zip(states, histories, strict=True):
            weights = _faded(len(rows), self._text_rate) / self._gain[rows]  # of the unit vectors
            state[: self._text.shape[1]] = weights @ self._text[rows]
        return states

    def of(self, history: Rows) -> tuple[Rows, Floats]:
        """Items whose score changes, each once, and by how much."""
        items: list[Rows] = []
        values: list[NDArray[Any]] = []
        for rate, weight in self._seen:
            items.append(np.array(sorted(set(history.tolist()))) if rate == 1 else history)
            values.append(weight * (np.ones(len(items[-1])) if rate == 1 else _faded(len(history), rate)))
        for links in self._links:
            rows = history if links.rate else history[-1:]
            starts, counts = links.starts[rows], links.starts[rows + 1] - links.starts[rows]
            ends = np.cumsum(counts)
            places = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
            items.append(links.items[places])
            values.append(links.values[places] * np.repeat(_faded(len(rows), links.rate), counts))
        if not items:
            return history[:0], np.zeros(0, dtype=np.float32)
        named, amounts = np.concatenate(items), np.concatenate(values)
        if len(self._text) <= 8 * len(named):  # adding into a place for every item takes less than sorting
            total = np.bincount(named, amounts)
            named = np.flatnonzero(total)
            return named, total[named].astype(np.float32)
        named, place = np.unique(named, return_inverse=True)
        return named, np.bincount(place, amounts, len(named)).astype(np.float32)


def _faded(length: int, rate: float) -> NDArray[np.float64]:
    """``rate ** age`` of a history's items, oldest first; the newest has age 0."""
    weights: NDArray[np.float64] = np.float64(rate) ** np.arange(length - 1, -1, -1)
    return weights


def _fold(text: str) -> str:
    """Text without case, accents, and line breaks, for searching."""
    folded = text.casefold()
    if not folded.isascii():
        parts = unicodedata.normalize("NFKD", folded)
        folded = "".join(part for part in parts if not unicodedata.combining(part))
    return " ".join(folded.split())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(_content(path, _LARGEST_MANIFEST))
        schema, files, index = manifest["schema"], manifest["files"], manifest["index"]
        told = manifest.pop("sha256", None)  # older exports have none
        kinds = {"exact": [], "hnsw": ["search"], "ivf": ["probes"]}
        numbers = [manifest["width"], manifest["max_length"], *(index[name] for name in kinds[index["kind"]])]
        whole = all(type(number) is int and 0 < number < 1 << 31 for number in numbers)
        whole = whole and isinstance(manifest["model"], str) and isinstance(manifest["dataset"], str)
        whole = whole and set(manifest) <= _KEYS and told in (None, digest_of(manifest))
    except FileNotFoundError:
        raise RecommenderError(f"{folder} is no exported folder: it has no {MANIFEST}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole, schema = False, SCHEMA
    if schema != SCHEMA:
        raise RecommenderError(f"{folder} has schema {_short(schema)}; this recommender reads {SCHEMA}.")
    if not whole:
        raise RecommenderError(f"{path} is damaged; export the run anew.")
    for name in (ITEMS, VECTORS, INDEX, ENCODER, "recommender.py"):
        # The names are fixed: the manifest cannot send us to another file.
        try:
            if not _unchanged(folder / name, files[name]):
                raise RecommenderError(f"{folder / name} has changed since it was exported; export anew.")
        except (OSError, KeyError, TypeError):
            if name != "recommender.py":  # the one file that is not needed here
                raise RecommenderError(f"{folder / name} is missing; export the run anew.") from None
    return manifest


def digest_of(manifest: dict[str, Any]) -> str:
    """The SHA-256 of a manifest's own entries."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _content(path: Path, most: int) -> bytes:
    """The bytes of an ordinary file; a pipe or a device would be read for ever."""
    if path.exists() and not path.is_file():
        raise RecommenderError(f"{path} is no ordinary file; export the run anew.")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RecommenderError(f"{path} is too large to be what an export writes; export the run anew.")
    return content


def _unchanged(path: Path, about: dict[str, Any]) -> bool:
    if not path.is_file():  # a pipe or a device would be read for ever
        raise FileNotFoundError(path)
    if path.stat().st_size != about["bytes"]:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return bool(digest.hexdigest() == about["sha256"])


def _read_items(path: Path) -> dict[str, list[str]]:
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        lists = [items["ids"], items["titles"]]
        if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RecommenderError(f"{path} is damaged; export the run anew.") from None
    return {"ids": lists[0], "titles": lists[1]}


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors as they lie in the file, mapped into memory: several processes share them."""
    from safetensors import SafetensorError, safe_open

    kinds = {"vectors": ("F32", 2), "codes": ("I64", 2), "text_gain": ("F32", 1)}
    for name in ("transitions", "neighbours"):
        kinds |= {f"{name}.starts": ("I64", 1), f"{name}.items": ("I64", 1), f"{name}.values": ("F32", 1)}
    try:
        safe_open(path, framework="numpy")  # checks sizes and places
    except (SafetensorError, ValueError, KeyError) as error:
        raise RecommenderError(f"{path} is no safetensors file ({error}).") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    found = {name: (tensor["dtype"], len(tensor["shape"])) for name, tensor in header.items()}
    if "vectors" not in found or not found.items() <= kinds.items():
        raise RecommenderError(f"{path} holds other tensors than an export does; export the run anew.")
    mapped: dict[str, NDArray[Any]] = {}
    for name, tensor in header.items():
        kind, start = _DTYPES[tensor["dtype"]], 8 + length + tensor["data_offsets"][0]
        # A memmap itself is slow to take rows of.
        mapped[name] = np.asarray(np.memmap(path, kind, "r", start, tuple(tensor["shape"])))
    if not all(np.isfinite(tensor).all() for tensor in mapped.values()):
        raise RecommenderError(f"{path} has vectors that are not finite; export the run anew.")
    return mapped


def _read_index(path: Path) -> Any:
    import faiss

    try:
        index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))  # shared by processes
    except RuntimeError:
        raise RecommenderError(f"{path} is no index that this faiss reads; export the run anew.") from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise RecommenderError(f"{path} does not score by the inner product; export the run anew.")
    return index


def read_encoder(path: Path, threads: int) -> Any:
    """An ONNX model, ready to run; 0 threads are as many as there are processors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecommenderError(f"{path} is no ONNX model that onnxruntime runs ({first}).") from None
    return session
