"""The state of a roll-out, derived from the event store alone.

The experiment's state is the roll-out's state: the candidate's share is the stage, the revision's time is
when it began, and ``owner`` is "rollout". The plan is in the journal ("rollout", event "started") under a
token that the first revision's reason carries: of two concurrent starts only one revision is stored, and the
other plan is never used.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass, replace

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState
from serving.events.audit import newest
from serving.events.rows import JournalEntry
from serving.events.store import Conflict, EventStore
from serving.rollout.policy import RolloutPlan

KIND = "rollout"
ACTOR = "rollout controller"
TOKEN = re.compile(r"^start \[([0-9a-f]+)\]")


@dataclass(frozen=True)
class RolloutStatus:
    """An active roll-out. ``since`` is when the stage began, Unix seconds."""

    plan: RolloutPlan
    state: ExperimentState
    share: float
    since: float


def shares_of(state: ExperimentState, plan: RolloutPlan, share: float) -> tuple[ArmSpec, ...]:
    """The arms with the candidate at ``share`` of its and the baseline's users; others stay."""
    fixed = sum(arm.share for arm in state.arms if arm.name not in (plan.baseline, plan.candidate))
    free = 1.0 - fixed
    sizes = {plan.candidate: free * share, plan.baseline: free * (1.0 - share)}
    shadow = {plan.candidate: share == 0.0}
    return tuple(
        replace(arm, share=sizes.get(arm.name, arm.share), shadow=shadow.get(arm.name, arm.shadow))
        for arm in state.arms
    )


def start_rollout(store: EventStore, plan: RolloutPlan, *, now: float) -> RolloutStatus:
    """Start the first stage.

    Raises:
        InputError: there is no such experiment or baseline, or a roll-out is active already.
    """
    state = store.experiment(plan.experiment)
    if state is None:
        known = ", ".join(found.name for found in store.experiments()) or "none"
        raise InputError(f"no experiment {plan.experiment!r} in the event store; there are: {known}")
    if state.owner == "rollout":
        raise _under_way(plan)
    if state.kind == "interleaved":
        raise InputError(
            f"{plan.experiment!r} is interleaved: all users would be shown the candidate's items; set its "
            f"kind to split first (PUT /v1/experiments/{plan.experiment})"
        )
    if plan.baseline not in {arm.name for arm in state.arms}:
        names = ", ".join(arm.name for arm in state.arms)
        raise InputError(f"{plan.experiment!r} has no arm {plan.baseline!r}; its arms are {names}")
    if plan.candidate == plan.baseline:
        raise InputError(f"the candidate and the baseline are both called {plan.candidate!r}; name another")
    arms = tuple(arm for arm in state.arms if arm.name != plan.candidate)
    explore = next(arm.explore for arm in state.arms if arm.name == plan.baseline)
    arms += (ArmSpec(plan.candidate, plan.release, 0.0, shadow=True, explore=explore),)
    target = replace(state, arms=arms, owner="rollout")
    target = replace(target, arms=shares_of(target, plan, plan.stages[0]))
    token = secrets.token_hex(4)
    store.append(KIND, plan.experiment, {"event": "started", "token": token, "plan": asdict(plan)}, at=now)
    reason = f"start [{token}] {plan.release}"
    try:
        saved = store.save_experiment(target, expected=state.revision, actor=ACTOR, reason=reason, at=now)
    except Conflict as conflict:
        if conflict.current is not None and conflict.current.owner == "rollout":
            raise _under_way(plan) from None
        raise InputError(f"{plan.experiment!r} was changed at the same moment; start again") from None
    return RolloutStatus(plan, saved, plan.stages[0], now)


def _under_way(plan: RolloutPlan) -> InputError:
    return InputError(
        f"a roll-out of {plan.experiment!r} is under way; follow it with `python -m serving rollout "
        "status` or end it with `python -m serving rollout abort`"
    )


def rollout_status(store: EventStore, experiment: str) -> RolloutStatus | None:
    """The active roll-out, None without one."""
    state = store.experiment(experiment)
    if state is None or state.owner != "rollout":
        return None
    changes = newest(store, ("audit",), subject=experiment, count=1000)
    plan = _plan(store, experiment, changes)
    if plan is None:
        return None
    sizes = {arm.name: arm.share for arm in state.arms}
    both = sizes.get(plan.candidate, 0.0) + sizes.get(plan.baseline, 0.0)
    share = sizes.get(plan.candidate, 0.0) / both if both else 0.0
    since = next(row.at for row in changes if row.data["revision"] == state.revision)
    return RolloutStatus(plan, state, share, since)


def _plan(store: EventStore, experiment: str, changes: list[JournalEntry]) -> RolloutPlan | None:
    """The plan of the newest stored start; None where none was stored."""
    tokens = (TOKEN.match(row.data["reason"]) for row in changes if row.data["actor"] == ACTOR)
    token = next((match[1] for match in tokens if match), None)
    for row in newest(store, (KIND,), subject=experiment, count=1000):
        if token is not None and row.data.get("token") == token:
            fields: JsonObject = row.data["plan"]
            return RolloutPlan(**(fields | {"stages": tuple(fields["stages"])}))
    return None
