"""Ctrl-C: once asks the run to end gracefully, twice stops it where it is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class InterruptHandler:
    """While entered, SIGINT sets ``requested`` and calls ``on_request``; a second raises
    KeyboardInterrupt."""

    def __init__(self, on_request: Callable[[], None]) -> None:
        self.requested = False
        self._on_request = on_request
        self._before: Any = None

    def __enter__(self) -> InterruptHandler:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._on_request()
