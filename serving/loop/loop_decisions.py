"""What the loop does next: pure functions from a phase and its evidence to a decision.

The journal keeps each decision's evidence, so the same journal gives the same decisions
(``loop_journal.replay``). Nothing here reads a clock, a file or a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from recsys.types import JsonObject
from serving.loop.loop_settings import LoopSettings


class Phase(StrEnum):
    """A cycle goes from IDLE to PROMOTE and back to IDLE, or ends on the way; BACK removes the candidate."""

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
    """``next`` is the phase that follows; the same phase means to wait. ``again`` starts the phase anew."""

    next: Phase
    reason: str
    again: bool = False


def decide(phase: Phase, evidence: JsonObject, settings: LoopSettings) -> LoopDecision:
    """The decision in ``phase``."""
    return _RULES[phase](evidence, settings)


def _idle(seen: JsonObject, settings: LoopSettings) -> LoopDecision:
    def wait(reason: str) -> LoopDecision:
        return LoopDecision(Phase.IDLE, reason)

    triggers, hours = settings.triggers, seen["hours_since"]
    if seen["paused"] is not None:
        return wait(f"paused: {seen['paused'] or 'by hand'}")
    if seen["busy"]:
        return wait(seen["busy"])
    if seen["comparisons"] >= settings.comparison.comparisons_a_year:
        return wait(f"{seen['comparisons']} comparisons in a year have spent its alpha")
    if seen["cap_usd"] <= 0:
        return wait(f"this month's ${settings.search.month_usd:g} are spent (${seen['spent_usd']:.2f})")
    if hours is not None and hours < triggers.at_least_hours:
        return wait(f"the last cycle began less than {triggers.at_least_hours:g} hours ago")
    reasons = []
    if triggers.new_ratings is not None and seen["new_ratings"] >= triggers.new_ratings:
        reasons.append(f"{seen['new_ratings']:,} new ratings")
    if triggers.drift and seen["drifted"]:
        reasons.append(f"drift: {', '.join(seen['drifted'])}")
    if triggers.every_hours is not None and hours is not None and hours >= triggers.every_hours:
        reasons.append(f"{hours:.0f} hours since the last cycle")
    if not reasons:
        return wait("no trigger")
    if not seen["new_ratings"]:
        return wait(f"{'; '.join(reasons)}, but no new rating to learn from")
    return LoopDecision(Phase.DATASET, "; ".join(reasons))


def _dataset(seen: JsonObject, _: LoopSettings) -> LoopDecision:
    if seen.get("refused"):
        return LoopDecision(Phase.IDLE, f"the data cannot be used: {seen['refused']}")
    if not seen["served"]:
        return LoopDecision(Phase.IDLE, "none of the new ratings can be used")
    return LoopDecision(Phase.SEARCH, f"{seen['served']:,} served ratings in {seen['ratings']:,}")


def _search(seen: JsonObject, settings: LoopSettings) -> LoopDecision:
    code = seen["exit_code"]
    if code is None:
        return LoopDecision(Phase.SEARCH, f"the search runs, since {seen['hours']:.2f} hours")
    if code == 0 and seen["release"]:
        over = f", over its cap of ${seen['cap_usd']:g}" if seen["usd"] > seen["cap_usd"] else ""
        return LoopDecision(Phase.GATE, f"the search ended: {seen['status']}, ${seen['usd']:.2f}{over}")
    words = f"the search failed with exit code {code}: {seen['last_lines'] or 'no output'}"
    if code == 1 and seen["tries"] <= settings.search.retries:
        return LoopDecision(Phase.SEARCH, f"{words}; it goes on from what is kept", again=True)
    return LoopDecision(Phase.IDLE, words)


def _gate(seen: JsonObject, _: LoopSettings) -> LoopDecision:
    if seen["promoted"] is None:
        return LoopDecision(Phase.IDLE, f"the gate gave no verdict: {seen['reason'] or 'nothing registered'}")
    if not seen["promoted"]:
        return LoopDecision(Phase.IDLE, f"the gate keeps it back: {seen['reason']}")
    if seen["champion"] is None or seen["champion_release"] != seen["served_release"]:
        return LoopDecision(
            Phase.IDLE,
            f"the gate compared with {seen['champion'] or 'no champion'}, which is not the release in "
            f"service ({str(seen['served_release'])[:12]}): give that one the alias champion in MLflow",
        )
    return LoopDecision(Phase.SHADOW, f"the gate lets it through: {seen['reason']}")


def _stopped(seen: JsonObject) -> LoopDecision | None:
    """What ends every phase in service."""
    if seen["changed"]:
        return LoopDecision(Phase.BACK, f"changed by hand meanwhile: {seen['changed']}")
    if seen["lost_events"]:
        words = f"{seen['lost_events']} events are missing: nothing is promoted on holes in the data"
        return LoopDecision(Phase.BACK, words)
    return None


def _shadow(seen: JsonObject, settings: LoopSettings) -> LoopDecision:
    wanted = settings.comparison
    if (stopped := _stopped(seen)) is not None:
        return stopped
    if seen["broken"]:
        return LoopDecision(Phase.BACK, f"in shadow: {seen['broken']}")
    if seen["hours"] >= wanted.shadow_hours and seen["answers"] >= wanted.shadow_answers:
        return LoopDecision(Phase.COMPARE, f"{seen['answers']:,} shadow answers, no guardrail broken")
    if seen["hours"] >= wanted.longest_hours:
        return LoopDecision(Phase.BACK, f"only {seen['answers']} shadow answers in {seen['hours']:.0f} hours")
    return LoopDecision(Phase.SHADOW, f"{seen['answers']} shadow answers so far")


def _compare(seen: JsonObject, settings: LoopSettings) -> LoopDecision:
    if (stopped := _stopped(seen)) is not None:
        return stopped
    if seen["verdict"] == "stop":
        return LoopDecision(Phase.BACK, seen["words"])
    if seen["verdict"] == "ship":
        return LoopDecision(Phase.ROLLOUT, seen["words"])
    if seen["hours"] >= settings.comparison.longest_hours:
        return LoopDecision(Phase.BACK, f"no verdict in {seen['hours']:.0f} hours: {seen['words']}")
    return LoopDecision(Phase.COMPARE, seen["words"])


def _rollout(seen: JsonObject, settings: LoopSettings) -> LoopDecision:
    if seen["ended"] == "done":
        return LoopDecision(Phase.PROMOTE, f"the roll-out is done: {seen['words']}")
    if seen["ended"]:
        return LoopDecision(Phase.BACK, f"the roll-out went back: {seen['words']}")
    if (stopped := _stopped(seen)) is not None:
        return stopped
    if seen["hours"] >= settings.rollout.longest_hours:
        return LoopDecision(Phase.BACK, f"the roll-out was not done in {seen['hours']:.0f} hours")
    return LoopDecision(Phase.ROLLOUT, f"the candidate has {seen['share']:.0%}")


def _promote(seen: JsonObject, _: LoopSettings) -> LoopDecision:
    if seen["changed"]:
        return LoopDecision(Phase.IDLE, f"changed by hand meanwhile: {seen['changed']}")
    return LoopDecision(Phase.IDLE, f"promoted: {seen['release']} answers everybody")


def _back(seen: JsonObject, _: LoopSettings) -> LoopDecision:
    return LoopDecision(Phase.IDLE, f"the champion stays: {seen['because']}")


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
