"""People that a preference takes to find: interleaved lists beside a plain A/B test of the same people.

    python -m tests.benchmarks.simulations.interleaved --runs 12

Synthetic people, and says so. A ranker sees each person's liking of 60 items through noise; the treatment
sees it through less, through as much with errors of its own (any verdict is false), or is the same ranker;
further treatments are as good as the control. A person comes once or more (Zipf), looks down the list with
less and less patience and clicks by liking; how readily differs between people. The same people, with the
same liking and noise, are split over the arms and are shown interleaved lists; tally, credit and bets are the
product's. Every user is a look; users needed are those at which the first treatment's verdict stands, and
"false" are the runs with a verdict on an arm that is as good, or the wrong way round.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys.types import BoolArray, FloatArray
from serving.assignment import Assigner
from serving.domain import ArmSpec, ExperimentState
from serving.experiments.aggregates import Aggregates
from serving.experiments.betting import Evidence, bet, bet_on_preference
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import outcomes
from serving.experiments.preference import compare_preferences, preferences
from serving.experiments.team_draft import team_draft
from serving.experiments.verdict import ExperimentDecision
from tests.serving.made_events import make_exposure, make_feedback

ITEMS, LENGTH, WINDOW = 60, 10, 1e6
CONTROL = "control"


@dataclass(frozen=True)
class Rankers:
    """Standard deviations of the rankers' errors, the control's first; ``same`` gives all the same errors.
    Liking's is 1. ``common`` is the share of the errors' variance that all rankers make alike; ``clicks`` is
    how often people click what they click."""

    words: str
    noise: tuple[float, ...]
    common: float = 0.5
    same: bool = False
    clicks: int = 1

    @property
    def arms(self) -> tuple[str, ...]:
        """Control, the treatment, and further ones."""
        return (CONTROL, *(f"new{number}" for number in range(1, len(self.noise))))


CASES = (
    Rankers("better, lists much alike", (1.0, 0.7), common=0.9),
    Rankers("better, lists half alike", (1.0, 0.7)),
    Rankers("much better", (1.0, 0.5)),
    Rankers("slightly better, lists much alike", (1.0, 0.9), common=0.9),
    Rankers("clicked ten times, better", (1.0, 0.7), common=0.9, clicks=10),
    Rankers("four arms, one better", (1.0, 0.7, 1.0, 1.0), common=0.9),
    Rankers("equally good", (1.0, 1.0)),
    Rankers("four arms, equally good", (1.0, 1.0, 1.0, 1.0)),
    Rankers("the same ranker", (1.0, 1.0), same=True),
)


@dataclass(frozen=True)
class Run:
    """Users at which each design decided, None where it did not, and what was decided."""

    split: int | None
    interleaved: int | None
    overlap: float
    lift: float
    preference: float
    false: tuple[bool, bool] = (False, False)


def simulate(case: Rankers, users: int, seed: int) -> Run:
    """The same people in both designs."""
    random = np.random.default_rng(seed)
    liking = random.normal(size=(users, ITEMS))
    shared = random.normal(size=(users, ITEMS)) * case.common**0.5
    errors = random.normal(size=(len(case.noise), users, ITEMS)) * (1 - case.common) ** 0.5
    rankings = [
        np.argsort(-(liking + noise * (shared + errors[0 if case.same else side])), axis=1)[:, :LENGTH]
        for side, noise in enumerate(case.noise)
    ]
    visits = np.minimum(random.zipf(2.0, users), 8)
    chance = 0.05 * np.exp(0.5 * random.normal(size=users))[:, None] * np.exp(0.7 * liking)
    patience = 0.85 ** np.arange(LENGTH)
    arms = tuple(ArmSpec(arm, "r", 1 / len(case.arms)) for arm in case.arms)
    assigner = Assigner(ExperimentState("main", 1, f"salt{seed}", arms))
    tallies = [Aggregates(frozenset(case.arms), WINDOW, interleaved=bool(n)) for n in range(2)]
    for user in range(users):
        name = f"u{user}"
        arm = assigner.assign(name).arm
        lists = {
            name: [str(item) for item in ranked[user]]
            for name, ranked in zip(case.arms, rankings, strict=True)
        }
        for visit in range(visits[user]):
            exposure, at = f"x{user}-{visit}", user + visit / 100
            draft = team_draft(lists, LENGTH, seed=f"{seed}-{exposure}")
            looks = random.random((2, LENGTH)) < patience
            for index, (aggregates, items, teams) in enumerate(
                zip(tallies, (tuple(lists[arm]), draft.items), ((), draft.teams), strict=True)
            ):
                shown = make_exposure(exposure, at, name, arm, 1, items, "personal", 1.0, False, teams)
                aggregates.add_exposure(shown)
                clicked = random.random(LENGTH) < looks[index] * chance[user, [int(item) for item in items]]
                for number in np.flatnonzero(clicked):
                    item = items[number]
                    for click in range(case.clicks):
                        event = f"{exposure}{item}-{click}"
                        done = make_feedback(event, exposure, name, "click", item, None, None, at)
                        aggregates.add_feedback(done, shown)
    return _measure(case, tallies, [set(a) & set(b) for a, b in zip(*rankings[:2], strict=True)])


def _measure(case: Rankers, tallies: Sequence[Aggregates], overlaps: Sequence[set[int]]) -> Run:
    split, merged = (list(aggregates.users.values()) for aggregates in tallies)
    worth = outcomes(split, tallies[0].metrics[0])
    arms = np.array([user.arm for user in split])
    tests = len(case.arms) - 1
    needed: list[tuple[int | None, ...]] = []
    false = np.zeros((tests, 2), np.bool_)
    for number, name in enumerate(case.arms[1:]):
        pair = np.isin(arms, (CONTROL, name))
        signs = preferences(merged, tallies[1].metrics[0].name, control=CONTROL, treatment=name)
        plain = partial(_split, worth[pair], arms[pair] == name, tests)
        paired = partial(_paired, signs, tests)
        end = plain(int(pair.sum()))
        ends = [(end.ships, end.stops)]
        result = compare_preferences(
            tallies[1],
            control=CONTROL,
            treatment=name,
            metric=tallies[1].metrics[0].name,
            limits=Limits(),
            now=10 * WINDOW,
            treatments=tests,
        ).verdict.decision
        ends.append((result is ExperimentDecision.SHIP, result is ExperimentDecision.STOP))
        better = case.noise[1 + number] < case.noise[0]
        false[number] = [stops or (ships and not better) for ships, stops in ends]
        entered = np.flatnonzero(pair)  # people of other arms come too
        first = first_decided(plain, len(entered))
        needed.append(
            (None if first is None else int(entered[first - 1]) + 1, first_decided(paired, len(signs)))
        )
        if number == 0:
            preference = float(np.mean(signs))
    treated, control = worth[arms == case.arms[1]].mean(), worth[arms == CONTROL].mean()
    return Run(
        split=needed[0][0],
        interleaved=needed[0][1],
        overlap=float(np.mean([len(both) for both in overlaps])) / LENGTH,
        lift=float(treated / control - 1),
        preference=preference,
        false=(bool(false[:, 0].any()), bool(false[:, 1].any())),
    )


def _split(worth: FloatArray, treated: BoolArray, tests: int, count: int) -> Evidence:
    return bet(worth[:count], treated[:count], np.full(count, 0.5), treatments=tests)


def _paired(signs: FloatArray, tests: int, count: int) -> Evidence:
    return bet_on_preference(signs[:count], treatments=tests)


@contextmanager
def pool(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` over ``workers`` processes."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as processes:
        yield partial(processes.map, chunksize=4)


def first_decided(evidence: Callable[[int], Evidence], users: int) -> int | None:
    """The fewest users at which the bets decide: what they have come to never falls again."""

    def decided(count: int) -> bool:
        result = evidence(count)
        return result.ships or result.stops

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
    result = float(np.quantile(values, share, method="inverted_cdf"))
    return result if np.isfinite(result) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row a case as it is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.interleaved", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--runs", type=int, default=12, help="runs a case (default 12)")
    parser.add_argument("--users", type=int, default=8_000, help="people a run (default 8,000)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--only", default="", help="cases whose words hold this")
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    options = parser.parse_args(arguments)
    print(f"synthetic people, {options.users:,} a run, {options.runs} runs a case; alpha 0.05")
    rows = []
    for case in [case for case in CASES if options.only in case.words]:
        with pool(options.workers) as each:
            runs = list(each(partial(simulate, case, options.users), range(options.runs)))
        row: dict[str, object] = {"case": case.words, "runs": options.runs, "users": options.users}
        row["overlap"] = float(np.mean([run.overlap for run in runs]))
        row["lift"] = float(np.mean([run.lift for run in runs]))
        row["preference"] = float(np.mean([run.preference for run in runs]))
        for index, design in enumerate(("split", "interleaved")):
            needed = [getattr(run, design) for run in runs]
            row[design] = {"decided": sum(value is not None for value in needed) / options.runs}
            row[design] |= {"false": sum(run.false[index] for run in runs)}  # type: ignore[operator]
            row[design] |= {"half": quantile(needed, 0.5), "most": quantile(needed, 0.8)}  # type: ignore[operator]
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
