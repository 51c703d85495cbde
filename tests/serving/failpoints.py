"""Ends a block of code before its n-th write, as a kill would."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.events.store import EventStore

WRITES = ("replace", "link", "unlink", "rename", "write", "fsync", "truncate")


class Killed(BaseException):
    """What ``kill -9`` is to a process: nothing in it runs any more."""


@contextlib.contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ends the block before the ``step``-th write to a disk or commit of a store; the list has those made.

    Between a statement and its commit is a step too: SQLite then rolls back, as after a kill."""
    made: list[str] = []
    real_transaction = EventStore.transaction

    def count(name: str) -> None:
        if len(made) == step:
            raise Killed
        made.append(name)

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            count(name)
            return real(*args, **options)

        return call

    @contextlib.contextmanager
    def transaction(self: EventStore) -> Iterator[Any]:
        with real_transaction(self) as connection:
            yield connection
            count("commit")

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        patch.setattr(EventStore, "transaction", transaction)
        with contextlib.suppress(Killed):
            yield made
            made.append("end")
