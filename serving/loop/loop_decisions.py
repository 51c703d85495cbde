"""Decisions of the loop: pure functions of a phase and its evidence.

The journal records the evidence, so its decisions can be replayed (``loop_journal.replay``). Nothing here
reads a clock, a file or a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from recsys.types import JsonObject
from serving.loop.loop_settings import LoopSettings


class Phase(StrEnum):
    """Phases of a cycle, from IDLE to PROMOTE and back to IDLE; BACK removes the candidate."""

    IDLE = "idle"
    DATASET = "dataset"
    SEARCH = "search"
    GATE = "gate"
    SHADOW = "shadow"
    COMPARE = "compare"
    ROLLOUT = "rollout"
    PROMOTE = "promote"
    BACK = "back"


@dataclass(frozen=True)
class LoopDecision:
    """``next`` is the following phase; the same phase waits, or with ``again`` restarts."""

    next: Phase
    reason: str
    again: bool = False


def decide(phase: Phase, evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    """The decision in ``phase`` on ``evidence``."""
    return _RULES[phase](evidence, settings)


def _idle(evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    def wait(reason: str) -> LoopDecision:
        return LoopDecision(Phase.IDLE, reason)

    triggers, hours = settings.triggers, evidence["hours_since"]
    if evidence["paused"] is not None:
        return wait(f"paused: {evidence['paused'] or 'by hand'}")
    if evidence["busy"]:
        return wait(evidence["busy"])
    if evidence["comparisons"] >= settings.comparison.comparisons_a_year:
        return wait(f"{evidence['comparisons']} comparisons in a year have spent its alpha")
    if evidence["cap_usd"] <= 0:
        return wait(f"this month's ${settings.search.month_usd:g} are spent (${evidence['spent_usd']:.2f})")
    if hours is not None and hours < triggers.at_least_hours:
        return wait(f"the last cycle began less than {triggers.at_least_hours:g} hours ago")
    reasons = []
    if triggers.new_ratings is not None and evidence["new_ratings"] >= triggers.new_ratings:
        reasons.append(f"{evidence['new_ratings']:,} new ratings")
    if triggers.drift and evidence["drifted"]:
        reasons.append(f"drift: {', '.join(evidence['drifted'])}")
    if triggers.every_hours is not None and hours is not None and hours >= triggers.every_hours:
        reasons.append(f"{hours:.0f} hours since the last cycle")
    if not reasons:
        return wait("no trigger")
    if not evidence["new_ratings"]:
        return wait(f"{'; '.join(reasons)}, but no new rating to learn from")
    return LoopDecision(Phase.DATASET, "; ".join(reasons))


def _dataset(evidence: JsonObject, _: LoopSettings) -> LoopDecision:
    if evidence.get("refused"):
        return LoopDecision(Phase.IDLE, f"the data cannot be used: {evidence['refused']}")
    if not evidence["served"]:
        return LoopDecision(Phase.IDLE, "none of the new ratings can be used")
    return LoopDecision(Phase.SEARCH, f"{evidence['served']:,} served ratings in {evidence['ratings']:,}")


def _search(evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    code = evidence["exit_code"]
    if code is None:
        return LoopDecision(Phase.SEARCH, f"the search runs, since {evidence['hours']:.2f} hours")
    if code == 0 and evidence["release"]:
        over = f", over its cap of ${evidence['cap_usd']:g}" if evidence["usd"] > evidence["cap_usd"] else ""
        return LoopDecision(
            Phase.GATE, f"the search ended: {evidence['status']}, ${evidence['usd']:.2f}{over}"
        )
    words = f"the search failed with exit code {code}: {evidence['last_lines'] or 'no output'}"
    if code == 1 and evidence["tries"] <= settings.search.retries:
        return LoopDecision(Phase.SEARCH, f"{words}; it goes on from what is kept", again=True)
    return LoopDecision(Phase.IDLE, words)


def _gate(evidence: JsonObject, _: LoopSettings) -> LoopDecision:
    if evidence["promoted"] is None:
        return LoopDecision(
            Phase.IDLE, f"the gate gave no verdict: {evidence['reason'] or 'nothing registered'}"
        )
    if not evidence["promoted"]:
        return LoopDecision(Phase.IDLE, f"the gate keeps it back: {evidence['reason']}")
    if evidence["champion"] is None or evidence["champion_release"] != evidence["served_release"]:
        return LoopDecision(
            Phase.IDLE,
            f"the gate compared with {evidence['champion'] or 'no champion'}, which is not the release in "
            f"service ({str(evidence['served_release'])[:12]}): give that one the alias champion in MLflow",
        )
    return LoopDecision(Phase.SHADOW, f"the gate lets it through: {evidence['reason']}")


def _stopped(evidence: JsonObject) -> LoopDecision | None:
    """The roll-back that ends any phase in service, or None."""
    if evidence["changed"]:
        return LoopDecision(Phase.BACK, f"changed by hand meanwhile: {evidence['changed']}")
    if evidence["lost_events"]:
        words = f"{evidence['lost_events']} events are missing: nothing is promoted on incomplete data"
        return LoopDecision(Phase.BACK, words)
    return None


def _shadow(evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    limits = settings.comparison
    if (stopped := _stopped(evidence)) is not None:
        return stopped
    if evidence["broken"]:
        return LoopDecision(Phase.BACK, f"in shadow: {evidence['broken']}")
    if evidence["hours"] >= limits.shadow_hours and evidence["answers"] >= limits.shadow_answers:
        return LoopDecision(Phase.COMPARE, f"{evidence['answers']:,} shadow answers, no guardrail broken")
    if evidence["hours"] >= limits.longest_hours:
        return LoopDecision(
            Phase.BACK, f"only {evidence['answers']} shadow answers in {evidence['hours']:.0f} hours"
        )
    return LoopDecision(Phase.SHADOW, f"{evidence['answers']} shadow answers so far")


def _compare(evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    if (stopped := _stopped(evidence)) is not None:
        return stopped
    if evidence["verdict"] == "stop":
        return LoopDecision(Phase.BACK, evidence["words"])
    if evidence["verdict"] == "ship":
        return LoopDecision(Phase.ROLLOUT, evidence["words"])
    if evidence["hours"] >= settings.comparison.longest_hours:
        return LoopDecision(Phase.BACK, f"no verdict in {evidence['hours']:.0f} hours: {evidence['words']}")
    return LoopDecision(Phase.COMPARE, evidence["words"])


def _rollout(evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    if evidence["ended"] == "done":
        return LoopDecision(Phase.PROMOTE, f"the roll-out is done: {evidence['words']}")
    if evidence["ended"]:
        return LoopDecision(Phase.BACK, f"the roll-out went back: {evidence['words']}")
    if (stopped := _stopped(evidence)) is not None:
        return stopped
    if evidence["hours"] >= settings.rollout.longest_hours:
        return LoopDecision(Phase.BACK, f"the roll-out was not done in {evidence['hours']:.0f} hours")
    return LoopDecision(Phase.ROLLOUT, f"the candidate has {evidence['share']:.0%}")


def _promote(evidence: JsonObject, _: LoopSettings) -> LoopDecision:
    if evidence["changed"]:
        return LoopDecision(Phase.IDLE, f"changed by hand meanwhile: {evidence['changed']}")
    return LoopDecision(Phase.IDLE, f"promoted: {evidence['release']} serves all users")


def _back(evidence: JsonObject, _: LoopSettings) -> LoopDecision:
    return LoopDecision(Phase.IDLE, f"the champion stays: {evidence['because']}")


_RULES: dict[Phase, Callable[[JsonObject, LoopSettings], LoopDecision]] = {
    Phase.IDLE: _idle,
    Phase.DATASET: _dataset,
    Phase.SEARCH: _search,
    Phase.GATE: _gate,
    Phase.SHADOW: _shadow,
    Phase.COMPARE: _compare,
    Phase.ROLLOUT: _rollout,
    Phase.PROMOTE: _promote,
    Phase.BACK: _back,
}
