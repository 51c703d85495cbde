"""results.json: written atomically, read back with its schema version checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.types import JsonObject
from search.results.schema import SCHEMA_VERSION, Results
from search.storage.json_files import read_json
from search.storage.schema_version import check_version

RESULTS = "results.json"


def same_fields(document: JsonObject) -> JsonObject:
    """Versions 1 and 2: every field that came after it has a default."""
    return document


UPGRADES: list[Callable[[JsonObject], JsonObject]] = [same_fields, same_fields]  # 1 to 2, 2 to 3


def write_results(folder: Path, results: Results) -> Path:
    """``folder``/results.json."""
    return write_atomic(folder / RESULTS, results.model_dump_json(indent=1).encode())


def read_results(folder: Path) -> Results:
    """The results of a run's folder, older ones brought up; InputError where there are none, or newer."""
    document = read_json(folder / RESULTS, "finish the run first: python search/breakthrough.py --resume")
    version = check_version(document, folder / RESULTS, newest=SCHEMA_VERSION)
    for upgrade in UPGRADES[version - 1 :]:
        document = upgrade(document)
    document["schema_version"] = SCHEMA_VERSION
    try:
        return Results.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{folder / RESULTS}: {location}: {first['msg']} (a whole results.json was expected)"
        ) from None
