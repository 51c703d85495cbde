"""Ratings as people write them: 4, 4.5, 4,5 and 1e0; everything else is named as found."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
COMMA = re.compile(r"[+-]?(\d+,\d{1,2}|,\d{1,2})", re.ASCII)
ACCEPTED = "expected a number such as 4, 4.5 or 4,5"


def rating_of(text: str) -> float:
    """The rating that ``text`` spells; NaN where it is none, infinite ones too."""
    text = text.strip()
    if POINT.fullmatch(text):
        value = float(text)
    elif COMMA.fullmatch(text):
        value = float(text.replace(",", "."))
    else:
        return float("nan")
    return value if abs(value) < 1e30 else float("nan")


def ratings_of(texts: Sequence[str]) -> NDArray[np.float32]:
    """(n,) float32 ratings, NaN where a text is none."""
    parsed: dict[str, float] = {}
    values = np.empty(len(texts), dtype=np.float32)
    for at, text in enumerate(texts):
        value = parsed.get(text)
        if value is None:
            value = parsed[text] = rating_of(text)
        values[at] = value
    return values
