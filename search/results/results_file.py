"""results.json: written atomically, read back with its schema version checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from recsys.errors import InputError
from recsys.io import write_atomic
from search.results.schema import SCHEMA_VERSION, Results
from search.storage.json_files import read_json

RESULTS = "results.json"


def write_results(folder: Path, results: Results) -> Path:
    """``folder``/results.json."""
    return write_atomic(folder / RESULTS, results.model_dump_json(indent=1).encode())


def read_results(folder: Path) -> Results:
    """The results of a run's folder; InputError where there are none, or of another schema."""
    document = read_json(folder / RESULTS, "finish the run first: python search/breakthrough.py --resume")
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{folder / RESULTS} has schema_version {version!r}, this code reads {SCHEMA_VERSION}: "
            "read it with the version of the project that wrote it"
        )
    try:
        return Results.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{folder / RESULTS}: {place}: {first['msg']} (a whole results.json was expected)"
        ) from None
