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


OPTIONS = {
    "user": "--user-column NAME",
    "item": "--item-column NAME",
    "rating": "--rating-column NAME",
    "timestamp": "--time-column NAME",
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
        chosen = Columns(
            user=find_column(header, "user", self.user, where=where),
            item=find_column(header, "item", self.item, where=where),
            rating=find_column(header, "rating", self.rating, where=where),
            timestamp=find_column(header, "timestamp", self.timestamp, where=where, required=False),
        )
        for name in (chosen.user, chosen.item, chosen.rating, chosen.timestamp):
            if name is not None and list(header).count(name) > 1:
                raise InputError(f"{where}: two columns are called {name!r}; rename one of them")
        return chosen


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
    plain = {plain_name(name): name for name in reversed(header)}
    for spelling in SPELLINGS[role]:
        if spelling in plain:
            return plain[spelling]
    if not required:
        return None
    raise InputError(
        f"{where}: no column looks like the {role}; its columns are {', '.join(map(repr, header))}; "
        f"name the right one with {OPTIONS.get(role, '--items')}"
    )


def plain_name(name: str) -> str:
    """A column's name as it is compared: RecBole's type, case and punctuation do not count."""
    return "".join(character for character in name.split(":")[0].lower() if character.isalnum())


def looks_like_header(header: Sequence[str], columns: Columns) -> bool:
    """Whether ``header`` holds a name that was asked for, or any known spelling of one."""
    asked = {columns.user, columns.item, columns.rating, columns.timestamp} - {None}
    known = {spelling for role in ("user", "item", "rating") for spelling in SPELLINGS[role]}
    return bool(asked & set(header)) or any(plain_name(name) in known for name in header)


def described(header: Sequence[str], asked: Columns, chosen: Columns) -> tuple[str, ...]:
    """Each role's column, and why that one."""
    lines = []
    for role in ("user", "item", "rating", "timestamp"):
        name = getattr(chosen, role)
        if name is None:
            lines.append(f"{role}: none of {', '.join(map(repr, header))}")
            continue
        why = "as asked for" if getattr(asked, role) is not None else "a usual name for it"
        lines.append(f"{role}: {name!r} (column {list(header).index(name) + 1}, {why})")
    return tuple(lines)
