"""Slices of a dataset, by protocol. The gate (by hash) is taken out first, whatever the seed.

- ``random``: test is 10% of all ratings, valid a tenth of what is then left.
- ``future-holdout``: the newest 20% by time are kept apart; of the older, 80% train, as the owner's run
  did, and the other 20% hold gate (5%), test (5%) and valid (10%).
- ``folds:u1`` .. ``u5``: test is that fifth of ml-100k's u.data in file order; ``folds:ua``, ``ub``: each
  user's first, second ten rows. Valid is a random tenth of the training part.
- ``temporal``: test is the newest 10%, valid the newest tenth of the rest.
- ``leave-last``: test is each user's newest rating, valid the one before, of users with three or more.
- ``per-user``: test is a random quarter of each user's ratings, valid a random tenth of the rest.
- ``strong:USERS``: strong generalisation (Liang et al. 2018, arXiv:1802.05814): so many people are held out
  whole. Test is a random fifth of their ratings, ``fold_in`` the rest; valid is a random tenth of everybody
  else's.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.gate_slice import gate_mask
from recsys.data.plausibility import time_trouble
from recsys.data.protocols import Protocol, parse_protocol
from recsys.data.split import SLICES, SliceName, Split, TrainingData
from recsys.errors import InputError
from recsys.seeds import derive_seed
from recsys.types import IntArray

TEST_SHARE = 0.1
FUTURE_SHARE = 0.2
HELD_OUT_SHARE = 0.2  # of the older part, in future-holdout
HOLDOUT_TEST_SHARE = 0.05  # of the older part
PER_USER_TEST_SHARE = 0.25
STRONG_TEST_SHARE = 0.2
STRONG_FEWEST = 5  # ratings of a person who is held out
ML_100K_ROWS = 100_000
FOLD_ROWS = 20_000
Labels = NDArray[np.uint8]  # (n,) index into SLICES; 0 is train


def make_split(
    dataset: Dataset, protocol: str, *, seed: int, valid_share: float | None = None, gate: bool | None = None
) -> Split:
    """Slices by ``protocol`` (see ``protocols``). ``InputError`` where the data does not allow it or a
    slice that must not be empty is."""
    plan = parse_protocol(protocol, valid_share=valid_share, gate=gate)
    labels = np.zeros(len(dataset.ratings), dtype=np.uint8)
    if plan.gate:
        labels[gate_mask(dataset)] = SLICES.index("gate")
    random = np.random.default_rng(derive_seed(seed, "split", str(plan)))
    {
        "random": mark_random,
        "future-holdout": mark_future_holdout,
        "temporal": mark_temporal,
        "per-user": mark_per_user,
        "leave-last": mark_leave_last,
        "strong": mark_strong,
        "folds": mark_fold,
    }[plan.name](dataset, labels, plan, random)
    rows = {name: np.flatnonzero(labels == at) for at, name in enumerate(SLICES)}
    check_filled(rows, plan, dataset)
    return Split(protocol=str(plan), seed=seed, **rows, fingerprint=fingerprint(plan, seed, rows))


def training_data(dataset: Dataset, split: Split) -> TrainingData:
    """What training may see, copied out: gate, test and future ratings cannot be reached from it."""
    return TrainingData(
        train=dataset.ratings.take(split.train),
        valid=dataset.ratings.take(split.valid),
        user_features=dataset.user_features,
        item_features=dataset.item_features,
    )


def mark(labels: Labels, rows: IntArray, name: SliceName) -> None:
    """Give those of ``rows`` that no slice has yet to ``name``."""
    labels[rows[labels[rows] == 0]] = SLICES.index(name)


def draw(labels: Labels, count: int, name: SliceName, random: np.random.Generator) -> None:
    """Give ``count`` random rows of train to ``name``."""
    free = np.flatnonzero(labels == 0)
    count = min(count, len(free))
    labels[free[random.choice(len(free), count, replace=False, shuffle=False)]] = SLICES.index(name)


def draw_valid(labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    draw(labels, round(plan.valid_share * int(np.count_nonzero(labels == 0))), "valid", random)


def mark_random(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    draw(labels, round(TEST_SHARE * len(labels)), "test", random)
    draw_valid(labels, plan, random)


def mark_future_holdout(
    dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator
) -> None:
    order = by_time(dataset, plan)
    older = len(order) - round(FUTURE_SHARE * len(order))
    labels[order[older:]] = SLICES.index("future")
    held_out = round(HELD_OUT_SHARE * older) - int(np.count_nonzero(labels == SLICES.index("gate")))
    test = round(HOLDOUT_TEST_SHARE * older)
    draw(labels, test, "test", random)
    draw(labels, max(0, held_out - test), "valid", random)


def mark_temporal(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    order = by_time(dataset, plan)
    older = len(order) - round(TEST_SHARE * len(order))
    labels[order[older:]] = SLICES.index("test")
    free = order[labels[order] == 0]
    mark(labels, free[len(free) - round(plan.valid_share * len(free)) :], "valid")


def mark_per_user(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    users = dataset.ratings.users
    order = shuffled_by_user(users, random)
    position, counts = positions(users, order)
    mark(labels, order[position < np.rint(PER_USER_TEST_SHARE * counts)], "test")
    draw_valid(labels, plan, random)


def mark_strong(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    """People whom nothing is fitted on; what is left of everybody else is train and valid."""
    users = dataset.ratings.users
    counts = np.bincount(users[labels == 0], minlength=dataset.ratings.user_count)
    able, wanted = np.flatnonzero(counts >= STRONG_FEWEST), int(plan.part)
    if wanted > len(able) or wanted >= np.count_nonzero(counts):
        raise InputError(
            f"split {plan}: {dataset.name} has {len(able):,} people with {STRONG_FEWEST} ratings or more, of "
            f"{np.count_nonzero(counts):,} in all, and somebody must be left to train on; hold out fewer, "
            f"e.g. strong:{max(1, len(able) // 10)}"
        )
    held_out = np.zeros(len(counts), dtype=np.bool_)
    held_out[random.permutation(able)[:wanted]] = True
    order = shuffled_by_user(users, random)
    order = order[(labels[order] == 0) & held_out[users[order]]]
    position, counts = positions(users, order)
    test = position < np.maximum(np.rint(STRONG_TEST_SHARE * counts), 1)
    mark(labels, order[test], "test")
    mark(labels, order[~test], "fold_in")
    draw_valid(labels, plan, random)


def mark_leave_last(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    """The next-item protocol: what came last, after everything that is known of the person."""
    users = dataset.ratings.users
    oldest_first = by_time(dataset, plan)
    order = oldest_first[np.argsort(users[oldest_first], kind="stable")]
    order = order[labels[order] == 0]
    if not len(order):
        return
    position, counts = positions(users, order)
    long = counts >= 3
    mark(labels, order[long & (position == counts - 1)], "test")
    mark(labels, order[long & (position == counts - 2)], "valid")


def mark_fold(dataset: Dataset, labels: Labels, plan: Protocol, random: np.random.Generator) -> None:
    if len(labels) != ML_100K_ROWS:
        raise InputError(
            f"split {plan}: the folds are those of ml-100k, {ML_100K_ROWS:,} ratings in u.data's order; "
            f"{dataset.name} has {len(labels):,}; use --split random"
        )
    if plan.part in ("ua", "ub"):
        order = np.argsort(dataset.ratings.users, kind="stable")
        position, _ = positions(dataset.ratings.users, order)
        start = 0 if plan.part == "ua" else 10
        mark(labels, order[(position >= start) & (position < start + 10)], "test")
    else:
        start = (int(plan.part[1]) - 1) * FOLD_ROWS
        mark(labels, np.arange(start, start + FOLD_ROWS), "test")
    draw_valid(labels, plan, random)


def shuffled_by_user(users: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int64]:
    """Rows sorted by user, each user's in random order."""
    # One sort of user and lot together: a two-key lexsort takes thrice as long.
    lots = (users.astype(np.uint64) << np.uint64(32)) | random.integers(
        2**32, size=len(users), dtype=np.uint64
    )
    return np.argsort(lots)


def positions(users: NDArray[np.int32], order: IntArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For rows in ``order`` (sorted by user): each one's place among its user's there, and how many those
    are."""
    ordered = users[order]
    counts = np.bincount(ordered)
    starts = np.cumsum(counts) - counts
    return np.arange(len(order)) - starts[ordered], counts[ordered]


def by_time(dataset: Dataset, plan: Protocol) -> NDArray[np.int64]:
    """Rows oldest first; rows of one second keep the file's order."""
    times = dataset.ratings.times
    if times is None:
        raise InputError(f"split {plan}: {dataset.name} has no timestamps to split by; use --split random")
    if trouble := time_trouble(times):
        raise InputError(f"split {plan}: {dataset.name}: {trouble}; use --split random")
    return np.argsort(times, kind="stable")


def check_filled(rows: dict[SliceName, NDArray[np.int64]], plan: Protocol, dataset: Dataset) -> None:
    needed: list[SliceName] = ["train", "valid", "test"]
    if plan.gate:
        needed.append("gate")
    if plan.name == "future-holdout":
        needed.append("future")
    if plan.name == "strong":
        needed.append("fold_in")
    for name in needed:
        if len(rows[name]) == 0:
            least = {
                ("per-user", "test"): "a quarter of each person's ratings is none",
                ("leave-last", "valid"): "test and valid take one each, and a third is to be known",
            }
            if (plan.name, name) in least:
                most = int(np.bincount(dataset.ratings.users).max(initial=0))
                each = "one rating a person" if most <= 1 else f"at most {most} ratings a person"
                raise InputError(
                    f"split {plan}: {dataset.name} has {each}: {least[plan.name, name]}; use --split random"
                )
            hint = "add ,gate=off or bring more ratings" if name == "gate" else "bring more ratings"
            raise InputError(
                f"split {plan}: the slice {name!r} of {dataset.name} is empty "
                f"({len(dataset.ratings):,} ratings are too few for it); {hint}"
            )


def fingerprint(plan: Protocol, seed: int, rows: dict[SliceName, NDArray[np.int64]]) -> str:
    digest = hashlib.sha256(f"{plan}/{seed}".encode())
    for name in SLICES:
        if name == "fold_in" and not len(rows[name]):
            continue  # as before there was such a slice
        digest.update(f"/{name}:{len(rows[name])}/".encode())
        digest.update(rows[name].astype("<i8", copy=False).data)
    return digest.hexdigest()
