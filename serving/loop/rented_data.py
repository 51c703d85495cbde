"""Data files for a search on rented machines, which cannot read the event store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recsys.io import atomic_path
from serving.commands.ratings_export import export_ratings

LOCAL_KINDS = ("local", "address")  # kinds of clusters/ whose search runs on this machine


def is_rented(cluster: str | None) -> bool:
    """Whether the YAML ``cluster`` rents machines. Raises OSError and ValueError for an invalid file."""
    if cluster is None:
        return False
    content = yaml.safe_load(Path(cluster).read_text(encoding="utf-8"))
    return isinstance(content, dict) and content.get("kind") not in LOCAL_KINDS


def rented_data(run: Path, events: str, folder: Path) -> list[str]:
    """Options of search/breakthrough.py for the merged ratings and the items' titles and genres.

    Both are written into ``folder`` unless they exist. Features of items and clicks are not included.

    Args:
        run: the run with the base data.
        events: the event store with its watermarks.
        folder: the cycle's folder.

    Raises:
        InputError: as ``export_ratings``.
    """
    ratings, items = folder / "ratings.parquet", folder / "items.parquet"
    if not items.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        catalogue = export_ratings(run, events, ratings).catalogue
        columns = {
            "id": catalogue.ids.tolist(),
            "title": list(catalogue.titles),
            "genres": ["|".join(genres) for genres in catalogue.genres],
        }
        with atomic_path(items) as temporary:
            pq.write_table(pa.table(columns), temporary)
    return ["--data", str(ratings.absolute()), "--items", str(items.absolute())]
