"""Top-n ranker as arrays, linear in the history: any user is folded in from the items that they rated.

score(history, item) is the sum of the terms whose arrays a ranker has:
    weights (items, items)            sum over j in history of weights[j, item]: EASE, for small catalogues;
    links_{ends,items,values}         the same for large catalogues, as a sparse matrix (CSR);
    base (items,)                     the same for all users: popularity with decay;
    factors (items, k), gram (k, k)   factors[item] . u, where u solves
                                      (gram + sum of w q q' + ridge I) u = sum of w q, q the factors of
                                      the history: the user's half step of implicit ALS (als.py). Factors of
                                      several models are concatenated and solved separately
                                      (settings["blocks"]); without a ridge u is the sum of w q (spectral.py);
    network_{n}_{items,gram,w1,b1,w2} of a block with a network: u is solved with q its rows of ``items`` and
                                      its ``gram``; then u + tanh(u w1 + b1) w2, with a last 1, is the
                                      user's vector for ``factors`` (hybrid_vae_lists.py);
    prior (items,)                    popularity, at most 1: the score of a ranker without other terms;
                                      with others, added for users with few ratings (popularity_prior.py).
``users`` (users, k) stores u of the training users, so that their requests solve nothing.
Stars affect only the weight of a history's items (``liking``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.models.artifact import open_arrays, write_arrays
from recsys.models.base import History
from recsys.ranking.ranker_factors import RankerFactors
from recsys.types import Arrays, IntArray, JsonObject

MIN_PRIOR_SHARE = 0.02  # of the best score: less popularity than this changes no list
BLOCK = 4096  # items whose scores stay in the cache until they are stored
NETWORK = "network_"  # prefix of the names of a block's network
LINKS = ("links_ends", "links_items", "links_values")
ARRAY_GROUPS = ({"weights"}, set(LINKS), {"base"}, {"factors", "gram"}, {"prior"})


@dataclass(frozen=True)
class Ranker:
    """A fitted ranker; the module's docstring describes the scores.

    Attributes:
        family: Name.
        settings: Plain JSON. ``factors`` need ``weight``: a rating of r stars, one of n, weighs
            w = (n / typical)^-damping x ((1 + (r - low) / span) / mean)^liking; and ``ridge``:
            fixed + per_rating x sum of w. A ``prior`` with other terms needs ``newcomers``, the ratings
            that it weighs as much as.
        arrays: float32, but for the integers of links.
    """

    family: str
    settings: JsonObject
    arrays: Arrays

    def __post_init__(self) -> None:
        names = {name for name in self.arrays if not name.startswith(NETWORK)} - {"users"}
        groups = [group for group in ARRAY_GROUPS if group <= names]
        if not names or set().union(*groups) != names:
            raise InputError(
                f"a ranker of arrays {sorted(names)}, expected some of {list(map(sorted, ARRAY_GROUPS))}"
            )

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        if self.has("links_ends"):
            return len(self.arrays["links_ends"]) - 1
        names = ("weights", "factors", "base", "prior")
        return len(next(self.arrays[name] for name in names if self.has(name)))

    @property
    def folds_in(self) -> bool:
        """Whether its scores depend on the user."""
        return self.has("weights") or self.has("factors") or self.has("links_ends")

    @property
    def scores_by_factors(self) -> bool:
        """Whether a score is an inner product with item factors, plus the prior."""
        return self.has("factors") and not (self.has("weights") or self.has("links_ends") or self.has("base"))

    @cached_property
    def links(self) -> sp.csr_matrix:
        """(items, items) sparse weights: row j is added to the scores by item j of a history."""
        ends, items, values = (self.arrays[name] for name in LINKS)
        return sp.csr_matrix((values, items, ends), shape=(len(ends) - 1, len(ends) - 1))

    @cached_property
    def blocks(self) -> tuple[RankerFactors, ...]:
        """The models whose factors are concatenated."""
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
        """The arrays of the network ``name`` of a block, by their names in it."""
        start = f"{name}_"
        return {key.removeprefix(start): array for key, array in self.arrays.items() if key.startswith(start)}

    def has(self, name: str) -> bool:
        """Whether it has the array ``name``."""
        return name in self.arrays

    def save(self, folder: Path) -> None:
        """Writes ``arrays.safetensors`` and ``ranker.json`` to ``folder``, which is made."""
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
        """Opens a ranker that was saved to ``folder``, its arrays memory-mapped.

        Raises:
            InputError: The arrays are damaged, or not those of a ranker.
        """
        card = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        return cls(card["family"], card["settings"], open_arrays(folder / "arrays.safetensors")[0])

    def scores(
        self,
        histories: Sequence[History],
        *,
        users: Sequence[int | None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Scores of all items.

        Args:
            histories: Of each user, at most one rating per item.
            users: The row of a user whose history is the one of training, None for others.
            out: (len(histories), items) to write to; None: a new array.

        Returns:
            (len(histories), items).
        """
        if out is None:
            out = np.empty((len(histories), self.item_count), dtype=np.float32)
        if self.has("factors"):
            products(self.arrays["factors"], self.user_factors(histories, users), out=out)
        else:
            out[:] = 0
        if self.has("weights") or self.has("links_ends"):
            rated = indicator([history.items for history in histories], self.item_count)
            if self.has("weights"):
                out += rated @ self.arrays["weights"]
            if self.has("links_ends"):
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
        """Vectors of users: those of training by their row, others by folding in.

        Args:
            histories: Of each user.
            users: The row of a user whose history is the one of training, None for others.

        Returns:
            (len(histories), k).
        """
        factors, gram = self.arrays["factors"], self.arrays["gram"]
        vectors = np.zeros((len(histories), factors.shape[1]), dtype=np.float32)
        for row, history in enumerate(histories):
            user = None if users is None else users[row]
            if user is not None and self.has("users"):
                vectors[row] = self.arrays["users"][user]
            elif len(history.items):
                for block in self.blocks:
                    own = slice(block.start, block.stop)
                    if block.network is not None:
                        vectors[row, own] = block.encode(self.network(block.network), history)
                    else:
                        vectors[row, own] = block.solve(factors[history.items, own], gram[own, own], history)
        return vectors

    def support(self, history: IntArray, item: int) -> NDArray[np.float32]:
        """Contributions of rated items to a score, for explanations.

        Args:
            history: (n,) rows of the rated items.
            item: Row of the recommended item.

        Returns:
            (n,).
        """
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
    """Inner products of users and items, by blocks of items with the factors on the left: for a few users a
    third of the time of a single product.

    Args:
        factors: (items, k).
        vectors: (n, k) of users.
        out: (n, items) to write to.
    """
    if len(vectors) == 1:
        np.matmul(factors, vectors[0], out=out[0])
        return
    transposed = np.ascontiguousarray(vectors.T)
    for first in range(0, len(factors), BLOCK):
        rows = slice(first, first + BLOCK)
        out[:, rows] = (factors[rows] @ transposed).T


def add_popularity(
    scores: NDArray[np.float32], histories: Sequence[History], prior: NDArray[np.float32], weight: float
) -> None:
    """Adds a popularity prior to scores, in place.

    Args:
        scores: (len(histories), items).
        histories: Of each user.
        prior: (items,), at most 1.
        weight: Ratings that the prior weighs as much as: a user of n ratings gets weight / n of their best
            score, or nothing where that is below ``MIN_PRIOR_SHARE``.
    """
    for row, share in zip(scores, prior_shares(histories, weight), strict=True):
        if share > 0 and (best := row.max()) > 0:
            row += share * best * prior


def prior_shares(histories: Sequence[History], weight: float) -> NDArray[np.float32]:
    """(len(histories),) shares of the best score that ``add_popularity`` adds to the most popular item."""
    counts = np.array([max(len(history.items), 1) for history in histories])
    shares = weight / counts
    return np.where(shares >= MIN_PRIOR_SHARE, shares, 0).astype(np.float32)


def indicator(histories: Sequence[IntArray], items: int) -> sp.csr_matrix:
    """(len(histories), items) float32, 1 for the rows of ``items`` in each of ``histories``."""
    ends = np.cumsum([0, *map(len, histories)])
    columns = np.concatenate(histories) if len(histories) else np.empty(0, dtype=np.int32)
    return sp.csr_matrix((np.ones(ends[-1], dtype=np.float32), columns, ends), shape=(len(histories), items))
