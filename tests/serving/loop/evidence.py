"""Evidence of each phase as the steps give it, for the tests of what is decided from it."""

from __future__ import annotations

from recsys.types import JsonObject
from serving.loop.loop_decisions import Phase

ENOUGH: dict[Phase, JsonObject] = {
    Phase.IDLE: {
        "paused": None,
        "busy": "",
        "hours_since": None,
        "new_ratings": 20_000,
        "watermark": 20_000,
        "drifted": [],
        "spent_usd": 0.0,
        "cap_usd": 5.0,
        "comparisons": 0,
    },
    Phase.DATASET: {"served": 100, "ratings": 1_000},
    Phase.SEARCH: {
        "exit_code": 0,
        "tries": 1,
        "hours": 0.5,
        "cap_usd": 5.0,
        "usd": 1.25,
        "status": "finished",
        "release": "/runs/loop/cycle-0001/run/release",
        "last_lines": "",
    },
    Phase.GATE: {
        "promoted": True,
        "reason": "beats the champion",
        "champion": "recommender version 1",
        "champion_release": "aa",
        "served_release": "aa",
    },
    Phase.SHADOW: {"changed": None, "lost_events": 0, "answers": 500, "broken": None, "hours": 1.5},
    Phase.COMPARE: {"changed": None, "lost_events": 0, "verdict": "ship", "words": "Ship.", "hours": 3.0},
    Phase.ROLLOUT: {
        "changed": None,
        "lost_events": 0,
        "ended": "done",
        "words": "held",
        "share": 1.0,
        "hours": 2.0,
    },
    Phase.PROMOTE: {"changed": None, "release": "/runs/loop/cycle-0001/run/release"},
    Phase.BACK: {"because": "Stop.", "left_alone": False},
}
