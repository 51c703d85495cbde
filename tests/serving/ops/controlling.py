"""A controller as a process of its own, until it is done:

    python -m tests.serving.ops.controlling URL [SHARE]

Prints what it tells. Stops by itself when no roll-out is under way any more; with SHARE, it is killed by
SIGKILL once the last arm has that share."""

from __future__ import annotations

import os
import signal
import sys
import time

from sqlalchemy.exc import SQLAlchemyError

from serving.events.store import EventStore
from serving.rollout.controller import RolloutController


def main(url: str, share: float = 2.0) -> None:
    store = EventStore(url)
    controller = RolloutController(store, "home", notify=lambda words: print(words, flush=True))
    print("ready", flush=True)
    while True:
        try:
            if controller.tick() is None:
                return
        except SQLAlchemyError:  # another process holds the file's lock: the next tick may get it
            continue
        state = store.experiment("home")
        if state is not None and state.arms[-1].share >= share:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))
