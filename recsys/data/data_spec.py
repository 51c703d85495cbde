"""The ratings that a run is on: what --data names, or synthetic ones of a given size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from recsys.data.cleaning import Duplicates
from recsys.data.dataset import Dataset
from recsys.data.event_ratings import read_served
from recsys.data.event_store import split_source, split_watermark
from recsys.data.loading import home_path, load_dataset
from recsys.data.merged_ratings import merge_served
from recsys.data.ratings import RatingScale
from recsys.data.readers.columns import Columns
from recsys.data.readers.parquet import exported_lineage
from recsys.errors import InputError
from recsys.types import JsonObject


@dataclass(frozen=True)
class DataSpec:
    """``--data`` and the options that go with it; plain values, so that a resumed run finds it again."""

    data: str
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    time_column: str | None = None
    items: str | None = None
    scale: tuple[float, float] | None = None
    missing: tuple[float, ...] = ()
    duplicates: Duplicates = "last"
    header: str = "auto"
    items_optional: bool = False
    users: str | None = None
    weigh_exposures: bool = False

    def to_json(self) -> JsonObject:
        row: JsonObject = TypeAdapter(DataSpec).dump_python(self, mode="json")
        return row

    @classmethod
    def from_json(cls, row: JsonObject) -> DataSpec:
        return TypeAdapter(cls).validate_python(row)

    def require_events(self) -> None:
        """Raises InputError for ``weigh_exposures`` of data without an event store."""
        if self.weigh_exposures and split_source(self.data) is None:
            raise InputError(f"--weigh-exposures weighs lists of --data RUN+EVENTS; got --data {self.data}")

    def load(self, progress: Callable[[str, float], None] | None = None) -> Dataset:
        """The dataset. Raises InputError that says what is wrong and where."""
        pair = split_source(self.data)
        if pair is not None:
            base = base_source(Path(pair[0]), pair[1]).load(progress)
            return merge_served(base, read_served(pair[1], base.ratings.scale), weigh=self.weigh_exposures)
        self.require_events()
        dataset = load_dataset(
            self.data,
            columns=Columns(
                user=self.user_column,
                item=self.item_column,
                rating=self.rating_column,
                timestamp=self.time_column,
            ),
            items=None if self.items is None else Path(self.items),
            users=None if self.users is None else Path(self.users),
            scale=None if self.scale is None else RatingScale(*self.scale),
            missing=self.missing,
            duplicates=self.duplicates,
            header=self.header != "none",
            items_optional=self.items_optional,
            progress=progress,
        )
        file = home_path(self.data)
        return replace(dataset, lineage=exported_lineage(file)) if file.suffix == ".parquet" else dataset


def run_source(run: Path) -> DataSpec:
    """What the run in ``run`` was trained on. Raises InputError where it holds no run."""
    try:
        return DataSpec.from_json(json.loads((run / "run.json").read_text())["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--data {run}+...: {run} holds no run of a search ({type(error).__name__}: run.json); expected "
            "RUN+EVENTS, e.g. runs/champion+runs/events.db"
        ) from None


def base_source(run: Path, events: str) -> DataSpec:
    """What ``run`` was trained on before events were merged: a run that was itself trained on ``events``
    gives the source under them, so that retraining again and again reads each event once."""
    spec = run_source(run)
    pair = split_source(spec.data)
    return base_source(Path(pair[0]), events) if pair and _store(pair[1]) == _store(events) else spec


def _store(events: str) -> str:
    """An event store's address, whatever folder it is named from and up to which row."""
    url = split_watermark(events).url
    return url if "://" in url else str(Path(url).absolute())


def show_download(what: str, share: float) -> None:
    """Progress of a download or a parse on one line of stderr."""
    if sys.stderr.isatty():
        print(f"\r{what}: {share:4.0%}", end="\n" if share >= 1 else "", file=sys.stderr, flush=True)
