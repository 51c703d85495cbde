"""An event that is set by signals, for a main thread that waits for its end."""

from __future__ import annotations

import signal
import threading


def stop_event(*numbers: signal.Signals) -> threading.Event:
    """An event that each of ``numbers`` sets from now on."""
    stop = threading.Event()
    for number in numbers:
        # Set by another thread: the handler may interrupt this one while it holds the event's lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set, daemon=True).start())
    return stop
