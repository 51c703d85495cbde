"""The phases of a candidate in service: shadow answers, comparison, roll-out, promotion, roll-back.

All actions are idempotent, so that they can be repeated after a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.release.load import read_manifest
from recsys.types import JsonObject
from serving.domain import ExperimentState
from serving.events.audit import lost_events, newest
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates
from serving.experiments.event_reader import EventReader
from serving.experiments.experiment_metrics import ACCURACY, MetricSet
from serving.experiments.outcomes import ArmComparison, compare
from serving.experiments.preference import compare_preferences
from serving.loop.arm_plan import ACTOR, ArmPlan, Arms, move_arms
from serving.loop.loop_journal import LoopState
from serving.loop.loop_settings import LoopSettings
from serving.operation_settings import OperationSettings
from serving.rollout.controller import abort
from serving.rollout.guardrail_readings import read_guardrails, stage_aggregates
from serving.rollout.policy import RolloutPlan
from serving.rollout.rollout_status import KIND as ROLLOUT
from serving.rollout.rollout_status import RolloutStatus, rollout_status, start_rollout

HOUR = 3600.0


class LiveSteps:
    """``measured`` are the server's metrics and limits."""

    def __init__(self, settings: LoopSettings, store: EventStore, measured: OperationSettings) -> None:
        self.settings = settings
        self.store = store
        self.measured = measured
        self._cached: tuple[tuple[int, int], EventReader] | None = None

    def shadow(self, state: LoopState, now: float) -> JsonObject:
        """The candidate answers in shadow; evidence is its guardrails."""
        plan = self._plan(state)
        changed = self._move(plan, plan.shadow(), (plan.before,), "shadow answers", now)
        settings = self.settings.comparison
        guard = self._rollout_plan(plan, hold_seconds=max(settings.shadow_hours * HOUR, 60.0))
        serving = self.store.experiment(plan.experiment)
        if changed or serving is None:
            return {"changed": changed or "the experiment is gone", "lost_events": 0}
        arms = frozenset(arm.name for arm in serving.arms)
        aggregates = self._reader(state, serving, lambda: stage_aggregates(guard, arms)).catch_up(now)
        lost = lost_events(self.store, serving.name, revision=serving.revision)
        reading = read_guardrails(aggregates, guard, serving, now=now, lost_events=lost)
        return {
            "changed": None,
            "lost_events": lost,
            "answers": reading.exposures,
            "broken": reading.broken,
            "hours": (now - state.entered) / HOUR,
        }

    def compare(self, state: LoopState, now: float) -> JsonObject:
        """Both releases answer; evidence is the verdict."""
        plan = self._plan(state)
        changed = self._move(plan, plan.compare(), (plan.shadow(),), "comparison", now)
        if changed:
            return {"changed": changed, "lost_events": 0}
        serving = self.store.experiment(plan.experiment)
        assert serving is not None
        lost = lost_events(self.store, serving.name, revision=serving.revision)
        rules = self.rules(serving)
        # Users enter with their first list of the comparison, also those of the shadow phase.
        aggregates = self._reader(state, serving, lambda: self._aggregates(plan, rules)).catch_up(now)
        measured: partial[ArmComparison] = (
            partial(compare, aggregates, [serving])
            if plan.kind == "split"
            else partial(compare_preferences, aggregates)
        )
        settings = self.settings.comparison
        row = measured(
            control=plan.baseline,
            treatment=plan.candidate,
            metric=rules.primary,
            limits=replace(self.measured.limits, alpha=settings.alpha, primary=rules.primary),
            now=now,
            lost_events=lost,
        )
        return {
            "changed": None,
            "lost_events": lost,
            "metric": row.metric,
            "verdict": row.verdict.decision.value,
            "words": row.verdict.words,
            "interval": None if row.interval is None else asdict(row.interval),
            "users": 0 if row.evidence is None else row.evidence.users,
            "hours": (now - state.entered) / HOUR,
        }

    def rollout(self, state: LoopState, now: float) -> JsonObject:
        """Start the roll-out; evidence is its share, or how it ended."""
        plan, settings = self._plan(state), self.settings.rollout
        evidence: JsonObject = {
            "changed": None,
            "ended": None,
            "words": "",
            "share": 0.0,
            "hours": (now - state.entered) / HOUR,
            "lost_events": 0,
        }
        active = self._active_rollout(plan)
        if active is not None:
            return evidence | {"share": active.share}
        # By the release, which is this cycle's alone, and not by time: a clock may have been set.
        steps = newest(self.store, (ROLLOUT,), subject=plan.experiment, count=50)
        steps_taken = [row.data for row in steps if row.data.get("release") == plan.release]
        if steps_taken and steps_taken[0]["event"] in ("done", "roll back"):
            ended = steps_taken[0]
            return evidence | {"ended": ended["event"], "words": ended["reason"], "share": ended["to"]}
        # A roll-out splits users, so interleaved lists end first.
        split = plan.with_share(plan.share)
        changed = self._move(plan, split, (plan.compare(),), "roll-out", now)
        if changed:
            return evidence | {"changed": changed}
        start_rollout(
            self.store,
            self._rollout_plan(
                plan,
                stages=tuple(settings.stages),
                hold_seconds=settings.hold_hours * HOUR,
                minimum_exposures=settings.minimum_exposures,
            ),
            now=now,
        )
        return evidence | {"share": settings.stages[0]}

    def promote(self, state: LoopState, now: float) -> JsonObject:
        """The baseline's arm gets the candidate's release."""
        plan = self._plan(state)
        changed = self._move(plan, plan.promoted(), (plan.with_share(1.0),), "promoted", now)
        return {"changed": changed, "release": plan.release}

    def back(self, state: LoopState, now: float) -> JsonObject:
        """The candidate's users go back to the baseline, unless the arms were changed by hand."""
        plan = self._plan(state)
        evidence: JsonObject = {"because": state.reason, "left_alone": False}
        if self._active_rollout(plan) is not None:
            abort(self.store, plan.experiment, reason=f"loop: {state.reason}", now=now)
        serving = self.store.experiment(plan.experiment)
        arms = None if serving is None or serving.owner != "manual" else plan.without_candidate(serving)
        if serving is None or arms is None:
            return evidence | {"left_alone": True}
        self.store.save_experiment(
            replace(serving, arms=arms.specs, kind=arms.kind),
            expected=serving.revision,
            actor=ACTOR,
            reason=state.reason,
            at=now,
        )
        return evidence

    def _plan(self, state: LoopState) -> ArmPlan:
        return ArmPlan.of(state.start, cycle=state.cycle, release=state.search["release"])

    def _rollout_plan(self, plan: ArmPlan, **fields: Any) -> RolloutPlan:
        names = (plan.experiment, plan.baseline, plan.candidate, plan.release)
        return RolloutPlan(*names, slow_milliseconds=self.measured.limits.p99_milliseconds, **fields)

    def _active_rollout(self, plan: ArmPlan) -> RolloutStatus | None:
        """The roll-out of the candidate, None where none of it is active."""
        active = rollout_status(self.store, plan.experiment)
        return active if active is not None and active.plan.release == plan.release else None

    def _move(
        self, plan: ArmPlan, target: Arms, expected: tuple[Arms, ...], text: str, now: float
    ) -> str | None:
        reason = f"loop: {text} of {plan.release}"
        return move_arms(self.store, plan.experiment, target, expected=expected, reason=reason, at=now)

    def rules(self, serving: ExperimentState) -> MetricSet:
        """The metrics; primary is the loop's, else the experiment's, else the deployment's.

        Raises InputError for a metric that is not measured."""
        rules = self.measured.metrics_of(serving)
        rules = replace(rules, primary=self.settings.comparison.metric or rules.primary)
        kind = self.settings.comparison.kind
        names = [metric.name for metric in rules.metrics] + [ACCURACY] * (kind == "split")
        if rules.primary not in names:
            raise InputError(
                f"comparison.metric: a comparison of kind {kind} cannot use {rules.primary!r}; "
                f"{serving.name!r} has: {', '.join(names)}"
            )
        return rules

    def _aggregates(self, plan: ArmPlan, rules: MetricSet) -> Aggregates:
        scale = read_manifest(Path(plan.release)).dataset.scale
        return Aggregates(
            arms=frozenset({plan.baseline, plan.candidate}),
            window_seconds=self.measured.window_seconds,
            metrics=tuple(metric.on_scale(scale.low, scale.high) for metric in rules.metrics),
            slow_milliseconds=self.measured.limits.p99_milliseconds,
            interleaved=plan.kind == "interleaved",
        )

    def _reader(
        self, state: LoopState, serving: ExperimentState, aggregates: Callable[[], Aggregates]
    ) -> EventReader:
        """The reader of events since the phase's revision, cached between steps."""
        key = (state.cycle, serving.revision)
        if self._cached is None or self._cached[0] != key:
            reader = EventReader(self.store, serving.name, aggregates(), revision=serving.revision)
            self._cached = (key, reader)
        return self._cached[1]
