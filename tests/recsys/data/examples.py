"""Small made-up ratings in MovieLens's layouts, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recsys.data.dataset import Catalogue, Dataset, Quality
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.synthetic import generate

TITLES = ["Héro (1999)", "Blue, Red & Co. (2001)", "Third: The Return (1950)"]


def table(
    rows: int = 400, *, users: int = 20, items: int = 30, seed: int = 0, half: bool = True
) -> pd.DataFrame:
    """Distinct pairs in random order; ids are 10, 20, ... for users and 5, 6, ... for items."""
    random = np.random.default_rng(seed)
    pairs = random.choice(users * items, rows, replace=False)
    values = random.integers(1, 11, rows) / 2 if half else random.integers(1, 6, rows)
    return pd.DataFrame(
        {
            "userId": pairs // items * 10 + 10,
            "movieId": pairs % items + 5,
            "rating": values.astype(float) if half else values,
            "timestamp": random.integers(800_000_000, 1_600_000_000, rows),
        }
    )


def write_csv_layout(folder: Path, ratings: pd.DataFrame) -> Path:
    """As ml-20m and later: ratings.csv, movies.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    ratings.to_csv(folder / "ratings.csv", index=False)
    ids = sorted(set(ratings["movieId"]))
    movies = pd.DataFrame({"movieId": ids, "title": [TITLES[at % 3] for at in range(len(ids))]})
    movies["genres"] = ["Drama|Comedy" if at % 3 else "(no genres listed)" for at in range(len(ids))]
    movies.to_csv(folder / "movies.csv", index=False)
    return folder


def write_dat_layout(folder: Path, ratings: pd.DataFrame) -> Path:
    """As ml-1m: ratings.dat, movies.dat in Latin-1, users.dat."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["::".join(map(str, row)) for row in ratings.itertuples(index=False, name=None)]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    movies = [
        f"{movie}::{TITLES[at % 3]}::Drama|War" for at, movie in enumerate(sorted(set(ratings["movieId"])))
    ]
    (folder / "movies.dat").write_bytes(("\n".join(movies) + "\n").encode("latin-1"))
    users = [
        f"{user}::{'FM'[at % 2]}::{(1, 18, 56)[at % 3]}::{at % 4}::00000" for at, user in users_of(ratings)
    ]
    (folder / "users.dat").write_text("\n".join(users) + "\n")
    return folder


def write_u_layout(folder: Path, ratings: pd.DataFrame) -> Path:
    """As ml-100k: u.data, u.item in Latin-1 with a flag a genre, u.user."""
    folder.mkdir(parents=True, exist_ok=True)
    ratings.to_csv(folder / "u.data", sep="\t", header=False, index=False)
    flags = "0|1|0|0|0|1" + "|0" * 13  # Action, Comedy
    items = [
        f"{movie}|{TITLES[0]}|01-Jan-1999||http://a|{flags}" for movie in sorted(set(ratings["movieId"]))
    ]
    (folder / "u.item").write_bytes(("\n".join(items) + "\n").encode("latin-1"))
    users = [f"{user}|{(17, 24, 60)[at % 3]}|{'FM'[at % 2]}|writer|00000" for at, user in users_of(ratings)]
    (folder / "u.user").write_text("\n".join(users) + "\n")
    return folder


def write_parquet_layout(folder: Path, ratings: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ratings.to_parquet(folder / "ratings.parquet")
    ids = sorted(set(ratings["movieId"]))
    movies = pd.DataFrame({"movieId": ids, "title": TITLES[0], "genres": "Drama|Comedy"})
    movies.to_parquet(folder / "movies.parquet")
    people = [(user, (1, 18, 56)[at % 3], "FM"[at % 2], at % 4) for at, user in users_of(ratings)]
    pd.DataFrame(people, columns=["userId", "age", "gender", "occupation"]).to_parquet(
        folder / "users.parquet"
    )
    return folder


def users_of(ratings: pd.DataFrame) -> list[tuple[int, int]]:
    return list(enumerate(sorted(set(ratings["userId"].tolist()))))


def as_table(dataset: Dataset) -> pd.DataFrame:
    """A dataset's ratings under the outside world's ids, in row order."""
    ratings = dataset.ratings
    columns = {
        "userId": dataset.user_ids[ratings.users],
        "movieId": dataset.catalogue.ids[ratings.items],
        "rating": ratings.values,
    }
    if ratings.times is not None:
        columns["timestamp"] = ratings.times
    return pd.DataFrame(columns)


def made_dataset(rows: int = 3000, *, users: int = 60, items: int = 150, seed: int = 0) -> Dataset:
    return generate(users=users, items=items, ratings=rows, seed=seed).dataset


def without_times(dataset: Dataset) -> Dataset:
    ratings = Ratings(**dataset.ratings.__dict__ | {"times": None})
    return Dataset(**dataset.__dict__ | {"ratings": ratings})


def from_pairs(users: list[str], items: list[str], *, times: list[int] | None = None) -> Dataset:
    """A dataset of these pairs, all rated 3 stars of 1 .. 5."""
    user_ids, user_rows = np.unique(np.array(users), return_inverse=True)
    item_ids, item_rows = np.unique(np.array(items), return_inverse=True)
    ratings = Ratings(
        users=user_rows.astype(np.int32),
        items=item_rows.astype(np.int32),
        values=np.full(len(users), 3, dtype=np.float32),
        times=None if times is None else np.array(times, dtype=np.int64),
        scale=RatingScale(1, 5),
        user_count=len(user_ids),
        item_count=len(item_ids),
    )
    catalogue = Catalogue(item_ids, [""] * len(item_ids), [()] * len(item_ids))
    return Dataset("pairs", ratings, user_ids, catalogue, sha256="", licence="", quality=Quality())
