"""A column of times gathered block by block: whole numbers as long as every block has them, else text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys.data.readers.sniff import is_number
from recsys.data.readers.typed_block import TEXT_ID


def time_type(texts: Sequence[str]) -> pa.DataType:
    """The narrowest type that a sample of times fits."""
    texts = [text for text in texts if text]
    if all(text.lstrip("-").isdigit() for text in texts):
        return pa.int64()
    return pa.float64() if all(map(is_number, texts)) else TEXT_ID


def joined_times(pieces: Sequence[Any]) -> Any:
    """All times: numbers where every piece holds numbers, else text."""
    if not pieces:
        return np.zeros(0, dtype=np.int64)
    if all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    texts = [pd.Series(piece, dtype=object) for piece in map(as_objects, pieces)]
    return pd.concat(texts, ignore_index=True)


def time_piece(texts: list[str]) -> Any:
    """Times of a block as int64 where all are whole numbers or empty, else text."""
    if all(not text or (text.lstrip("-").isdigit() and text.isascii() and len(text) < 19) for text in texts):
        missing = np.iinfo(np.int64).min
        return np.array([int(text) if text else missing for text in texts], dtype=np.int64)
    return pa.array([text.encode("utf-8", "replace").decode() for text in texts], type=pa.string())


def as_objects(piece: Any) -> list[Any]:
    """A piece of the time column as text, None where empty."""
    if not isinstance(piece, np.ndarray):
        return [value or None for value in piece.to_pylist()]
    if piece.dtype.kind == "f":
        return [None if value != value else repr(value) for value in piece.tolist()]
    missing = np.iinfo(np.int64).min
    return [None if value == missing else str(value) for value in piece.tolist()]
