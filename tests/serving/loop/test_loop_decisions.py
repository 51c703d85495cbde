"""What the loop does next, from evidence alone."""

from __future__ import annotations

import re

import pytest

from recsys.types import JsonObject
from serving.loop.loop_decisions import Phase, decide
from serving.loop.loop_settings import LoopSettings
from tests.serving.loop.evidence import ENOUGH

SETTINGS = LoopSettings()


@pytest.mark.parametrize(
    ("phase", "change", "then", "words"),
    [
        (Phase.IDLE, {}, Phase.DATASET, "20,000 new ratings"),
        (Phase.IDLE, {"new_ratings": 9_999}, Phase.IDLE, "no trigger"),
        (Phase.IDLE, {"new_ratings": 5, "drifted": ["error"]}, Phase.DATASET, "drift: error"),
        (Phase.IDLE, {"new_ratings": 0, "drifted": ["error"]}, Phase.IDLE, "no new rating to learn from"),
        (Phase.IDLE, {"new_ratings": 5, "hours_since": 168.0}, Phase.DATASET, "168 hours since"),
        (Phase.IDLE, {"hours_since": 5.9}, Phase.IDLE, "less than 6 hours ago"),
        (Phase.IDLE, {"paused": "holiday"}, Phase.IDLE, "paused: holiday"),
        (Phase.IDLE, {"busy": "a roll-out is under way"}, Phase.IDLE, "a roll-out is under way"),
        (Phase.IDLE, {"comparisons": 12}, Phase.IDLE, "12 comparisons in a year have spent its alpha"),
        (Phase.IDLE, {"cap_usd": 0.0, "spent_usd": 20.0}, Phase.IDLE, r"\$20 are spent \(\$20.00\)"),
        (Phase.DATASET, {}, Phase.SEARCH, "100 served ratings in 1,000"),
        (Phase.DATASET, {"served": 0}, Phase.IDLE, "none of the new ratings can be used"),
        (
            Phase.DATASET,
            {"served": 0, "refused": "of another catalogue"},
            Phase.IDLE,
            "used: of another catalogue",
        ),
        (Phase.SEARCH, {}, Phase.GATE, "the search ended: finished, \\$1.25"),
        (Phase.SEARCH, {"usd": 6.0}, Phase.GATE, "over its cap of \\$5"),
        (Phase.SEARCH, {"exit_code": None}, Phase.SEARCH, "the search runs"),
        (Phase.SEARCH, {"exit_code": 2, "last_lines": "error: no"}, Phase.IDLE, "exit code 2: error: no"),
        (Phase.SEARCH, {"exit_code": 1, "last_lines": "gone"}, Phase.SEARCH, "gone; it goes on from"),
        (Phase.SEARCH, {"exit_code": 1, "tries": 2, "last_lines": "gone"}, Phase.IDLE, "exit code 1: gone"),
        (Phase.SEARCH, {"release": "", "last_lines": "end"}, Phase.IDLE, "exit code 0: end"),
        (Phase.GATE, {}, Phase.SHADOW, "beats the champion"),
        (Phase.GATE, {"promoted": False, "reason": "loses to"}, Phase.IDLE, "keeps it back: loses to"),
        (Phase.GATE, {"promoted": None, "reason": ""}, Phase.IDLE, "gave no verdict"),
        (Phase.GATE, {"champion_release": "bb"}, Phase.IDLE, "not the release in service"),
        (Phase.GATE, {"champion": None, "champion_release": None}, Phase.IDLE, "with no champion"),
        (Phase.SHADOW, {}, Phase.COMPARE, "500 shadow answers, no guardrail broken"),
        (Phase.SHADOW, {"answers": 199}, Phase.SHADOW, "199 shadow answers so far"),
        (Phase.SHADOW, {"hours": 0.9}, Phase.SHADOW, "so far"),
        (Phase.SHADOW, {"answers": 3, "hours": 336.0}, Phase.BACK, "only 3 shadow answers in 336 hours"),
        (Phase.SHADOW, {"broken": "slow"}, Phase.BACK, "in shadow: slow"),
        (Phase.SHADOW, {"lost_events": 4}, Phase.BACK, "4 events are missing"),
        (Phase.SHADOW, {"changed": "revision 9"}, Phase.BACK, "changed by hand meanwhile: revision 9"),
        (Phase.COMPARE, {}, Phase.ROLLOUT, "Ship."),
        (Phase.COMPARE, {"verdict": "stop", "words": "Stop."}, Phase.BACK, "Stop."),
        (Phase.COMPARE, {"verdict": "not yet", "words": "Not yet."}, Phase.COMPARE, "Not yet."),
        (Phase.COMPARE, {"verdict": "not yet", "hours": 336.0}, Phase.BACK, "no verdict in 336 hours"),
        (Phase.COMPARE, {"verdict": "no verdict", "words": "Sample ratio"}, Phase.COMPARE, "Sample ratio"),
        (Phase.COMPARE, {"lost_events": 1}, Phase.BACK, "nothing is promoted on incomplete data"),
        (Phase.ROLLOUT, {}, Phase.PROMOTE, "the roll-out is done: held"),
        (Phase.ROLLOUT, {"ended": "roll back", "words": "slow"}, Phase.BACK, "went back: slow"),
        (Phase.ROLLOUT, {"ended": None, "share": 0.5}, Phase.ROLLOUT, "the candidate has 50%"),
        (Phase.ROLLOUT, {"ended": None, "hours": 48.0}, Phase.BACK, "not done in 48 hours"),
        (Phase.ROLLOUT, {"ended": None, "changed": "revision 9"}, Phase.BACK, "changed by hand"),
        (Phase.PROMOTE, {}, Phase.IDLE, "promoted: /runs/loop"),
        (Phase.PROMOTE, {"changed": "revision 9"}, Phase.IDLE, "changed by hand meanwhile"),
        (Phase.BACK, {}, Phase.IDLE, "the champion stays: Stop."),
    ],
)
def test_each_phase_decides_from_its_evidence(
    phase: Phase, change: JsonObject, then: Phase, words: str
) -> None:
    decision = decide(phase, ENOUGH[phase] | change, SETTINGS)
    assert decision.next is then
    assert re.search(words, decision.reason), decision.reason
    assert decision.again == (phase is Phase.SEARCH and "goes on from" in decision.reason)


def test_the_alpha_of_a_year_is_shared_by_its_comparisons() -> None:
    comparison = SETTINGS.comparison
    assert comparison.alpha * comparison.comparisons_a_year == pytest.approx(comparison.alpha_a_year)
