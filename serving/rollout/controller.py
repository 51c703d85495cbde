"""The roll-out controller: reads guardrails, decides, changes shares and journals the step.

All of its state is in the event store: after a kill it continues from there (``rollout_status``), and of two
concurrent controllers one loses the compare-and-set. A kill after a step was stored can leave its journal
entry unwritten: the next controller writes it. The champion's alias is moved before the last step is stored,
so that a kill repeats it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from recsys.types import JsonObject
from serving.elapsed_time import PhaseTimer, durations_of
from serving.events.audit import lost_events, newest
from serving.events.store import Conflict, EventStore
from serving.experiments.event_reader import EventReader
from serving.rollout.guardrail_readings import read_guardrails, stage_aggregates
from serving.rollout.policy import RolloutDecision, RolloutStep, decide_stage
from serving.rollout.rollout_status import ACTOR, KIND, TOKEN, RolloutStatus, rollout_status, shares_of

# A step younger than this may still be on its way to the journal by the controller that made it.
SETTLED_SECONDS = 10.0


def abort(store: EventStore, experiment: str, *, reason: str, now: float) -> bool:
    """Roll back now; False without an active roll-out."""
    controller = RolloutController(store, experiment, notify=lambda _: None, clock=lambda: now)
    while (status := rollout_status(store, experiment)) is not None:
        if controller.act(status, RolloutDecision(RolloutStep.BACK, 0.0, reason)):
            return True
    return False


class RolloutController:
    """Moves one experiment's roll-out. ``notify`` is called with every step; ``set_champion`` makes the
    release the champion when the roll-out is done, and returns what it did; ``monotonic`` measures stages (by
    default the system's, or a simulated ``clock``)."""

    def __init__(
        self,
        store: EventStore,
        experiment: str,
        *,
        notify: Callable[[str], None],
        set_champion: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.notify = notify
        self.set_champion = set_champion
        self.clock = clock
        self._timer = PhaseTimer(monotonic or durations_of(clock))
        self._reader: tuple[int, EventReader] | None = None
        self._checked = False

    def tick(self) -> RolloutDecision | None:
        """Read, decide, and take at most one step; None without an active roll-out."""
        if not self._checked:
            self._checked = self._finish_journal()
        now = rollout_status(self.store, self.experiment)
        if now is None:
            return None
        aggregates = self._aggregates(now).catch_up(self.clock())
        revision = now.state.revision
        lost = lost_events(self.store, self.experiment, revision=revision)
        reading = read_guardrails(aggregates, now.plan, now.state, now=self.clock(), lost_events=lost)
        seconds = self._timer.seconds(revision, since=now.since, now=self.clock())
        decision = decide_stage(now.plan, now.share, seconds=seconds, reading=reading)
        if decision.step is not RolloutStep.HOLD:
            self.act(now, decision)
        return decision

    def _aggregates(self, now: RolloutStatus) -> EventReader:
        """The reader of the stage's events."""
        if self._reader is None or self._reader[0] != now.state.revision:
            arms = frozenset(arm.name for arm in now.state.arms)
            fresh = stage_aggregates(now.plan, arms)
            revision = now.state.revision
            reader = EventReader(self.store, self.experiment, fresh, since=now.since, revision=revision)
            self._reader = (revision, reader)
        return self._reader[1]

    def act(self, status: RolloutStatus, decision: RolloutDecision) -> bool:
        """Take the step; False where the experiment has changed since ``status`` was read."""
        arms = shares_of(status.state, status.plan, decision.share)
        over = decision.step in (RolloutStep.BACK, RolloutStep.DONE)
        if decision.step is RolloutStep.BACK:
            # After a roll-back the candidate does not answer in shadow either.
            arms = tuple(
                replace(arm, shadow=False) if arm.name == status.plan.candidate else arm for arm in arms
            )
        target = replace(status.state, arms=arms, owner="manual" if over else "rollout")
        promoted = (
            self.set_champion(status.plan.release)
            if decision.step is RolloutStep.DONE and self.set_champion
            else ""
        )
        reason = f"{decision.reason}; {promoted}" if promoted else decision.reason
        try:
            saved = self.store.save_experiment(
                target, expected=status.state.revision, actor=ACTOR, reason=reason, at=self.clock()
            )
        except Conflict:
            return False  # the next tick reads the change
        self._record(
            {
                "event": decision.step.value,
                "candidate": status.plan.candidate,
                "release": status.plan.release,
                "from": status.share,
                "to": decision.share,
                "revision": saved.revision,
                "reason": reason,
            }
        )
        return True

    def _record(self, data: JsonObject) -> None:
        self.store.append(KIND, self.experiment, data, at=self.clock())
        self.notify(
            f"{self.experiment}: {data['event']} {data['candidate']} "
            f"{data['from']:.0%} -> {data['to']:.0%} ({data['reason']})"
        )

    def _finish_journal(self) -> bool:
        """Journal the newest step if its controller was killed before it could; True when nothing is
        missing."""
        steps = newest(self.store, ("audit",), subject=self.experiment, count=1)
        if not steps or steps[0].data["actor"] != ACTOR or TOKEN.match(steps[0].data["reason"]):
            return True
        step = steps[0].data
        last = newest(self.store, (KIND,), subject=self.experiment, count=1)
        if last and last[0].data.get("revision") == step["revision"]:
            return True
        if 0 <= self.clock() - steps[0].at < SETTLED_SECONDS:
            return False
        plan = last[0].data.get("plan") if last else None
        name = plan["candidate"] if plan else last[0].data["candidate"] if last else ""
        share = {
            side: next((arm["share"] for arm in step[side]["arms"] if arm["name"] == name), 0.0)
            for side in ("before", "after")
        }
        ended = RolloutStep.DONE if share["after"] > 0 else RolloutStep.BACK
        self._record(
            {
                "event": (ended if step["after"]["owner"] == "manual" else RolloutStep.RAISE).value,
                "candidate": name,
                "release": plan["release"] if plan else last[0].data["release"] if last else "",
                "from": share["before"],
                "to": share["after"],
                "revision": step["revision"],
                "reason": f"{step['reason']} (recorded late: the controller was killed)",
            }
        )
        return True
