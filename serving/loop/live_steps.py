"""The phases of a release in service: shadow answers, comparison, roll-out, promotion, or back.

Everything here may be done again after a kill: what is done already is found and left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from recsys.errors import InputError
from recsys.release.load import read_manifest
from recsys.types import JsonObject
from serving.domain import ExperimentState
from serving.events.audit import lost_events, newest
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates
from serving.experiments.event_reader import EventReader
from serving.experiments.experiment_metrics import ACCURACY, MetricSet, metric_set
from serving.experiments.outcomes import ArmComparison, compare
from serving.experiments.preference import compare_preferences
from serving.loop.arm_plan import ACTOR, ArmPlan, Arms, move_arms
from serving.loop.loop_journal import LoopState
from serving.loop.loop_settings import LoopSettings
from serving.operation_settings import OperationSettings
from serving.rollout.controller import abort
from serving.rollout.guardrail_readings import read_guardrails, stage_tally
from serving.rollout.policy import RolloutPlan
from serving.rollout.rollout_status import KIND as ROLLOUT
from serving.rollout.rollout_status import rollout_status, start_rollout

HOUR = 3600.0


class LiveSteps:
    """``measured`` are the metrics and limits of the server."""

    def __init__(self, settings: LoopSettings, store: EventStore, measured: OperationSettings) -> None:
        self.settings = settings
        self.store = store
        self.measured = measured
        self._cached: tuple[tuple[int, int], EventReader] | None = None

    def shadow(self, state: LoopState, now: float) -> JsonObject:
        plan = self._plan(state)
        changed = self._move(plan, plan.shadow(), (plan.before,), "shadow answers", now)
        settings = self.settings.comparison
        guard = RolloutPlan(
            plan.experiment,
            plan.baseline,
            plan.candidate,
            plan.release,
            hold_seconds=max(settings.shadow_hours * HOUR, 60.0),
            slow_milliseconds=self.measured.limits.p99_milliseconds,
        )
        serving = self.store.experiment(plan.experiment)
        if changed or serving is None:
            return {"changed": changed or "the experiment is gone", "lost_events": 0}
        arms = frozenset(arm.name for arm in serving.arms)
        tally = self._reader(state, serving, lambda: stage_tally(guard, arms)).catch_up(now)
        lost = lost_events(self.store, state.entered)
        reading = read_guardrails(tally, guard, serving, now=now, lost_events=lost)
        return {
            "changed": None,
            "lost_events": lost,
            "answers": reading.exposures,
            "broken": reading.broken,
            "hours": (now - state.entered) / HOUR,
        }

    def compare(self, state: LoopState, now: float) -> JsonObject:
        plan = self._plan(state)
        changed = self._move(plan, plan.compare(), (plan.shadow(),), "comparison", now)
        if changed:
            return {"changed": changed, "lost_events": 0}
        serving = self.store.experiment(plan.experiment)
        assert serving is not None
        lost = lost_events(self.store, state.entered)
        rules = self.rules(serving)
        # Users enter with their first list of the comparison: those whom the shadow stage saw are in it too.
        tally = self._reader(state, serving, lambda: self._tally(plan, rules)).catch_up(now)
        measured: partial[ArmComparison] = (
            partial(compare, tally, [serving])
            if plan.kind == "split"
            else partial(compare_preferences, tally)
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
        plan, settings = self._plan(state), self.settings.rollout
        evidence: JsonObject = {
            "changed": None,
            "ended": None,
            "words": "",
            "share": 0.0,
            "hours": (now - state.entered) / HOUR,
            "lost_events": 0,
        }
        under_way = rollout_status(self.store, plan.experiment)
        if under_way is not None and under_way.plan.release == plan.release:
            return evidence | {"share": under_way.share}
        steps = newest(self.store, (ROLLOUT,), subject=plan.experiment, since=state.entered, count=50)
        steps_taken = [row.data for row in steps if row.data.get("release") == plan.release]
        if steps_taken and steps_taken[0]["event"] in ("done", "roll back"):
            return evidence | {
                "ended": steps_taken[0]["event"],
                "words": steps_taken[0]["reason"],
                "share": steps_taken[0]["to"],
            }
        # A roll-out is of users: interleaved lists are split again first.
        split = plan.with_share(plan.share)
        changed = self._move(plan, split, (plan.compare(),), "roll-out", now)
        if changed:
            return evidence | {"changed": changed}
        start_rollout(
            self.store,
            RolloutPlan(
                plan.experiment,
                plan.baseline,
                plan.candidate,
                plan.release,
                stages=tuple(settings.stages),
                hold_seconds=settings.hold_hours * HOUR,
                minimum_exposures=settings.minimum_exposures,
                slow_milliseconds=self.measured.limits.p99_milliseconds,
            ),
            now=now,
        )
        return evidence | {"share": settings.stages[0]}

    def promote(self, state: LoopState, now: float) -> JsonObject:
        plan = self._plan(state)
        changed = self._move(plan, plan.promoted(), (plan.with_share(1.0),), "promoted", now)
        return {"changed": changed, "release": plan.release}

    def back(self, state: LoopState, now: float) -> JsonObject:
        plan = self._plan(state)
        evidence: JsonObject = {"because": state.reason, "left_alone": False}
        under_way = rollout_status(self.store, plan.experiment)
        if under_way is not None and under_way.plan.release == plan.release:
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

    def _move(
        self,
        plan: ArmPlan,
        wanted: Arms,
        known: tuple[Arms, ...],
        words: str,
        now: float,
    ) -> str | None:
        reason = f"loop: {words} of {plan.release}"
        return move_arms(self.store, plan.experiment, wanted, known=known, reason=reason, at=now)

    def rules(self, serving: ExperimentState) -> MetricSet:
        """What decides: the loop's metric, else the experiment's own primary one, else the deployment's.

        Raises InputError for a metric that is not measured."""
        stored = metric_set(serving.metrics) if serving.metrics is not None else None
        rules = stored or MetricSet(self.measured.metrics, self.measured.limits.primary)
        rules = replace(rules, primary=self.settings.comparison.metric or rules.primary)
        kind = self.settings.comparison.kind
        names = [metric.name for metric in rules.metrics] + [ACCURACY] * (kind == "split")
        if rules.primary not in names:
            raise InputError(
                f"comparison.metric: a comparison of kind {kind} cannot use {rules.primary!r}; "
                f"{serving.name!r} has: {', '.join(names)}"
            )
        return rules

    def _tally(self, plan: ArmPlan, rules: MetricSet) -> Aggregates:
        scale = read_manifest(Path(plan.release)).dataset.scale
        return Aggregates(
            arms=frozenset({plan.baseline, plan.candidate}),
            window_seconds=self.measured.window_seconds,
            metrics=tuple(metric.on_scale(scale.low, scale.high) for metric in rules.metrics),
            slow_milliseconds=self.measured.limits.p99_milliseconds,
            interleaved=plan.kind == "interleaved",
        )

    def _reader(
        self, state: LoopState, serving: ExperimentState, tally: Callable[[], Aggregates]
    ) -> EventReader:
        """Of the events since the phase's own revision; kept between looks."""
        key = (state.cycle, serving.revision)
        if self._cached is None or self._cached[0] != key:
            reader = EventReader(self.store, serving.name, tally(), revision=serving.revision)
            self._cached = (key, reader)
        return self._cached[1]
