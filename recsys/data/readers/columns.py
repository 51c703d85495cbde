"""Which columns of a ratings or items table hold what.

Names come from options, or are found among the spellings that MovieLens, RecBole, Surprise and
common exports use. A name that is not there is answered with the columns that are.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.errors import InputError

SPELLINGS = {
    "user": ("userid", "user", "uid", "customerid", "memberid", "reviewerid", "u"),
    "item": ("movieid", "itemid", "item", "movie", "iid", "productid", "bookid", "asin", "isbn", "i"),
    "rating": ("rating", "stars", "score", "value", "overall", "bookrating", "r"),
    "timestamp": ("timestamp", "time", "unixtime", "unixreviewtime", "date", "datetime", "ratedat", "t"),
    "title": ("title", "movietitle", "name", "itemname"),
    "genres": ("genres", "genre", "class", "categories", "category", "tags"),
}


@dataclass(frozen=True)
class Columns:
    """Column names of a table of ratings; None is looked for. ``timestamp`` may be absent, the others not."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    def resolve(self, header: Sequence[str], *, where: str) -> Columns:
        """The same with every name found in ``header``; ``InputError`` names the columns there are."""
        return Columns(
            user=find_column(header, "user", self.user, where=where),
            item=find_column(header, "item", self.item, where=where),
            rating=find_column(header, "rating", self.rating, where=where),
            timestamp=find_column(header, "timestamp", self.timestamp, where=where, required=False),
        )


def find_column(
    header: Sequence[str], role: str, wanted: str | None, *, where: str, required: bool = True
) -> str | None:
    """The column of ``header`` that plays ``role``: exactly ``wanted``, or else a known spelling."""
    if wanted is not None:
        if wanted in header:
            return wanted
        near = difflib.get_close_matches(wanted, header, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{where}: no column {wanted!r} for {role}; its columns are {', '.join(map(repr, header))}{hint}"
        )
    plain = {"".join(c for c in name.split(":")[0].lower() if c.isalnum()): name for name in reversed(header)}
    for spelling in SPELLINGS[role]:
        if spelling in plain:
            return plain[spelling]
    if not required:
        return None
    raise InputError(
        f"{where}: no column looks like the {role}; its columns are {', '.join(map(repr, header))}; "
        f"name the right one with the column option for {role}"
    )
