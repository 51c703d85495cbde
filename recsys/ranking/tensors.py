"""Safetensors mapped into memory, so that processes share pages instead of each holding a copy.

The library's own numpy reader copies every tensor. The format is an 8-byte little-endian header length,
a JSON header with dtype, shape and byte range, then the bytes: https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recsys.errors import InputError
from recsys.types import Arrays

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "|i1", "BOOL": "|b1"}


def map_tensors(path: Path) -> Arrays:
    """Every tensor by name, read-only. Raises InputError for a file that is cut off or not safetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise InputError(
                f"{path} is not a whole safetensors file: its header would be {length} bytes long"
            )
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    start = 8 + length
    if max((card["data_offsets"][1] for card in header.values()), default=0) > size - start:
        raise InputError(f"{path} is cut off: its header names more bytes than the file holds")
    raw = (
        np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray) if size > start else np.empty(0, np.uint8)
    )
    arrays: Arrays = {}
    for name, card in header.items():
        first, end = card["data_offsets"]
        plain = raw[start + first : start + end].view(DTYPES[card["dtype"]])
        arrays[name] = plain.reshape(card["shape"])
    return arrays
