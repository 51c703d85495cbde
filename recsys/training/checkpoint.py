"""Checkpoint file of a trial: a safetensors file with plain JSON in its header, replaced atomically.

A single file needs a single atomic rename: after a kill or a full disk the previous checkpoint is valid.
Reading it cannot run code.
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
    """Writes a checkpoint.

    Args:
        folder: Of the checkpoint; made where it is missing.
        arrays: By name.
        facts: Plain JSON.

    Returns:
        The file.

    Raises:
        OSError: A full disk, or no permission; the previous checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_arrays(path, arrays, {"version": str(VERSION), "facts": json.dumps(facts)})
    return path


def read_checkpoint(folder: Path) -> tuple[Arrays, JsonObject]:
    """Reads a checkpoint of ``write_checkpoint``.

    Args:
        folder: Of the checkpoint.

    Returns:
        Arrays (read-only views of the file) and facts.

    Raises:
        InputError: A missing or damaged file, or one of another version.
    """
    path = folder / NAME
    if not path.exists():
        raise InputError(f"{folder} holds no {NAME}; start the trial afresh")
    arrays, metadata = open_arrays(path)
    if metadata.get("version") != str(VERSION):
        raise InputError(f"{path} is version {metadata.get('version')}, expected {VERSION}; start afresh")
    facts: JsonObject = json.loads(metadata["facts"])
    return arrays, facts
