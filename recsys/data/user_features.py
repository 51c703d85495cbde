"""Who users are, where MovieLens says so: age bracket, gender, occupation as one-hot columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.catalogue import lines_of
from recsys.data.readers.parquet import read_table

# ML-1M's brackets, by their lower edge; ML-100K's exact ages are put into them.
AGE_EDGES = np.array([18, 25, 35, 45, 50, 56])
UserRow = tuple[int, str, str]  # age, gender, occupation


def read_users(path: Path) -> dict[str, UserRow]:
    """Users by id from u.user, users.dat or users.parquet."""
    if path.suffix == ".parquet":
        table: dict[str, list[Any]] = read_table(path).to_pydict()
        given = zip(table["userId"], table["age"], table["gender"], table["occupation"], strict=True)
        return {str(user): (int(age), str(gender), str(job)) for user, age, gender, job in given}
    separator, age_at, gender_at = ("|", 1, 2) if path.name == "u.user" else ("::", 2, 1)
    rows = [line.split(separator) for line in lines_of(path)]
    return {row[0]: (int(row[age_at]), row[gender_at], row[3]) for row in rows}


def user_features(user_ids: NDArray[np.str_], people: dict[str, UserRow]) -> NDArray[np.float32] | None:
    """(users, columns) float32 one-hot: 7 age brackets, genders, occupations; a row of zeros for a user
    who is not described. None where nobody is."""
    rows = [people.get(user) for user in user_ids.tolist()]
    known = np.array([at for at, row in enumerate(rows) if row is not None], dtype=np.int64)
    if len(known) == 0:
        return None
    people_known = [row for row in rows if row is not None]
    blocks = [np.searchsorted(AGE_EDGES, [row[0] for row in people_known], side="right")]
    widths = [len(AGE_EDGES) + 1]
    for field in (1, 2):
        names, codes = np.unique([str(row[field]) for row in people_known], return_inverse=True)
        blocks.append(codes)
        widths.append(len(names))
    features = np.zeros((len(rows), sum(widths)), dtype=np.float32)
    for block, start in zip(blocks, np.cumsum([0, *widths[:-1]]), strict=True):
        features[known, start + block] = 1
    return features
