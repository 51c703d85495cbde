"""SIGKILL at every step of the controller: it ends as an unbroken cycle does, nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.loop.loop_decisions import Phase
from tests.benchmarks.loop_kills import PLACES, planted, table
from tests.benchmarks.simulations.behaviour import Behaviour
from tests.releases import make_release

LIVE = [Phase.IDLE, Phase.DATASET, Phase.SEARCH, Phase.GATE, Phase.SHADOW, Phase.COMPARE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hit", "phases"), [(0.5, [*LIVE, Phase.ROLLOUT, Phase.PROMOTE]), (0.05, [*LIVE, Phase.BACK])]
)
def test_killed_in_four_places_of_every_step_the_cycle_ends_as_without(
    tmp_path: Path, hit: float, phases: list[Phase]
) -> None:
    reference, cut = planted(tmp_path / "world", Behaviour(hit=hit), make_release)
    assert set(cut.kills) == {(phase, place) for phase in phases for place in PLACES}
    assert cut.moves == reference.moves
    assert [row[2] for row in table(reference, cut)] == ["the same"] * len(phases)
    assert cut.revisions == reference.revisions
    assert cut.shown == reference.shown
    assert (cut.searches, reference.searches) == (1, 1)
