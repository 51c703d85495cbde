"""Ratings as rows, for tests of how tables are read."""

from __future__ import annotations

from pathlib import Path

from recsys.data.dataset import Dataset
from tests.recsys.data.examples import as_table

Row = tuple[object, ...]


def rows_of(count: int = 400) -> list[Row]:
    """Distinct pairs: (user, item, rating 1 to 5, Unix seconds)."""
    return [
        (row % 20 + 1, row // 20 + 1, row * 7 % 5 + 1, 1_500_000_000 + row * 86_400) for row in range(count)
    ]


def write_rows(
    path: Path, rows: list[Row], *, header: str | None = "user,item,rating,timestamp", mark: str = ","
) -> str:
    lines = [mark.join(map(str, row)) for row in rows]
    if header is not None:
        lines.insert(0, header.replace(",", mark))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def assert_rows(dataset: Dataset, rows: list[Row]) -> None:
    read = as_table(dataset)
    assert read["userId"].tolist() == [str(row[0]) for row in rows]
    assert read["movieId"].tolist() == [str(row[1]) for row in rows]
    assert read["rating"].tolist() == [row[2] for row in rows]
    if len(rows[0]) > 3:
        assert read["timestamp"].tolist() == [row[3] for row in rows]
