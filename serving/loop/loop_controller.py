"""The controller of the retraining loop: evidence, decision, journal, next phase.

A phase acts before its decision is journalled, and its actions are idempotent (``live_steps``): after a kill
the controller continues from the journal. A fault (an unavailable store, a full disk) changes nothing: it is
reported once, and the phase is retried.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from recsys.io import write_atomic
from recsys.types import JsonObject
from serving.elapsed_time import PhaseTimer, durations_of
from serving.loop.loop_decisions import LoopDecision, Phase, decide
from serving.loop.loop_journal import LoopJournal, LoopRecord, LoopState
from serving.loop.loop_settings import LoopSettings

PAUSE_FILE, STATUS_FILE = "paused.json", "status.json"


class Steps(Protocol):
    """The phases' actions."""

    def evidence(
        self, state: LoopState, records: list[LoopRecord], *, now: float, paused: str | None
    ) -> JsonObject:
        """Act in the state's phase, and return the evidence of its decision."""

    def mirror(self, records: list[LoopRecord]) -> None:
        """Copy the records to the operations page."""


class LoopController:
    """``notify`` is called with each decision that changes the phase, and with each fault once; ``monotonic``
    measures phases (by default the system's, or a simulated ``clock``).

    Run it under a ``LoopLease``."""

    def __init__(
        self,
        settings: LoopSettings,
        steps: Steps,
        *,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.folder = Path(settings.folder)
        self.journal = LoopJournal(self.folder)
        self._steps, self._notify, self._clock = steps, notify, clock
        self._timer = PhaseTimer(monotonic or durations_of(clock))
        self._fault = ""  # kind of the last fault that was reported

    def run(self, stop: threading.Event, *, once: bool = False) -> LoopState:
        """Step until ``stop``; with ``once`` until the active cycle, or one that begins now, has ended."""
        while not stop.is_set():
            moved = self.step()
            idle = self.journal.state.phase is Phase.IDLE
            if once and idle and not self._fault:
                break
            if not moved:
                stop.wait(self.settings.poll_seconds)
        return self.journal.state

    def step(self) -> bool:
        """Collect evidence and decide once; False where the phase stays."""
        try:
            moved = self._decide()
            self._steps.mirror(self.journal.records)
        except Exception as error:  # whatever a store or a disk raises: the next step retries
            self._report_fault(error)
            return False
        self._fault = ""
        return moved

    def _decide(self) -> bool:
        now, state = self._clock(), self.journal.state
        settings = self.settings.model_dump(mode="json")
        if state.settings != settings:
            self.journal.append("settings", at=now, evidence=settings)
        phase = (state.cycle, state.phase, state.tries, state.entered)
        age = self._timer.seconds(phase, since=state.entered, now=now)
        aged = replace(state, entered=now - age)  # on today's clock, which may have been set since
        evidence = self._steps.evidence(aged, self.journal.records, now=now, paused=read_pause(self.folder))
        evidence = json.loads(json.dumps(evidence))  # as the journal will return it
        decision = decide(state.phase, evidence, self.settings)
        moved = decision.next is not state.phase or decision.again
        begins = moved and state.phase is Phase.IDLE
        if moved or self._is_news(state, decision):
            self.journal.append(
                "decision",
                at=now,
                cycle=state.cycle + begins,
                phase=state.phase,
                evidence=evidence,
                next=decision.next,
                again=decision.again,
                reason=decision.reason,
            )
        if moved:
            words = f"{state.phase} -> {decision.next}: {decision.reason}"
            self._notify(f"cycle {state.cycle + begins}, {words}")
        after = self.journal.state
        status = {"at": now, "phase": after.phase, "cycle": after.cycle, "reason": decision.reason}
        write_atomic(self.folder / STATUS_FILE, json.dumps(status | {"evidence": evidence}).encode())
        return moved

    def _is_news(self, state: LoopState, decision: LoopDecision) -> bool:
        """While idle: whether the reason differs from the journalled one by more than its figures."""
        decisions = [row for row in self.journal.records if row.kind == "decision"]
        if state.phase is not Phase.IDLE or not decisions:
            return state.phase is Phase.IDLE
        return decisions[-1].moves or _kind(decisions[-1].reason) != _kind(decision.reason)

    def _report_fault(self, error: Exception) -> None:
        line = str(error).splitlines()
        words = f"{type(error).__name__}: {line[0] if line else ''}"
        if _kind(words) == self._fault:
            return
        self._fault = _kind(words)
        state = self.journal.state
        self._notify(f"cycle {state.cycle}, {state.phase} waits: {words}")
        try:
            self.journal.append("fault", at=self._clock(), cycle=state.cycle, phase=state.phase, reason=words)
        except OSError:
            return  # a full disk, which was reported


def read_pause(folder: Path) -> str | None:
    """The reason of a pause, None without one."""
    try:
        return str(json.loads((folder / PAUSE_FILE).read_text())["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "paused.json cannot be read"


def _kind(reason: str) -> str:
    """``reason`` without its figures."""
    return re.sub(r"[\d.,]+", "#", reason)
