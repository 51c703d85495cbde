"""Synthetic ratings of any size, up to ML-32M's shape, with a known noise floor.

The floor is the rmse of the best possible predictor, who knows user, item and time but not the noise:
root of the mean variance of each rating given those, exact (``world.expected``). So "how far from the best
possible" is a number. Everything is drawn from one seed, in chunks of a million ratings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue, Dataset, Quality
from recsys.data.fingerprint import columns_sha256
from recsys.data.item_encoder import fit_item_encoder
from recsys.data.ratings import Ratings
from recsys.data.visits import Visits, visits
from recsys.data.world import GENRE_NAMES, SCALE, World, make_world
from recsys.errors import InputError
from recsys.seeds import derive_seed

PREFIX = "synthetic:"


@dataclass(frozen=True)
class Synthetic:
    """``noise_floor`` rmse in stars; ``expected`` (n,) the best possible prediction of each rating."""

    dataset: Dataset
    noise_floor: float
    expected: NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticSpec:
    """How much, and of what kind: ``nonlinear`` 0 is a dot product alone, 1 none of it; ``noise`` stars;
    ``drift`` radians that tastes turn over all years, 0 off."""

    users: int = 600
    items: int = 400
    ratings: int = 30_000
    seed: int = 0
    nonlinear: float = 0.5
    noise: float = 0.6
    drift: float = 0.6

    def __post_init__(self) -> None:
        if min(self.users, self.items, self.ratings) < 2:
            raise InputError(f"{self}: expected at least 2 users, items and ratings")
        if not 0 <= self.nonlinear <= 1 or self.noise <= 0:
            raise InputError(f"{self}: expected nonlinear in 0 .. 1 and noise above 0")

    def __str__(self) -> str:
        return PREFIX + ",".join(f"{name}={value:g}" for name, value in self.__dict__.items())


def parse_spec(text: str) -> SyntheticSpec:
    """``synthetic:users=...,items=...,ratings=...,seed=...``; what is left out keeps its default."""
    given: dict[str, float] = {}
    for part in filter(None, text.removeprefix(PREFIX).split(",")):
        name, _, value = part.partition("=")
        kind = float if name in ("nonlinear", "noise", "drift") else int
        try:
            given[name.strip()] = kind(value)
        except ValueError:
            raise InputError(f"{text}: cannot read {part!r}; expected e.g. users=1000") from None
    try:
        return SyntheticSpec(**given)  # type: ignore[arg-type]
    except TypeError:
        fields = ", ".join(SyntheticSpec.__dataclass_fields__)
        raise InputError(f"{text}: there is no such field; the fields are {fields}") from None


def generate(
    *,
    users: int,
    items: int,
    ratings: int,
    seed: int = 0,
    nonlinear: float = 0.5,
    noise: float = 0.6,
    drift: float = 0.6,
) -> Synthetic:
    """Draw a dataset. 32 million ratings take about a minute and 2 GB."""
    spec = SyntheticSpec(users, items, ratings, seed, nonlinear, noise, drift)
    return from_spec(spec)


def from_spec(spec: SyntheticSpec) -> Synthetic:
    world, chunks = world_and_visits(spec)
    random = np.random.default_rng(derive_seed(spec.seed, "synthetic", "ratings"))
    columns = Ratings(
        users=np.empty(spec.ratings, dtype=np.int32),
        items=np.empty(spec.ratings, dtype=np.int32),
        values=np.empty(spec.ratings, dtype=np.float32),
        times=(times := np.empty(spec.ratings, dtype=np.int64)),
        scale=SCALE,
        user_count=spec.users,
        item_count=spec.items,
    )
    expected = np.empty(spec.ratings, dtype=np.float32)
    variance, start = 0.0, 0
    for chunk in chunks:
        rows = slice(start, start + len(chunk.users))
        opinions = world.opinions(chunk.users, chunk.items, chunk.when)
        columns.users[rows], columns.items[rows], times[rows] = chunk.users, chunk.items, chunk.times
        columns.values[rows] = world.rate(opinions, random)
        expected[rows], variances = world.expected(opinions)
        variance += float(variances.sum(dtype=np.float64))
        start = rows.stop
    floor = float(np.sqrt(variance / spec.ratings))
    return Synthetic(describe(spec, world, columns, floor), floor, expected)


def world_of(spec: SyntheticSpec) -> World:
    """The world that ``spec``'s ratings are given in."""
    return make_world(
        users=spec.users,
        items=spec.items,
        random=np.random.default_rng(derive_seed(spec.seed, "synthetic", "world")),
        nonlinear=spec.nonlinear,
        noise=spec.noise,
        drift=spec.drift,
    )


def world_and_visits(spec: SyntheticSpec) -> tuple[World, Iterator[Visits]]:
    world = world_of(spec)
    random = np.random.default_rng(derive_seed(spec.seed, "synthetic", "visits"))
    return world, visits(world, users=spec.users, items=spec.items, ratings=spec.ratings, random=random)


def describe(spec: SyntheticSpec, world: World, ratings: Ratings, floor: float) -> Dataset:
    user_ids = np.arange(1, spec.users + 1).astype(np.str_)
    catalogue = made_catalogue(world)
    encoder = fit_item_encoder(catalogue.titles, catalogue.genres)
    return Dataset(
        name="synthetic",
        ratings=ratings,
        user_ids=user_ids,
        catalogue=catalogue,
        sha256=columns_sha256(ratings, user_ids, catalogue.ids),
        licence="none: made by a program",
        quality=Quality(rows=spec.ratings, notes=(f"synthetic: the best possible rmse is {floor:.4f}",)),
        item_features=encoder.encode(catalogue.titles, catalogue.genres, {}, where="synthetic")[0],
        item_encoder=encoder,
        source=str(spec),
        noise_floor=floor,
    )


def made_catalogue(world: World) -> Catalogue:
    """Items named by their row, e.g. "Film 17 (1987)", under ids with gaps, as MovieLens's have."""
    rows = np.arange(len(world.item_bias))
    return Catalogue(
        ids=(rows * 3 + 1).astype(np.str_),
        titles=[f"Film {row} ({1930 + row * 7919 % 93})" for row in rows.tolist()],
        genres=[tuple(GENRE_NAMES[at] for at in np.flatnonzero(marks)) for marks in world.item_genres],
    )
