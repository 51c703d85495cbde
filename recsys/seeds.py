"""One root seed, and a derived one for every use of randomness.

A hash keeps the streams apart: seeds that differ by one give unrelated streams.
"""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """A seed in [0, 2**63) for the use that ``names`` spell out, e.g. ``derive_seed(0, "trial", 3)``."""
    text = "/".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
