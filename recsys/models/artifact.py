"""Members on disk: one safetensors file beside one JSON file, opened as memory maps.

The reader parses the safetensors header itself and views the mapped bytes, so that opening copies
nothing and several processes share the pages. The writer is ours too: an error of the disk is an OSError
that leaves the previous file in place.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.base import ModelArtifact
from recsys.types import Arrays, JsonObject

_CODES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_NAMES = {np.dtype(code): name for name, code in _CODES.items()}


def write_atomically(path: Path, parts: list[bytes | memoryview]) -> None:
    """``parts`` one after the other into ``path``: all of it or, on any error, the old file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file. Raises OSError (disk), ValueError for a dtype that the format lacks."""
    header: JsonObject = {"__metadata__": metadata} if metadata else {}
    parts: list[bytes | memoryview] = []
    at = 0
    # Widest numbers first keep every array aligned to its own width.
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
        if array.dtype not in _NAMES:
            raise ValueError(f"array {name!r} is {array.dtype}, which safetensors cannot hold")
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        if array.nbytes:
            parts.append(array.reshape(-1).view(np.uint8).data)
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, [len(text).to_bytes(8, "little"), text, *parts])


def open_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Views of the mapped file, read-only, and its metadata. Raises InputError where it is not whole."""
    try:
        # As a plain array: np.memmap's own indexing is several times slower.
        whole: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
        header = json.loads(whole[8:start].tobytes())
        metadata = header.pop("__metadata__", {})
        arrays: Arrays = {}
        for name, facts in header.items():
            low, high = facts["data_offsets"]
            if start + high > len(whole):
                raise ValueError("shorter than its header says")
            dtype = np.dtype(_CODES[facts["dtype"]])
            view: NDArray[Any] = whole[start + low : start + high].view(dtype)
            arrays[name] = view.reshape(facts["shape"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); write it again") from None
    return arrays, metadata


def save_artifact(folder: Path, member: ModelArtifact) -> None:
    """``folder``/arrays.safetensors and ``folder``/member.json (written last). Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "arrays.safetensors", member.arrays)
    facts = {
        "family": member.family,
        "settings": member.settings,
        "scale": {"low": member.scale.low, "high": member.scale.high},
    }
    write_atomically(folder / "member.json", [json.dumps(facts, indent=1, sort_keys=True).encode()])


def load_artifact(folder: Path) -> ModelArtifact:
    """The member in ``folder``, its arrays memory-mapped. Raises InputError."""
    path = folder / "member.json"
    try:
        facts = json.loads(path.read_text())
        scale = RatingScale(facts["scale"]["low"], facts["scale"]["high"])
        family, settings = str(facts["family"]), dict(facts["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a packed member ({error}); pack it again") from None
    arrays, _ = open_arrays(folder / "arrays.safetensors")
    return ModelArtifact(family, settings, arrays, scale)
