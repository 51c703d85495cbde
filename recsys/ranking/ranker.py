"""A ranker as arrays. Anyone is folded in from the items they rated: nothing needs a user row.

score(history, item) is the sum of the parts that a ranker has:
    weights (items, items)            sum over j in history of weights[j, item]: EASE, while items are few;
    links_{ends,items,values}         the same for large catalogues, as the rows of a sparse matrix (CSR);
    base (items,)                     the same for everyone: popularity with decay;
    factors (items, k), gram (k, k)   factors[item] . u, where u solves
                                      (gram + sum of w q q' + ridge I) u = sum of w q, q the factors of
                                      the history: the user's half step of implicit ALS (see als.py). Several
                                      ALS lie side by side, each solved alone (settings["blocks"]);
                                      with no ridge u is the sum of w q itself (see spectral.py);
    network_{n}_{items,gram,w1,b1,w2} of a block with a network: u is solved with q its rows of ``items`` and
                                      its ``gram``, then u + tanh(u w1 + b1) w2, and a last 1, is the
                                      person's vector for ``factors`` (see hybrid_vae_lists.py);
    prior (items,)                    popularity, at most 1: the score of a ranker without other parts;
                                      beside others, added for people of few ratings (popularity_prior.py).
``users`` (users, k) keeps u of the users that training knew, so that their requests solve nothing.
Stars only decide how much an item of the history weighs (``liking``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.models.artifact import open_arrays, write_arrays
from recsys.models.base import History
from recsys.types import Arrays, IntArray, JsonObject

MIN_PRIOR_SHARE = 0.02  # of the best score: so little of popularity would move no list
BLOCK = 4096  # items whose scores stay in the cache on the way to their place
NETWORK = "network_"  # begins the names of a block's network
LINKS = ("links_ends", "links_items", "links_values")
ARRAY_GROUPS = ({"weights"}, set(LINKS), {"base"}, {"factors", "gram"}, {"prior"})


@dataclass(frozen=True)
class RankerFactors:
    """One model of factors: columns ``start`` to ``stop`` of them; its scores count ``share``.

    ``weight`` and ``ridge`` are as ``Ranker`` describes them; without a ridge nothing is solved: a user is
    the weighted sum of the factors of the history (see spectral.py)."""

    start: int
    stop: int
    share: float
    weight: JsonObject
    ridge: JsonObject | None
    network: str | None = None

    def encode(self, network: Arrays, history: History) -> NDArray[np.float32]:
        """(k + 1,) ``share`` times a person's vector by the ``network`` (its arrays by name)."""
        plain = replace(self, share=1.0)
        solved = plain.solve(network["items"][history.items], network["gram"], history)
        moved = solved + np.tanh(solved @ network["w1"] + network["b1"]) @ network["w2"]
        return np.append(self.share * moved, self.share).astype(np.float32)

    def solve(
        self, rated: NDArray[np.float32], gram: NDArray[np.float32], history: History
    ) -> NDArray[np.float32]:
        """(k,) ``share`` times the user's half step for the factors (n, k) of the items of ``history``."""
        weights = self._weights(history)
        pulled = rated * weights[:, None]
        if self.ridge is None:
            return np.asarray(self.share * pulled.sum(axis=0), dtype=np.float32)
        system = gram + pulled.T @ rated
        system[np.diag_indices_from(system)] += self.ridge["fixed"] + self.ridge["per_rating"] * weights.sum()
        return np.asarray(self.share * np.linalg.solve(system, pulled.sum(axis=0)), dtype=np.float32)

    def _weights(self, history: History) -> NDArray[np.float32]:
        """(n,) how much each rating of a history counts."""
        weight = self.weight
        damped = (len(history.items) / weight["typical"]) ** -weight["damping"]
        if not weight.get("liking"):
            return np.full(len(history.items), damped, dtype=np.float32)
        liked = 1 + (history.values - weight["low"]) / weight["span"]
        return np.asarray(damped * (liked / weight["mean"]) ** weight["liking"], dtype=np.float32)


@dataclass(frozen=True)
class Ranker:
    """``settings`` is plain JSON; ``arrays`` float32. ``factors`` need ``settings["weight"]``: for one of n
    ratings, r stars, w = (n / typical)^-damping x ((1 + (r - low) / span) / mean)^liking; and
    ``settings["ridge"]``: fixed + per_rating x sum of w. A ``prior`` beside others needs
    ``settings["newcomers"]``, the ratings that it is worth."""

    family: str
    settings: JsonObject
    arrays: Arrays

    def __post_init__(self) -> None:
        names = {name for name in self.arrays if not name.startswith(NETWORK)} - {"users"}
        parts = [part for part in ARRAY_GROUPS if part <= names]
        if not names or set().union(*parts) != names:
            raise InputError(
                f"a ranker of arrays {sorted(names)}, expected some of {list(map(sorted, ARRAY_GROUPS))}"
            )

    @property
    def item_count(self) -> int:
        if self.has("links_ends"):
            return len(self.arrays["links_ends"]) - 1
        names = ("weights", "factors", "base", "prior")
        return len(next(self.arrays[name] for name in names if self.has(name)))

    @property
    def folds_in(self) -> bool:
        """Whether its scores depend on the user at all."""
        return self.has("weights") or self.has("factors") or self.has("links_ends")

    @property
    def scores_by_factors(self) -> bool:
        """Whether a score is an inner product with item factors, but for the prior."""
        return self.has("factors") and not (self.has("weights") or self.has("links_ends") or self.has("base"))

    @cached_property
    def links(self) -> sp.csr_matrix:
        """(items, items) sparse weights: row j is what item j of a history adds to every item's score."""
        ends, items, values = (self.arrays[name] for name in LINKS)
        return sp.csr_matrix((values, items, ends), shape=(len(ends) - 1, len(ends) - 1))

    @cached_property
    def blocks(self) -> tuple[RankerFactors, ...]:
        """The ALS models whose factors lie side by side."""
        blocks = self.settings.get("blocks")
        if blocks is None:  # one model, as releases before schema version 3 name it
            width = self.arrays["factors"].shape[1]
            return (RankerFactors(0, width, 1.0, self.settings["weight"], self.settings["ridge"]),)
        ends = np.cumsum([0, *(block["width"] for block in blocks)]).tolist()
        return tuple(
            RankerFactors(
                start, stop, float(block["share"]), block["weight"], block["ridge"], block.get("network")
            )
            for start, stop, block in zip(ends, ends[1:], blocks, strict=False)
        )

    def network(self, name: str) -> Arrays:
        """The arrays of a block's network, by their names in it."""
        start = f"{name}_"
        return {key[len(start) :]: array for key, array in self.arrays.items() if key.startswith(start)}

    def has(self, name: str) -> bool:
        return name in self.arrays

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            name: np.ascontiguousarray(array, dtype=array.dtype if name in LINKS else np.float32)
            for name, array in self.arrays.items()
        }
        write_arrays(folder / "arrays.safetensors", arrays)
        text = json.dumps({"family": self.family, "settings": self.settings}, indent=1)
        (folder / "ranker.json").write_text(text, encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Ranker:
        """Memory-mapped."""
        head = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        return cls(head["family"], head["settings"], open_arrays(folder / "arrays.safetensors")[0])

    def scores(
        self,
        histories: Sequence[History],
        *,
        users: Sequence[int | None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(len(histories), items) for users with these ratings, one an item.

        ``users`` names the row of a user whose history is what training saw, None for others."""
        if out is None:
            out = np.empty((len(histories), self.item_count), dtype=np.float32)
        if self.has("factors"):
            products(self.arrays["factors"], self.user_factors(histories, users), out=out)
        else:
            out[:] = 0
        if self.has("weights"):
            out += (
                indicator([history.items for history in histories], self.item_count) @ self.arrays["weights"]
            )
        if self.has("links_ends"):
            rated = indicator([history.items for history in histories], self.item_count)
            out += (rated @ self.links).toarray()
        if self.has("base"):
            out += self.arrays["base"]
        if self.has("prior"):
            if self.folds_in:
                add_popularity(out, histories, self.arrays["prior"], self.settings["newcomers"])
            else:
                out += self.arrays["prior"]
        return out

    def user_factors(
        self, histories: Sequence[History], users: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """(len(histories), k): looked up where the row is known, else solved."""
        factors, gram = self.arrays["factors"], self.arrays["gram"]
        vectors = np.zeros((len(histories), factors.shape[1]), dtype=np.float32)
        for row, history in enumerate(histories):
            user = None if users is None else users[row]
            if user is not None and self.has("users"):
                vectors[row] = self.arrays["users"][user]
            elif len(history.items):
                for block in self.blocks:
                    part = slice(block.start, block.stop)
                    if block.network is not None:
                        vectors[row, part] = block.encode(self.network(block.network), history)
                        continue
                    vectors[row, part] = block.solve(factors[history.items, part], gram[part, part], history)
        return vectors

    def support(self, history: IntArray, item: int) -> NDArray[np.float32]:
        """(len(history),): how much each item of the history contributes to the score of ``item``."""
        support = np.zeros(len(history), dtype=np.float32)
        if self.has("factors"):
            factors = self.arrays["factors"]
            shares = np.repeat(
                np.array([block.share for block in self.blocks], dtype=np.float32),
                [block.stop - block.start for block in self.blocks],
            )
            support += factors[history] @ (shares * factors[item])
        if self.has("weights"):
            support += self.arrays["weights"][history, item]
        if self.has("links_ends"):
            support += self.links[history][:, [item]].toarray().ravel()
        return support


def products(factors: NDArray[np.float32], vectors: NDArray[np.float32], *, out: NDArray[np.float32]) -> None:
    """``out`` (n, items) becomes vectors (n, k) times factors (items, k): block by block and the long way
    round, which takes BLAS a third of the time of one product for a handful of vectors."""
    if len(vectors) == 1:
        np.matmul(factors, vectors[0], out=out[0])
        return
    turned = np.ascontiguousarray(vectors.T)
    for first in range(0, len(factors), BLOCK):
        rows = slice(first, first + BLOCK)
        out[:, rows] = (factors[rows] @ turned).T


def add_popularity(
    scores: NDArray[np.float32], histories: Sequence[History], prior: NDArray[np.float32], weight: float
) -> None:
    """Adds weight / n times the row's best score times ``prior`` (items,), in place, to each row of
    ``scores`` (len(histories), items), n its ratings; nothing where weight / n is below ``LEAST``."""
    for row, share in zip(scores, prior_shares(histories, weight), strict=True):
        if share > 0 and (best := row.max()) > 0:
            row += share * best * prior


def prior_shares(histories: Sequence[History], weight: float) -> NDArray[np.float32]:
    """(len(histories),) of a row's best score that ``add_popularity`` gives the most popular item."""
    counts = np.array([max(len(history.items), 1) for history in histories])
    shares = weight / counts
    return np.where(shares >= MIN_PRIOR_SHARE, shares, 0).astype(np.float32)


def indicator(histories: Sequence[IntArray], items: int) -> sp.csr_matrix:
    """(len(histories), items) float32, 1 where rated."""
    ends = np.cumsum([0, *map(len, histories)])
    columns = np.concatenate(histories) if len(histories) else np.empty(0, dtype=np.int32)
    return sp.csr_matrix((np.ones(ends[-1], dtype=np.float32), columns, ends), shape=(len(histories), items))
