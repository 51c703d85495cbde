"""``python -m serving items load FILE``: loads a table of items into the run-time catalogue.

The table goes to the event store, and every replica follows within a second. A row changes only what it
names, so a file can be loaded again: unchanged items get no revision.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recsys.data.catalogue import ItemTable, read_items
from recsys.errors import InputError
from serving.api.item_schemas import BulkItem
from serving.catalogue.filter_grammar import NUMBER
from serving.events.item_log import ItemChange, save_items
from serving.events.store import open_store

FIELD_COLUMNS = ("available_from", "available_to", "hidden")  # the others are features


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    words = (
        "add or change the items of a table: id, title, genres (joined by |), available_from, available_to, "
    )
    load = actions.add_parser("load", help=words + "hidden, features", description=words + "hidden, features")
    load.add_argument("file", type=Path, help="CSV, Parquet, u.item or movies.dat")
    load.add_argument("--events", default="sqlite:///runs/events.db", help="the server's event store")
    load.add_argument("--actor", default="items load", help="actor in the items' history")
    load.add_argument("--reason", default="", help="reason in the items' history (default: the file's name)")


def run(options: argparse.Namespace) -> int:
    """Store all rows in one transaction after validating each."""
    changes = item_changes_of(read_items(options.file), where=str(options.file))
    with open_store(options.events) as store:
        if changes:
            reason = options.reason or f"loaded from {options.file.name}"
            save_items(store, changes, actor=options.actor, reason=reason)
    print(json.dumps({"items": len(changes), "events": options.events.split("@")[-1]}))
    return 0


def item_changes_of(table: ItemTable, *, where: str) -> list[ItemChange]:
    """One change per row; empty cells change nothing.

    Raises:
        InputError: an invalid row, named by its id.
    """
    ids = list(table.rows)
    columns = table.cells_of(ids)
    changes = []
    for index, (item_id, title, genres) in enumerate(table.rows.values()):
        cells = {name: _cell(column[index]) for name, column in columns.items()}
        filled: dict[str, Any] = {name: cell for name, cell in cells.items() if cell is not None}
        fields: dict[str, Any] = {name: filled.pop(name) for name in FIELD_COLUMNS if name in filled}
        fields |= {"title": title} if title else {}
        fields |= {"genres": list(genres)} if genres else {}
        fields |= {"features": filled} if filled else {}
        try:
            changes.append(ItemChange(item_id, BulkItem(id=item_id, **fields).changed_fields()))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "the row"
            raise InputError(f"{where}: item {item_id!r}: {name}: {first['msg']}") from None
    return changes


def _cell(value: object) -> object:
    """A cell as boolean, number, list or text; None where it is empty."""
    if isinstance(value, list | tuple):
        numbers = all(isinstance(part, int | float) for part in value)
        return list(value) if numbers else [str(part) for part in value]
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not isinstance(value, str):
        return value if isinstance(value, bool | int | float) else str(value)
    text = value.strip()
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    return (float(text) if NUMBER.fullmatch(text) else text) if text else None
