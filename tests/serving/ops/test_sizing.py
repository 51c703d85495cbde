"""What an experiment takes: against known sizes, against the bets, and in the command's words."""

from __future__ import annotations

import numpy as np
import pytest

from serving.__main__ import main
from serving.experiments.betting import bet
from serving.experiments.sizing import MOST_BY, ExperimentDesign, control_share, fixed_size


@pytest.mark.parametrize(
    ("rate", "share", "people"), [(0.01, 0.05, 486_000), (0.01, 0.5, 85_400), (0.2, 0.5, 3_370)]
)
def test_sizes_are_the_textbooks(rate: float, share: float, people: int) -> None:
    assert fixed_size(ExperimentDesign(rate, 0.2, share)) == pytest.approx(people, rel=0.01)


def test_the_advised_control_share_needs_the_fewest_people() -> None:
    """For several treatments, against a grid; one treatment is half and half."""
    assert control_share(1) == 0.5
    for count in (4, 9):
        best = fixed_size(ExperimentDesign(0.2, 0.01, (1 - control_share(count)) / count, count))
        others = [
            fixed_size(ExperimentDesign(0.2, 0.01, (1 - c) / count, count)) for c in (0.1, 0.2, 0.4, 0.5)
        ]
        assert best <= min(others)


def test_four_fifths_of_the_bets_have_decided_by_the_size_that_is_said() -> None:
    people = round(MOST_BY * fixed_size(ExperimentDesign(0.2, 0.3, 0.5)))
    random = np.random.default_rng(0)
    decided = 0
    for _ in range(100):
        treated = random.random(people) < 0.5
        hits = (random.random(people) < np.where(treated, 0.26, 0.2)).astype(float)
        decided += bet(hits, treated, np.full(people, 0.5)).ships
    assert decided >= 75


def test_the_command_says_that_a_small_share_of_a_low_rate_takes_half_a_million(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["experiment", "--rate", "0.01", "--share", "0.05", "--people-a-day", "10000"]) == 0
    said = capsys.readouterr().out
    assert "about 485,7" in said
    assert "(48.6 days)" in said
    assert "that is many people, whatever the method: at 50% it is 85,3" in said
    assert main(["experiment", "--rate", "0.2", "--treatments", "4"]) == 0
    assert "control share 33%, 17% for each of 4 treatments" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rate", "1.5"], "a rate lies between 0 and 1"),
        (["--rate", "0.2", "--share", "0"], "share above 0"),
        (["--rate", "0.2", "--share", "0.5", "--treatments", "2"], "leave the control 0"),
        (["--rate", "0.2", "--treatments", "0"], "1 to 19 treatments"),
        (["--rate", "0.9", "--lift", "0.5"], "give one other than 0"),
        (["--rate", "0.2", "--people-a-day", "0"], "--people-a-day must be above 0"),
    ],
)
def test_designs_that_cannot_be_are_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", *words]) == 2
    assert says in capsys.readouterr().err
