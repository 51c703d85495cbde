"""The controller: reads, decides, changes the shares, writes down why. Everything it knows is stored.

The experiment's own state is the roll-out's state: the candidate's share is the stage, the time of that
revision when the stage began, ``owner`` "rollout" that it is ours. So a controller killed anywhere goes
on from the store, and of two controllers one loses the compare-and-set and reads again: they cannot
fight. The plan lies in the journal ("rollout", event "started").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from recsys.errors import InputError
from serving.comparison.difference import difference
from serving.comparison.outcomes import outcomes
from serving.comparison.reading import Reader
from serving.comparison.sequential import MINIMUM_USERS, interval
from serving.comparison.tally import ArmTally, Tally
from serving.events.rows import JournalEntry
from serving.events.store import Conflict, EventStore
from serving.records import ArmSpec, ExperimentState
from serving.rollout.stages import Decision, Reading, RolloutPlan, Step, decide

KIND = "rollout"
ACTOR = "rollout controller"


@dataclass(frozen=True)
class Standing:
    """A roll-out as the store tells it. ``since`` is when the stage began, Unix seconds."""

    plan: RolloutPlan
    state: ExperimentState
    share: float
    since: float


def shares_of(state: ExperimentState, plan: RolloutPlan, share: float) -> tuple[ArmSpec, ...]:
    """The arms with the candidate at ``share``; the baseline gives and takes, others stay."""
    fixed = sum(arm.share for arm in state.arms if arm.name not in (plan.baseline, plan.candidate))
    free = 1.0 - fixed
    sizes = {plan.candidate: free * share, plan.baseline: free * (1.0 - share)}
    shadow = {plan.candidate: share == 0.0}
    return tuple(
        replace(arm, share=sizes.get(arm.name, arm.share), shadow=shadow.get(arm.name, arm.shadow))
        for arm in state.arms
    )


def start(store: EventStore, plan: RolloutPlan, *, now: float) -> Standing:
    """Put the candidate in as its first stage. InputError when the experiment or baseline is not there,
    or somebody else's roll-out is under way."""
    state = store.experiment(plan.experiment)
    if state is None:
        known = ", ".join(found.name for found in store.experiments()) or "none"
        raise InputError(f"no experiment {plan.experiment!r} in the event store; there are: {known}")
    if state.owner == "rollout":
        raise InputError(
            f"a roll-out of {plan.experiment!r} is under way; follow it with `python -m serving rollout "
            "status` or end it with `python -m serving rollout abort`"
        )
    if plan.baseline not in {arm.name for arm in state.arms}:
        names = ", ".join(arm.name for arm in state.arms)
        raise InputError(f"{plan.experiment!r} has no arm {plan.baseline!r}; its arms are {names}")
    arms = tuple(arm for arm in state.arms if arm.name != plan.candidate)
    arms += (ArmSpec(plan.candidate, plan.release, 0.0, shadow=True),)
    wanted = replace(state, arms=arms, owner="rollout")
    wanted = replace(wanted, arms=shares_of(wanted, plan, plan.stages[0]))
    store.append(KIND, plan.experiment, {"event": "started", "plan": asdict(plan)}, at=now)
    saved = store.save_experiment(
        wanted, expected=state.revision, actor=ACTOR, reason=f"start {plan.release}", at=now
    )
    return Standing(plan, saved, plan.stages[0], now)


def standing(store: EventStore, experiment: str) -> Standing | None:
    """The roll-out under way, None when there is none: read from the store alone."""
    state = store.experiment(experiment)
    if state is None or state.owner != "rollout":
        return None
    plans = [
        row.data["plan"]
        for row in store.journal(kind=KIND, subject=experiment)
        if row.data.get("event") == "started"
    ]
    plan = RolloutPlan(**(plans[-1] | {"stages": tuple(plans[-1]["stages"])}))
    sizes = {arm.name: arm.share for arm in state.arms}
    both = sizes.get(plan.candidate, 0.0) + sizes.get(plan.baseline, 0.0)
    share = sizes.get(plan.candidate, 0.0) / both if both else 0.0
    changes = list(store.journal(kind="audit", subject=experiment))
    since = next(row.at for row in reversed(changes) if row.data["revision"] == state.revision)
    return Standing(plan, state, share, since)


def read(tally: Tally, plan: RolloutPlan) -> Reading:
    """The guardrails' figures from a tally of this stage."""
    new, old = tally.by_arm.get(plan.candidate, ArmTally()), tally.by_arm.get(plan.baseline, ArmTally())
    answers = new.exposures + new.shadows
    return Reading(
        exposures=answers,
        slow=new.slower_than(plan.slow_milliseconds),
        fallbacks=new.sources["popular"],
        baseline_fallback_share=old.sources["popular"] / old.exposures if old.exposures else 0.0,
        error_low=error_low(tally, plan),
    )


def error_low(tally: Tally, plan: RolloutPlan) -> float | None:
    """Lower end of the candidate's mean squared error minus the baseline's, over users who rated."""
    users = [
        user
        for user in tally.users.values()
        if user.rated and not user.crossed and user.arm in (plan.candidate, plan.baseline)
    ]
    treated = np.array([user.arm == plan.candidate for user in users], dtype=np.bool_)
    if min(int(treated.sum()), int((~treated).sum())) < MINIMUM_USERS:
        return None
    found = difference(-outcomes(users, "accuracy"), treated)
    return interval(found.estimate, found.standard_error, found.users, planned=2000, alpha=0.01).low


def abort(store: EventStore, experiment: str, *, reason: str, now: float) -> bool:
    """Take the candidate back to nothing by hand; False when no roll-out is under way."""
    found = standing(store, experiment)
    if found is None:
        return False
    controller = Controller(store, experiment, tell=lambda _: None, clock=lambda: now)
    controller._act(found, Decision(Step.BACK, 0.0, reason))
    return True


class Controller:
    """Ticks one experiment's roll-out. ``tell`` hears every step (a webhook, a log); ``crown`` makes the
    release the champion when the roll-out is done, and says what it did."""

    def __init__(
        self,
        store: EventStore,
        experiment: str,
        *,
        tell: Callable[[str], None],
        crown: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.tell = tell
        self.crown = crown
        self.clock = clock
        self._reader: tuple[int, Reader] | None = None

    def tick(self) -> Decision | None:
        """One look and at most one step; None when no roll-out is under way (any more)."""
        now = standing(self.store, self.experiment)
        if now is None:
            return None
        tally = self._tally(now).catch_up(self.clock())
        decision = decide(
            now.plan, now.share, seconds=self.clock() - now.since, reading=read(tally, now.plan)
        )
        if decision.step is not Step.HOLD:
            self._act(now, decision)
        return decision

    def _tally(self, now: Standing) -> Reader:
        """A reader that starts where the stage did."""
        if self._reader is None or self._reader[0] != now.state.revision:
            arms = frozenset(arm.name for arm in now.state.arms)
            fresh = Tally(arms=arms, window_seconds=float("inf"))
            reader = Reader(self.store, self.experiment, fresh, since=now.since)
            self._reader = (now.state.revision, reader)
        return self._reader[1]

    def _act(self, now: Standing, decision: Decision) -> None:
        arms = shares_of(now.state, now.plan, decision.share)
        over = decision.step in (Step.BACK, Step.DONE)
        if decision.step is Step.BACK:
            # Back is back: the candidate answers nobody, not even in shadow.
            arms = tuple(
                replace(arm, shadow=False) if arm.name == now.plan.candidate else arm for arm in arms
            )
        wanted = replace(now.state, arms=arms, owner="manual" if over else "rollout")
        try:
            saved = self.store.save_experiment(
                wanted, expected=now.state.revision, actor=ACTOR, reason=decision.reason, at=self.clock()
            )
        except Conflict:
            return  # Somebody else moved it first: the next tick reads what they did.
        crowned = self.crown(now.plan.release) if decision.step is Step.DONE and self.crown else ""
        reason = f"{decision.reason}; {crowned}" if crowned else decision.reason
        entry = JournalEntry(
            self.clock(),
            KIND,
            self.experiment,
            {
                "event": decision.step.value,
                "candidate": now.plan.candidate,
                "release": now.plan.release,
                "from": now.share,
                "to": decision.share,
                "revision": saved.revision,
                "reason": reason,
            },
        )
        self.store.append(entry.kind, entry.subject, entry.data, at=entry.at)
        self.tell(
            f"{self.experiment}: {decision.step.value} {now.plan.candidate} "
            f"{now.share:.0%} -> {decision.share:.0%} ({reason})"
        )
