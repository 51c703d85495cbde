"""Seeds derived from one root seed, one for every use of randomness.

They are hashes, so that neighbouring roots give unrelated streams.
"""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """A seed for one use of randomness.

    Args:
        root: Of the run.
        names: That identify the use, e.g. ``derive_seed(0, "trial", 3)``.

    Returns:
        In [0, 2**63).
    """
    text = "/".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
