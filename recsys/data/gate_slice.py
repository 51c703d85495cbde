"""The gate: a fixed 5% of all pairs, chosen by a hash of the pair's ids.

It depends on nothing else, no seed, no dataset: a pair that is in the gate today is in it after the
dataset has grown, so no model, old or new, was ever trained on it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.types import BoolArray

GATE_SHARE = 0.05
CHUNK = 1 << 22  # rows hashed at a time, to keep memory flat


def gate_mask(dataset: Dataset) -> BoolArray:
    """(n,) True for the ratings whose pair is in the gate."""
    users = hash_ids(dataset.user_ids, kind="user")
    items = hash_ids(dataset.catalogue.ids, kind="item")
    ratings = dataset.ratings
    mask = np.empty(len(ratings), dtype=np.bool_)
    limit = np.uint64(int(GATE_SHARE * 2**64))
    for start in range(0, len(ratings), CHUNK):
        rows = slice(start, start + CHUNK)
        mask[rows] = mix(users[ratings.users[rows]] + items[ratings.items[rows]]) < limit
    return mask


def hash_ids(ids: NDArray[np.str_], *, kind: str) -> NDArray[np.uint64]:
    """(k,) a hash of each id; ``kind`` keeps user 5 and item 5 apart."""
    key = kind.encode()
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8, person=key).digest() for i in ids.tolist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
