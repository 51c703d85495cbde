"""Model artifacts on disk: a safetensors file and a JSON file, opened as memory maps.

The safetensors library writes and checks; opening maps the file and copies nothing, so that several
processes share the pages. A failed write raises OSError and keeps the previous file.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.io import atomic_path, write_atomic
from recsys.models.base import ModelArtifact
from recsys.types import Arrays

DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file.

    Args:
        path: Where to write, atomically.
        arrays: Of any shape, by name.
        metadata: Strings by name.

    Raises:
        OSError: A full disk, or no permission.
        ValueError: A dtype that the format lacks.
    """
    for name, array in arrays.items():
        if array.dtype not in DTYPES.values():
            raise ValueError(f"array {name!r} is {array.dtype}, which safetensors cannot hold")
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # the library makes files that only their owner may read
        try:
            save_file(contiguous, temporary, metadata)
        except SafetensorError as error:
            if code := SYSTEM_ERROR.search(str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
            raise
        temporary.chmod(mode)


def open_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Memory-maps a safetensors file.

    Args:
        path: Of the file.

    Returns:
        Read-only views by name, and the metadata.

    Raises:
        InputError: The file is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            layout = {name: (DTYPES[s.get_dtype()], tuple(s.get_shape())) for name, s in slices.items()}
        # As a plain array: indexing an np.memmap is several times slower.
        data: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        # The library has checked that the arrays fill the file's end, one after the other.
        start = len(data) - sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())
        arrays: Arrays = {}
        for name, (dtype, shape) in layout.items():
            end = start + dtype.itemsize * math.prod(shape)
            arrays[name] = data[start:end].view(dtype).reshape(shape)
            start = end
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); write it again") from None
    return arrays, metadata


def save_artifact(folder: Path, member: ModelArtifact) -> None:
    """Writes ``arrays.safetensors`` and then ``member.json``.

    Args:
        folder: Where to; it is made.
        member: The trained model.

    Raises:
        OSError: A full disk, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "arrays.safetensors", member.arrays)
    facts = {
        "family": member.family,
        "settings": member.settings,
        "scale": {"low": member.scale.low, "high": member.scale.high},
    }
    write_atomic(folder / "member.json", json.dumps(facts, indent=1, sort_keys=True).encode())


def load_artifact(folder: Path) -> ModelArtifact:
    """Opens an artifact of ``save_artifact``, its arrays memory-mapped.

    Args:
        folder: It was saved to.

    Returns:
        The artifact, with read-only arrays.

    Raises:
        InputError: A missing or damaged file.
    """
    path = folder / "member.json"
    try:
        facts = json.loads(path.read_text())
        scale = RatingScale(facts["scale"]["low"], facts["scale"]["high"])
        family, settings = str(facts["family"]), dict(facts["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a packed member ({error}); pack it again") from None
    arrays, _ = open_arrays(folder / "arrays.safetensors")
    return ModelArtifact(family, settings, arrays, scale)
