"""People that a preference takes to find: interleaved lists beside a plain A/B test of the same people.

    python -m tests.benchmarks.simulations.interleaved --runs 12

Synthetic people, and says so. A ranker sees each person's liking of 60 items through noise; the treatment
sees it through less, through as much with errors of its own (any verdict is false), or is the same ranker. A
person comes once or more (Zipf), looks down the list with less and less patience and clicks by liking; how
readily differs between people. The same people, with the same liking and noise, are split into two halves
and are shown interleaved lists; tally, credit and bets are the product's. Every user is a look; users needed
are those at which the verdict first stands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.types import FloatArray
from serving.assignment import Assigner
from serving.domain import ArmSpec, ExperimentState
from serving.experiments.aggregates import Aggregates, ShownList, UserAction
from serving.experiments.betting import Evidence, bet, bet_on_preference
from serving.experiments.outcomes import outcomes
from serving.experiments.preference import preferences
from serving.experiments.team_draft import team_draft

ITEMS, LENGTH, WINDOW = 60, 10, 1e6
CONTROL, TREATMENT = "control", "new"


@dataclass(frozen=True)
class Rankers:
    """Standard deviations of the rankers' errors; ``same`` gives both the same errors. Liking's is 1.
    ``common`` is the share of the errors' variance that both rankers make alike."""

    words: str
    control: float
    treatment: float
    common: float = 0.5
    same: bool = False


CASES = (
    Rankers("better, lists much alike", 1.0, 0.7, common=0.9),
    Rankers("better, lists half alike", 1.0, 0.7),
    Rankers("much better", 1.0, 0.5),
    Rankers("equally good", 1.0, 1.0),
    Rankers("the same ranker", 1.0, 1.0, same=True),
)


@dataclass(frozen=True)
class Run:
    """Users at which each design decided, None where it did not, and what was decided."""

    split: int | None
    interleaved: int | None
    overlap: float
    lift: float
    preference: float


def simulate(case: Rankers, users: int, seed: int) -> Run:
    """The same people in both designs."""
    random = np.random.default_rng(seed)
    liking = random.normal(size=(users, ITEMS))
    shared = random.normal(size=(users, ITEMS)) * case.common**0.5
    errors = random.normal(size=(2, users, ITEMS)) * (1 - case.common) ** 0.5
    rankings = [
        np.argsort(-(liking + noise * (shared + errors[0 if case.same else side])), axis=1)[:, :LENGTH]
        for side, noise in enumerate((case.control, case.treatment))
    ]
    visits = np.minimum(random.zipf(2.0, users), 8)
    chance = 0.05 * np.exp(0.5 * random.normal(size=users))[:, None] * np.exp(0.7 * liking)
    patience = 0.85 ** np.arange(LENGTH)
    arms = (ArmSpec(CONTROL, "r", 0.5), ArmSpec(TREATMENT, "r", 0.5))
    assigner = Assigner(ExperimentState("main", 1, f"salt{seed}", arms))
    tallies = [Aggregates(frozenset((CONTROL, TREATMENT)), WINDOW, interleaved=bool(n)) for n in range(2)]
    for user in range(users):
        name = f"u{user}"
        arm = assigner.assign(name).arm
        lists = {CONTROL: rankings[0][user].tolist(), TREATMENT: rankings[1][user].tolist()}
        lists = {side: [str(item) for item in ranked] for side, ranked in lists.items()}
        for visit in range(visits[user]):
            exposure, at = f"x{user}-{visit}", user + visit / 100
            draft = team_draft(lists, LENGTH, seed=f"{seed}-{exposure}")
            looks = random.random((2, LENGTH)) < patience
            for place, (tally, items, teams) in enumerate(
                zip(tallies, (tuple(lists[arm]), draft.items), ((), draft.teams), strict=True)
            ):
                shown = ShownList(exposure, at, name, arm, 1, items, "personal", 1.0, False, teams)
                tally.add_exposure(shown)
                clicked = random.random(LENGTH) < looks[place] * chance[user, [int(item) for item in items]]
                for number in np.flatnonzero(clicked):
                    item = items[number]
                    done = UserAction(f"{exposure}{item}", exposure, name, "click", item, None, None, at)
                    tally.add_feedback(done, shown)
    return _measure(tallies, [set(a) & set(b) for a, b in zip(*rankings, strict=True)])


def _measure(tallies: Sequence[Aggregates], overlaps: Sequence[set[int]]) -> Run:
    split, merged = (list(tally.users.values()) for tally in tallies)
    worth = outcomes(split, tallies[0].metrics[0])
    treated = np.array([user.arm == TREATMENT for user in split])
    signs = preferences(merged, tallies[1].metrics[0].name, control=CONTROL, treatment=TREATMENT)
    half = np.full(len(worth), 0.5)
    plain = first_decided(lambda count: bet(worth[:count], treated[:count], half[:count]), len(worth))
    paired = first_decided(lambda count: bet_on_preference(signs[:count]), len(signs))
    return Run(
        split=plain,
        interleaved=paired,
        overlap=float(np.mean([len(both) for both in overlaps])) / LENGTH,
        lift=float(worth[treated].mean() / worth[~treated].mean() - 1),
        preference=float(np.mean(signs)),
    )


def first_decided(evidence: Callable[[int], Evidence], users: int) -> int | None:
    """The fewest users at which the bets decide: what they have come to never falls again."""

    def decided(count: int) -> bool:
        found = evidence(count)
        return found.ships or found.stops

    if not decided(users):
        return None
    low, high = 0, users
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def quantile(needed: Sequence[int | None], share: float) -> float | None:
    """Users at which ``share`` of the runs had decided, None where they had not."""
    values: FloatArray = np.array([np.inf if value is None else value for value in needed])
    found = float(np.quantile(values, share, method="inverted_cdf"))
    return found if np.isfinite(found) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row a case as it is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.interleaved", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--runs", type=int, default=12, help="runs a case (default 12)")
    parser.add_argument("--users", type=int, default=8_000, help="people a run (default 8,000)")
    parser.add_argument("--only", default="", help="cases whose words hold this")
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    options = parser.parse_args(arguments)
    print(f"synthetic people, {options.users:,} a run, {options.runs} runs a case; alpha 0.05")
    rows = []
    for case in [case for case in CASES if options.only in case.words]:
        runs = [simulate(case, options.users, seed) for seed in range(options.runs)]
        row: dict[str, object] = {"case": case.words, "runs": options.runs, "users": options.users}
        row["overlap"] = float(np.mean([run.overlap for run in runs]))
        row["lift"] = float(np.mean([run.lift for run in runs]))
        row["preference"] = float(np.mean([run.preference for run in runs]))
        for design in ("split", "interleaved"):
            needed = [getattr(run, design) for run in runs]
            row[design] = {"decided": sum(value is not None for value in needed) / options.runs}
            row[design] |= {"half": quantile(needed, 0.5), "most": quantile(needed, 0.8)}  # type: ignore[operator]
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
