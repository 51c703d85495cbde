"""A controller as a process of its own: ``python -m tests.serving.ops.controlling URL``, until it is done.

Prints what it tells. Stops by itself when no roll-out is under way any more."""

from __future__ import annotations

import sys
import time

from sqlalchemy.exc import SQLAlchemyError

from serving.events.store import EventStore
from serving.rollout.controller import RolloutController


def main(url: str) -> None:
    store = EventStore(url)
    controller = RolloutController(store, "home", notify=lambda words: print(words, flush=True))
    print("ready", flush=True)
    while True:
        try:
            if controller.tick() is None:
                return
        except SQLAlchemyError:  # another process holds the file's lock: the next tick may get it
            continue
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
