"""A peer: a model of some library, and the settings that it may try on valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Those of ``task`` with a word of ``only`` (comma separated, "" for all) in name or library."""
    able = [peer for peer in peers if peer.task == task]
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(word in peer.name.lower() or word in peer.library for peer in able):
            names = ", ".join(peer.name for peer in able)
            raise InputError(f"--only {word}: no peer of that name for this split; there are: {names}")
    return [
        peer
        for peer in able
        if not words or any(word in peer.name.lower() or word in peer.library for word in words)
    ]
