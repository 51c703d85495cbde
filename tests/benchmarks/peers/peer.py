"""A peer: a model of some library, and the settings that it may try on valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from recsys.errors import InputError

Task = Literal["rate", "rank"]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """``library`` is its file in ``libraries/``; ``seeded`` False where a seed changes nothing."""

    name: str
    library: str
    task: Task
    settings: tuple[Settings, ...]
    seeded: bool = True


def grid(fixed: Settings | None = None, **columns: Sequence[Any]) -> tuple[Settings, ...]:
    """Settings row by row from columns of equal length, each with what is ``fixed``."""
    rows = zip(*columns.values(), strict=True)
    return tuple({**(fixed or {}), **dict(zip(columns, row, strict=True))} for row in rows)


def chosen(peers: Sequence[Peer], task: Task, only: str) -> list[Peer]:
    """Those of ``task`` that a word of ``only`` (comma separated, "" for all) names: the whole name, or else
    part of names and libraries."""
    able = [peer for peer in peers if peer.task == task]
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    result = able if not words else []
    for word in words:
        whole = [peer for peer in able if peer.name.lower() == word]
        meant = whole or [peer for peer in able if word in peer.name.lower() or word in peer.library]
        if not meant:
            names = "; ".join(peer.name for peer in able)
            raise InputError(f"--only {word}: no peer of that name for this split; there are: {names}")
        result += [peer for peer in meant if peer not in result]
    return result


def only_settings(peer: Peer, numbers: str) -> Peer:
    """``peer`` with those of its settings alone, from 0, comma separated; those that it has."""
    try:
        wanted = {int(number) for number in numbers.split(",")}
    except ValueError:
        raise InputError(f"--settings {numbers}: expected numbers from 0, e.g. 1,3") from None
    kept = tuple(entry for number, entry in enumerate(peer.settings) if number in wanted)
    if not kept:
        raise InputError(f"--settings {numbers}: {peer.name} has settings 0 to {len(peer.settings) - 1}")
    return replace(peer, settings=kept)
