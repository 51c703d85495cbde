"""The data of a search on rented machines, which cannot read the event store: merged and written as files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recsys.data.data_spec import base_source
from recsys.data.event_ratings import read_served
from recsys.data.merged_ratings import merge_served
from recsys.io import atomic_path
from serving.commands.ratings_export import export_ratings

HERE = ("local", "address")  # kinds of clusters/ whose search is a process of this machine


def is_rented(cluster: str | None) -> bool:
    """Whether the YAML ``cluster`` rents machines. Raises OSError and ValueError for one that is none."""
    if cluster is None:
        return False
    content = yaml.safe_load(Path(cluster).read_text(encoding="utf-8"))
    return isinstance(content, dict) and content.get("kind") not in HERE


def rented_data(run: Path, events: str, folder: Path) -> list[str]:
    """Options of search/breakthrough.py that name the merged ratings and the items' titles and genres.

    Both are written into ``folder`` unless they are there. Features of items and clicks stay here.

    Args:
        run: whose data is the base.
        events: the event store with its marks.
        folder: of the cycle.

    Raises:
        InputError: as ``export_ratings``.
    """
    ratings, items = folder / "ratings.parquet", folder / "items.parquet"
    if not items.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        export_ratings(run, events, ratings)
        base = base_source(run, events).load()
        catalogue = merge_served(base, read_served(events, base.ratings.scale)).catalogue
        columns = {
            "id": catalogue.ids.tolist(),
            "title": list(catalogue.titles),
            "genres": ["|".join(genres) for genres in catalogue.genres],
        }
        with atomic_path(items) as temporary:
            pq.write_table(pa.table(columns), temporary)
    return ["--data", str(ratings.absolute()), "--items", str(items.absolute())]
