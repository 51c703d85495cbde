"""An experiment with made answers in an event store, and the operations that read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.types import JsonObject
from serving.assignment import Assigner
from serving.domain import Exposure, Feedback
from serving.events.store import EventStore
from serving.operation_settings import OperationSettings
from serving.operations_service import Operations

NOW = 1_000_000.0


def operations(store: EventStore, messages: list[str] | None = None, **settings: object) -> Operations:
    return Operations(
        store,
        resolve=Path,
        notify=(messages if messages is not None else []).append,
        settings=OperationSettings(window_seconds=100.0, **settings),  # type: ignore[arg-type]
        clock=lambda: NOW,
    )


def answers(store: EventStore, users: int, *, better: float = 0.0, seed: int = 0, skew: float = 0.0) -> None:
    """Everybody gets one list, and rates its first item or another; "new" hits more often by ``better``."""
    rng = np.random.default_rng(seed)
    state = store.experiment("main")
    assert state is not None
    assigner = Assigner(state)
    shown, done = [], []
    for number in range(users):
        user = f"user-{number}"
        arm = assigner.assign(user).arm
        if arm == "new" and rng.random() < skew:
            continue
        name = f"x-{number}"
        shown.append(
            Exposure(name, NOW - 500, user, "main", arm, 1, "r", ("i1", "i2"), (4.0, 3.0), "personal", 5.0)
        )
        hit = rng.random() < 0.3 + (better if arm == "new" else 0.0)
        item = "i1" if hit else "i9"
        done.append(Feedback(f"f-{number}", name, user, "rating", item, 4.0, NOW - 490, 3.5))
    for start in range(0, users, 500):
        store.add(exposures=shown[start : start + 500], feedback=done[start : start + 500])


def verdict(body: JsonObject, metric: str = "hit_rate") -> str:
    result = next(row for row in body["comparisons"] if row["metric"] == metric)
    return str(result["verdict"]["decision"])
