"""The options of reading ratings, the same for every command that reads them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from recsys.errors import InputError
from recsys.types import JsonObject


def add_reading_options(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the options that say how a user's own ratings are read."""
    group.add_argument(
        "--items",
        metavar="FILE",
        help="items with id, title, genres and any other columns as features; items without a rating are new",
    )
    group.add_argument("--users", metavar="FILE", help="people with an id and any other columns as features")
    group.add_argument(
        "--items-optional", action="store_true", help="go on where no rated item is in the items file"
    )
    group.add_argument("--user-column", metavar="NAME")
    group.add_argument("--item-column", metavar="NAME")
    group.add_argument("--rating-column", metavar="NAME")
    group.add_argument("--time-column", metavar="NAME")
    group.add_argument(
        "--header",
        choices=("auto", "none"),
        default="auto",
        help="none: the first line is a rating; columns are user, item, rating, timestamp by position",
    )
    group.add_argument(
        "--scale", metavar="LOW:HIGH", help="the rating scale; ratings outside are left out with a count"
    )
    group.add_argument(
        "--missing",
        metavar="VALUE",
        action="append",
        default=[],
        help="ratings that mean there is none (0, -1, 99); such rows are left out with a count; repeatable",
    )
    group.add_argument(
        "--duplicates",
        choices=("last", "mean", "stop"),
        default="last",
        help="of a pair rated twice: keep the newest (default), their mean, or stop",
    )


def read_options(options: argparse.Namespace) -> JsonObject:
    """What ``add_reading_options`` added, as fields of a ``DataSpec``. Raises InputError for a wrong one."""
    names = ("user_column", "item_column", "rating_column", "time_column", "items", "users")
    return {
        **{name: getattr(options, name) for name in (*names, "duplicates", "header", "items_optional")},
        "scale": scale_of(options.scale),
        "missing": missing_of(options.missing),
    }


def scale_of(text: str | None) -> tuple[float, float] | None:
    """``LOW:HIGH`` in stars."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--scale is {text!r}, expected LOW:HIGH such as 0.5:5") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--scale is {text!r}, expected a low below the high")
    return low, high


def join_missing(arguments: Sequence[str]) -> list[str]:
    """The command line with the numbers after ``--missing`` made one word: ``--missing=0,-1``.

    So several may follow, negative ones too, without taking the file that comes after them.
    """
    words: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if word == "--missing":
            numbers = []
            while at < len(arguments) and is_numbers(arguments[at]):
                numbers.append(arguments[at])
                at += 1
            if numbers:
                word = f"--missing={','.join(numbers)}"
        words.append(word)
    return words


def is_numbers(word: str) -> bool:
    try:
        return all(math.isfinite(float(part)) for part in word.split(","))
    except ValueError:
        return False


def missing_of(words: list[str]) -> tuple[float, ...]:
    """The ratings that mean there is none; commas may join several."""
    values = []
    for text in (part for word in words for part in word.split(",") if part):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"--missing is {text!r}, expected a number such as 0 or -1")
        values.append(value)
    return tuple(dict.fromkeys(values))
