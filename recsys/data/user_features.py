"""Who users are: MovieLens's age bracket, gender and occupation one-hot, or the columns of any table.

Read as features, which models learn from, and as groups, which results of experiments are shown by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.catalogue import Table, id_text, key_column, lines_of, text_columns
from recsys.data.feature_encoding import fit_encoding
from recsys.data.readers.ids import plain_ids
from recsys.data.readers.parquet import read_table
from recsys.data.readers.sniff import suffix_of
from recsys.data.user_groups import UserGroups, group_users
from recsys.errors import InputError

# ML-1M's brackets, by their lower edge; ML-100K's exact ages are put into them.
AGE_EDGES = np.array([18, 25, 35, 45, 50, 56])
UserRow = tuple[int, str, str]  # age, gender, occupation
COLUMNS = ("userId", "age", "gender", "occupation")


def is_movielens_users(path: Path) -> bool:
    """Whether ``path`` is one of MovieLens's own tables of people."""
    if path.name in ("u.user", "users.dat"):
        return True
    return path.name == "users.parquet" and set(COLUMNS) <= set(read_table(path).column_names)


def read_users(path: Path) -> dict[str, UserRow]:
    """Users by id from u.user, users.dat or users.parquet."""
    if path.suffix == ".parquet":
        table: dict[str, list[Any]] = read_table(path).to_pydict()
        given = zip(*(table[name] for name in COLUMNS), strict=True)
        return {str(user): (int(age), str(gender), str(job)) for user, age, gender, job in given}
    separator, age_at, gender_at = ("|", 1, 2) if path.name == "u.user" else ("::", 2, 1)
    rows = [line.split(separator) for line in lines_of(path)]
    return {row[0]: (int(row[age_at]), row[gender_at], row[3]) for row in rows}


def user_features(user_ids: NDArray[np.str_], rows_by_user: dict[str, UserRow]) -> NDArray[np.float32] | None:
    """(users, columns) float32 one-hot: 7 age brackets, genders, occupations; a row of zeros for a user
    who is not described. None where nobody is."""
    rows = [rows_by_user.get(user) for user in user_ids.tolist()]
    known = np.array([index for index, row in enumerate(rows) if row is not None], dtype=np.int64)
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


def movielens_groups(user_ids: NDArray[np.str_], rows_by_user: dict[str, UserRow]) -> UserGroups | None:
    """Users by age, gender and occupation. None where nobody is described."""
    known = [index for index, user in enumerate(user_ids.tolist()) if user in rows_by_user]
    described = [rows_by_user[user] for user in user_ids[known].tolist()]
    cells: dict[str, list[object]] = {
        "age": [row[0] for row in described],
        "gender": [row[1] for row in described],
        "occupation": [f"code {row[2]}" if row[2].isdigit() else row[2] for row in described],
    }
    return group_users(cells, known, len(user_ids))


def read_user_table(
    path: Path, user_ids: NDArray[np.str_]
) -> tuple[NDArray[np.float32] | None, UserGroups | None, tuple[str, ...]]:
    """Features from a user's own table (CSV or Parquet) of any columns, keyed by the one that holds the ids.

    Returns:
        (users, columns) float32, a row of zeros for a user without a row, or None where no column is a
        feature; the users' groups; and notes on columns left out and missing values.

    Raises:
        InputError: No such file, no id of it rates, or a vector's rows differ in width.
    """
    where = str(path)
    if not path.is_file():
        raise InputError(f"{path}: no such users file; expected a CSV or Parquet file with an id column")
    table: Table = read_table(path).to_pydict() if suffix_of(path) == ".parquet" else text_columns(path)
    key = key_column(table, user_ids, where=where, role="user")
    ids = plain_ids([id_text(cell) for cell in table[key]])
    rows_by_id = {user_id: row_in_table for row_in_table, user_id in enumerate(ids) if user_id}
    known = [rows_by_id.get(user_id) for user_id in user_ids.tolist()]
    matched = [row_in_table for row_in_table in known if row_in_table is not None]
    if not matched:
        raise InputError(
            f"{path}: it knows 0 of {len(user_ids):,} people who rated: no column of it holds their ids; "
            f"its ids are {', '.join(ids[:3]) or 'none'}, those of the ratings "
            f"{', '.join(user_ids[:3].tolist())}"
        )
    cells = {name: column for name, column in table.items() if name != key}
    described = {name: [column[row_in_table] for row_in_table in matched] for name, column in cells.items()}
    encoding = fit_encoding(described, where=where)
    features = np.zeros((len(user_ids), encoding.width), dtype=np.float32)
    rows = np.array(
        [row for row, row_in_table in enumerate(known) if row_in_table is not None], dtype=np.int64
    )
    features[rows], notes = encoding.encode(described, len(matched), where=where)
    notes = [*encoding.notes, *notes]
    if len(matched) < len(user_ids):
        notes.insert(0, f"{path.name}: it knows {len(matched):,} of {len(user_ids):,} people")
    groups = group_users(described, rows, len(user_ids))
    return features if encoding.width else None, groups, tuple(notes)
