"""A ranker as arrays. Anyone is folded in from the items they rated: nothing needs a user row.

score(history, item) is the sum of the parts that a ranker has:
    weights (items, items)            sum over j in history of weights[j, item]: EASE, while items are few;
    factors (items, k), gram (k, k)   factors[item] . u, where u solves
                                      (gram + w sum of q q' + ridge I) u = w sum of q, q the factors of
                                      the history: the user's half step of implicit ALS (see als.py);
    prior (items,)                    popularity, or any liking that all users share.
``users`` (users, k) keeps u of the users that training knew, so that their requests solve nothing.
Only the items of a history are read, not their stars.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.models.packed import open_arrays, write_arrays
from recsys.types import Arrays, IntArray, JsonObject

PARTS = ({"weights"}, {"factors", "gram"}, {"prior"})


@dataclass(frozen=True)
class PackedRanker:
    """``settings`` is plain JSON; ``arrays`` float32. ``factors`` need ``settings["weight"]`` {"typical",
    "damping"}: w = (n / typical)^-damping for n items, and ``settings["ridge"]`` {"fixed", "per_rating"}:
    fixed + per_rating x w x n."""

    family: str
    settings: JsonObject
    arrays: Arrays

    def __post_init__(self) -> None:
        names = set(self.arrays) - {"users"}
        parts = [part for part in PARTS if part <= names]
        if not names or set().union(*parts) != names:
            raise InputError(
                f"a ranker of arrays {sorted(names)}, expected some of {list(map(sorted, PARTS))}"
            )

    @property
    def item_count(self) -> int:
        return len(next(self.arrays[name] for name in ("weights", "factors", "prior") if self.has(name)))

    @property
    def folds_in(self) -> bool:
        """Whether it tells one user from another at all."""
        return self.has("weights") or self.has("factors")

    def has(self, name: str) -> bool:
        return name in self.arrays

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in self.arrays.items()}
        write_arrays(folder / "arrays.safetensors", arrays)
        text = json.dumps({"family": self.family, "settings": self.settings}, indent=1)
        (folder / "ranker.json").write_text(text, encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> PackedRanker:
        """Memory-mapped."""
        head = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        return cls(head["family"], head["settings"], open_arrays(folder / "arrays.safetensors")[0])

    def scores(
        self,
        histories: Sequence[IntArray],
        *,
        users: Sequence[int | None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(len(histories), items) for users who rated these item rows, each at most once.

        ``users`` names the row of a user whose history is what training saw, None for others."""
        if out is None:
            out = np.empty((len(histories), self.item_count), dtype=np.float32)
        if self.has("factors"):
            np.matmul(self.user_factors(histories, users), self.arrays["factors"].T, out=out)
        else:
            out[:] = 0
        if self.has("weights"):
            out += indicator(histories, self.item_count) @ self.arrays["weights"]
        if self.has("prior"):
            out += self.arrays["prior"]
        return out

    def user_factors(
        self, histories: Sequence[IntArray], users: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """(len(histories), k): looked up where the row is known, else solved."""
        factors, gram = self.arrays["factors"], self.arrays["gram"]
        ridge, weight = self.settings["ridge"], self.settings["weight"]
        vectors = np.zeros((len(histories), factors.shape[1]), dtype=np.float32)
        for row, items in enumerate(histories):
            user = None if users is None else users[row]
            if user is not None and self.has("users"):
                vectors[row] = self.arrays["users"][user]
            elif len(items):
                rated = factors[items]
                pull = np.float32((len(items) / weight["typical"]) ** -weight["damping"])
                left = gram + pull * (rated.T @ rated)
                left[np.diag_indices_from(left)] += ridge["fixed"] + ridge["per_rating"] * pull * len(items)
                vectors[row] = np.linalg.solve(left, pull * rated.sum(axis=0))
        return vectors

    def support(self, history: IntArray, item: int) -> NDArray[np.float32]:
        """(len(history),): how much each item of the history speaks for ``item``."""
        voices = np.zeros(len(history), dtype=np.float32)
        if self.has("factors"):
            voices += self.arrays["factors"][history] @ self.arrays["factors"][item]
        if self.has("weights"):
            voices += self.arrays["weights"][history, item]
        return voices


def indicator(histories: Sequence[IntArray], items: int) -> sp.csr_matrix:
    """(len(histories), items) float32, 1 where rated."""
    ends = np.cumsum([0, *map(len, histories)])
    columns = np.concatenate(histories) if len(histories) else np.empty(0, dtype=np.int32)
    return sp.csr_matrix((np.ones(ends[-1], dtype=np.float32), columns, ends), shape=(len(histories), items))
