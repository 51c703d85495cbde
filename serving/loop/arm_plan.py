"""The experiment's arms in each phase of a cycle, and the transitions between them.

The loop changes an experiment only from an expected state (the trigger's, or its own) to the next one, by
compare-and-set: a change made by hand stays, and ends the cycle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentKind, ExperimentState
from serving.events.store import Conflict, EventStore

ACTOR = "loop"
CLOSE = 1e-9


@dataclass(frozen=True)
class Arms:
    """The arms of an experiment, and its kind."""

    specs: tuple[ArmSpec, ...]
    kind: ExperimentKind = "split"


@dataclass(frozen=True)
class ArmPlan:
    """The plan of a cycle. ``before`` are the arms at its trigger, where ``baseline`` answers alone;
    ``share`` is the candidate's share of the baseline's users in the comparison, which is of ``kind``."""

    experiment: str
    before: Arms
    baseline: str
    candidate: str
    release: str
    share: float
    kind: ExperimentKind = "split"

    @classmethod
    def of(cls, start: JsonObject, *, cycle: int, release: str) -> ArmPlan:
        """The plan from the evidence of the trigger."""
        return cls(
            experiment=start["experiment"],
            before=Arms(tuple(ArmSpec(**arm) for arm in start["arms"])),
            baseline=start["baseline"],
            candidate=f"loop-{cycle}",
            release=release,
            share=start["share"],
            kind=start.get("kind", "split"),
        )

    @property
    def base(self) -> ArmSpec:
        """The baseline's arm at the trigger."""
        return next(arm for arm in self.before.specs if arm.name == self.baseline)

    def shadow(self) -> Arms:
        """The candidate in shadow; it explores like the baseline, so that their lists are comparable."""
        arm = replace(self.base, name=self.candidate, release=self.release, share=0.0, shadow=True)
        return Arms((*self.before.specs, arm))

    def compare(self) -> Arms:
        """Both answer: each its own users, or all users with merged lists, which do not explore."""
        arms = self.with_share(self.share)
        if self.kind == "split":
            return arms
        both = {self.baseline, self.candidate}
        specs = tuple(replace(arm, explore=0.0) if arm.name in both else arm for arm in arms.specs)
        return Arms(specs, "interleaved")

    def with_share(self, share: float) -> Arms:
        """The candidate with ``share`` of the baseline's users."""
        sizes = {self.baseline: self.base.share * (1 - share), self.candidate: self.base.share * share}
        specs = self.shadow().specs
        return Arms(tuple(replace(arm, share=sizes.get(arm.name, arm.share), shadow=False) for arm in specs))

    def promoted(self) -> Arms:
        """The baseline's arm with the candidate's release."""
        return Arms(
            tuple(
                replace(arm, release=self.release) if arm.name == self.baseline else arm
                for arm in self.before.specs
            )
        )

    def without_candidate(self, state: ExperimentState) -> Arms | None:
        """``state``'s arms with the candidate's share back at the baseline; None where one of them is
        missing."""
        candidate = next((arm for arm in state.arms if arm.name == self.candidate), None)
        names = {arm.name for arm in state.arms}
        if candidate is None or candidate.release != self.release or self.baseline not in names:
            return None
        explore = {self.baseline: self.base.explore} if state.kind == "interleaved" else {}
        return Arms(
            tuple(
                replace(
                    arm,
                    share=arm.share + candidate.share,
                    shadow=False,
                    explore=explore.get(arm.name, arm.explore),
                )
                if arm.name == self.baseline
                else arm
                for arm in state.arms
                if arm.name != self.candidate
            )
        )


def busy(state: ExperimentState | None, experiment: str) -> str:
    """Why no cycle can begin now; "" where one can."""
    if state is None:
        return f"the event store has no experiment {experiment!r}: start the server once"
    if state.owner != "manual":
        return "a roll-out is under way"
    serving = [arm for arm in state.arms if arm.share > 0 or arm.shadow]
    if len(serving) == 1:
        return ""
    words = ", ".join(f"{arm.name} {'shadow' if arm.shadow else f'{arm.share:.0%}'}" for arm in serving)
    return f"an experiment is under way: {words}"


def same_arms(state: ExperimentState | None, target: Arms) -> bool:
    """Whether the state has the arms of ``target``, in any order."""
    if state is None or len(state.arms) != len(target.specs) or state.kind != target.kind:
        return False
    current = {arm.name: arm for arm in state.arms}
    return all(
        arm.name in current
        and replace(current[arm.name], share=arm.share) == arm
        and abs(current[arm.name].share - arm.share) < CLOSE
        for arm in target.specs
    )


def move_arms(
    store: EventStore,
    experiment: str,
    target: Arms,
    *,
    expected: tuple[Arms, ...],
    reason: str,
    at: float,
) -> str | None:
    """Change the arms from one of ``expected`` to ``target``; None, or a text of what they are instead."""
    for _ in range(3):
        state = store.experiment(experiment)
        if same_arms(state, target):
            return None
        if state is None or state.owner != "manual" or not any(same_arms(state, arms) for arms in expected):
            return changed_words(state)
        try:
            store.save_experiment(
                replace(state, arms=target.specs, kind=target.kind),
                expected=state.revision,
                actor=ACTOR,
                reason=reason,
                at=at,
            )
        except Conflict:
            continue  # changed meanwhile: read it again
        return None
    return "others keep changing it"


def changed_words(state: ExperimentState | None) -> str:
    """A changed state as text."""
    if state is None:
        return "the experiment is gone"
    arms = ", ".join(f"{arm.name} {arm.share:.0%}{' in shadow' if arm.shadow else ''}" for arm in state.arms)
    kind = "" if state.kind == "split" else f", {state.kind}"
    return f"revision {state.revision} has {arms}{kind}, owner {state.owner}"


def arms_json(state: ExperimentState) -> list[JsonObject]:
    return [asdict(arm) for arm in state.arms]
