"""A trial's checkpoint: one safetensors file, replaced whole, with plain JSON in its header.

One file means one atomic rename: whatever happens in the middle (a kill, a full disk), the previous
checkpoint stays valid. Nothing in it can run code when read.
"""

from __future__ import annotations

import json
from pathlib import Path

from recsys.errors import InputError
from recsys.models.artifact import open_arrays, write_arrays
from recsys.types import Arrays, JsonObject

NAME = "checkpoint.safetensors"
VERSION = 1


def write_checkpoint(folder: Path, arrays: Arrays, facts: JsonObject) -> Path:
    """Writes ``folder``/checkpoint.safetensors. Raises OSError and leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_arrays(path, arrays, {"version": str(VERSION), "facts": json.dumps(facts)})
    return path


def read_checkpoint(folder: Path) -> tuple[Arrays, JsonObject]:
    """Arrays (read-only views) and facts. Raises InputError where there is none or it is damaged."""
    path = folder / NAME
    if not path.exists():
        raise InputError(f"{folder} holds no {NAME}; start the trial afresh")
    arrays, metadata = open_arrays(path)
    if metadata.get("version") != str(VERSION):
        raise InputError(f"{path} is version {metadata.get('version')}, expected {VERSION}; start afresh")
    facts: JsonObject = json.loads(metadata["facts"])
    return arrays, facts
