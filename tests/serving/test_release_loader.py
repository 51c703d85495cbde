"""Opening releases: beside what answers, each once, and out of the way of requests."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

from serving.catalogue.rule_set import RuleSet
from serving.domain import ArmSpec, ExperimentState
from serving.engine.release_loader import ReleaseLoader

ARMS = (ArmSpec("one", "a", 0.5), ArmSpec("two", "b", 0.5))
STATE = ExperimentState("main", 1, "salt", ARMS)


def test_what_is_open_stays_open_and_the_rest_is_opened_politely(releases: dict[str, Path]) -> None:
    priorities: list[int] = []

    def resolve(spec: str) -> Path:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return releases[spec]

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    loader = ReleaseLoader(RuleSet(), resolve)
    first = loader.load(STATE, None)
    second = loader.load(replace(STATE, revision=2, arms=(ARMS[0], replace(ARMS[1], release="a"))), first)
    assert second.arms["one"] is first.arms["one"]
    assert second.arms["two"] is first.arms["one"]
    assert first.arms["two"] is not first.arms["one"]
    assert min(priorities) > own
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
