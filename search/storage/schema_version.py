"""Which versions of a file this code reads: older ones are brought up, newer ones refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.errors import InputError


def check_version(document: Any, path: Path, *, newest: int, unmarked: int | None = None) -> int:
    """The ``schema_version`` of ``document``, which was read from ``path``.

    Args:
        document: The parsed file.
        path: Named in the error.
        newest: The version that this code writes.
        unmarked: What a file without the field is; None refuses it.

    Raises:
        InputError: The version is newer, or none.
    """
    version = document.get("schema_version", unmarked) if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{path} has schema_version {version!r}, expected a number up to {newest}")
    if version > newest:
        raise InputError(
            f"{path} has schema_version {version}, this code reads up to {newest}: update the project, or "
            "read it with the version that wrote it"
        )
    return version
