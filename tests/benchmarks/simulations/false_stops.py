"""False guardrail stops of A/A tests: slow answers in bursts, heavy users, and the changes that must stop.

    python -m tests.benchmarks.simulations.false_stops --runs 100

Synthetic people, and says so: 1,500 lists over 25 minutes, a look after every 300 people. The arms are the
same unless the row says otherwise; a stop at any look counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.experiments.aggregates import Aggregates
from serving.experiments.guardrails import Limits, guardrails
from tests.serving.made_events import make_exposure

SECONDS, BURST_SECONDS, LOOK_EVERY = 1500, 20, 300


@dataclass(frozen=True)
class Traffic:
    """``bursts`` of 20 seconds in which answers are slow, in both arms or only in the new one; ``heavy`` slow
    fallbacks of one person in the new arm; ``slow`` and ``fallbacks`` are shares of the new arm's answers.
    ``share`` is the new arm's in the first and in the second half; ``cold`` the share of slow fallbacks in
    both arms in the first half."""

    words: str
    bursts: int = 0
    only_new: bool = False
    heavy: int = 0
    slow: float = 0.0
    fallbacks: float = 0.0
    share: tuple[float, float] = (0.5, 0.5)
    cold: float = 0.0

    @property
    def shares(self) -> dict[int, dict[str, float]]:
        """Revision -> arm -> share."""
        return {at: {"old": 1 - new, "new": new} for at, new in enumerate(self.share, start=1)}


CASES = (
    Traffic("the same arms"),
    Traffic("8 bursts in both arms", bursts=8),
    Traffic("40 bursts in both arms", bursts=40),
    Traffic("1 burst in the new arm", bursts=1, only_new=True),
    Traffic("600 slow fallbacks of one person", heavy=600),
    Traffic("5% -> 50%, both slow at first", share=(0.05, 0.5), cold=0.3),
    Traffic("50% -> 5%, both slow at first", share=(0.5, 0.05), cold=0.3),
    Traffic("2% of the people in the new arm", share=(0.02, 0.02), bursts=8),
    Traffic("20% of the new arm slow", slow=0.2),
    Traffic("30% of the new arm fallbacks", fallbacks=0.3),
)


def looks(case: Traffic, seed: int, *, users: int = 1500) -> Iterator[Aggregates]:
    """What was tallied at each look."""
    random = np.random.default_rng(seed)
    aggregates = Aggregates(frozenset({"old", "new"}), 60.0)
    begins = random.random(case.bursts) * (SECONDS - BURST_SECONDS)
    heavy = random.permutation(users)[: case.heavy]
    at_heavy = set(heavy.tolist())
    for number, at in enumerate(np.sort(random.random(users) * SECONDS)):
        late = int(at >= SECONDS / 2)
        arm = "new" if random.random() < case.share[late] else "old"
        new = arm == "new"
        burst = bool(np.any((begins <= at) & (at < begins + BURST_SECONDS))) and (new or not case.only_new)
        cold = not late and random.random() < case.cold
        slow = burst or cold or (new and random.random() < case.slow)
        source = "popular" if cold or (new and random.random() < case.fallbacks) else "personal"
        items = tuple(f"i{n}" for n in random.integers(0, 400, 10))
        time = 90.0 if slow else 8.0
        shown = make_exposure(f"x{number}", at, f"u{number}", arm, 1 + late, items, source, time, False)
        aggregates.add_exposure(shown)
        if number in at_heavy:
            aggregates.add_exposure(
                make_exposure(f"h{number}", at, "heavy", "new", 1, ("i0",), "popular", 90.0, False)
            )
        if (number + 1) % LOOK_EVERY == 0:
            yield aggregates


def stopped(case: Traffic, seed: int) -> bool:
    """Whether a guardrail broke at any look."""
    return any(
        rail.broken
        for aggregates in looks(case, seed)
        for rail in guardrails(aggregates, case.shares, control="old", treatment="new", limits=Limits())
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row a case as it is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.false_stops", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--runs", type=int, default=100, help="runs a case (default 100)")
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    options = parser.parse_args(arguments)
    print("synthetic people; 1,500 lists a run, a look after every 300")
    rows = []
    for case in CASES:
        count = sum(stopped(case, seed) for seed in range(options.runs))
        rows.append({"case": case.words, "runs": options.runs, "stopped": count})
        print(f"{case.words:<36} stopped {count} of {options.runs}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
