"""False verdicts and power of the A/B test, through assignment, tally and comparison.

    python -m tests.benchmarks.verdicts --quick
    python -m tests.benchmarks.verdicts --runs 1000 --json verdicts.json

Synthetic people, and says so. Every prefix of users is a look. A cell's runs have identical arms (any verdict
is false) or a planted lift of the hit rate. ``even`` people come once; ``zipf`` people come often, and those
who come often also hit more. ``5->50`` changes the treatment's share half way: active people, who come
early and come back, are shown the other arm then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from serving.assignment import Assigner, reallocate
from serving.domain import ArmSpec, ExperimentState
from serving.experiments.aggregates import Aggregates, ShownList, UserAction
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import compare
from serving.experiments.verdict import ExperimentDecision

WINDOW = 1e6  # seconds: every event of a run lies inside it
LIMITS = Limits(p99_milliseconds=1e9, coverage_kept=0.0)


@dataclass(frozen=True)
class Cell:
    """One row of the table. ``share`` is the treatment's, ``later`` after half of the users."""

    rate: float
    share: float
    later: float | None = None
    visits: str = "even"
    treatments: int = 1
    lift: float = 0.0

    def words(self) -> str:
        shares = f"{self.share:.0%}" if self.later is None else f"{self.share:.0%}->{self.later:.0%}"
        who = f"{self.visits:<5} arms {self.treatments} lift {self.lift:+.0%}"
        return f"rate {self.rate:<6g} share {shares:<9} {who}"


CELLS = [
    *(Cell(rate, share) for rate in (0.005, 0.01, 0.05, 0.2) for share in (0.01, 0.05, 0.1, 0.5)),
    *(Cell(rate, 0.05, visits="zipf") for rate in (0.01, 0.05)),
    *(Cell(0.1, *shares, visits="zipf") for shares in ((0.05, 0.5), (0.5, 0.05), (0.1, 0.5))),
    *(Cell(0.05, 0.5 / count, treatments=count) for count in (3, 10)),
    *(Cell(rate, 0.5, lift=0.2) for rate in (0.05, 0.2)),
]
QUICK = [
    Cell(0.01, 0.05),
    Cell(0.05, 0.1, visits="zipf"),
    Cell(0.1, 0.05, 0.5, "zipf"),
    Cell(0.2, 0.5, lift=0.2),
]


def states(cell: Cell, salt: str) -> list[ExperimentState]:
    """The experiment's revisions: one, or two where the share changes."""
    made: list[ExperimentState] = []
    for revision, share in enumerate([cell.share, *([] if cell.later is None else [cell.later])], start=1):
        arms = [ArmSpec("control", "r", 1 - cell.treatments * share)]
        arms += [ArmSpec(f"new{n}", "r", share) for n in range(cell.treatments)]
        state = ExperimentState("main", revision, salt, tuple(arms))
        made.append(reallocate(state, made[-1] if made else None))
    return made


def run(cell: Cell, users: int, seed: int) -> tuple[set[ExperimentDecision], float]:
    """One experiment: its decisions at the end of all looks, and the users counted."""
    random = np.random.default_rng(seed)
    history = states(cell, f"salt{seed}")
    assigners = [Assigner(state) for state in history]
    tally = Aggregates(frozenset(arm.name for arm in history[0].arms), WINDOW, slow_milliseconds=1e9)
    visits = np.ones(users, int)
    entry = np.sort(random.random(users))
    chance = np.full(users, cell.rate)
    if cell.visits == "zipf":  # who comes often enters earlier and hits more
        visits = np.minimum(random.zipf(1.6, users), 50)
        entry = random.random(users) ** np.log1p(visits)
        chance = np.clip(cell.rate * np.minimum(1 + 0.2 * visits, 5), 0, 1)
    moments = [
        (float(at), user)
        for user in range(users)
        for at in [entry[user], *(entry[user] + (1 - entry[user]) * random.random(visits[user] - 1))]
    ]
    for number, (at, user) in enumerate(sorted(moments)):
        which = 1 if cell.later is not None and at > 0.5 else 0
        name = f"u{user}"
        arm = assigners[which].assign(name).arm
        shown = ShownList(f"x{number}", 1000 * at, name, arm, which + 1, ("i",), "personal", 1.0, False)
        tally.add_exposure(shown)
        lifted = chance[user] * (1 + cell.lift * (tally.users[name].arm != "control"))
        if random.random() < lifted:
            done = UserAction(f"f{number}", shown.exposure_id, name, "click", "i", None, None, 1000 * at + 1)
            tally.add_feedback(done, shown)
    decisions = set()
    for number in range(cell.treatments):
        found = compare(
            tally,
            history,
            control="control",
            treatment=f"new{number}",
            metric="hit_rate",
            limits=replace(LIMITS, alpha=0.05),
            now=10 * WINDOW,
            treatments=cell.treatments,
        )
        decisions.add(found.verdict.decision)
    return decisions, users


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.verdicts", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--runs", type=int, default=200, help="experiments a cell (default 200)")
    made.add_argument("--users", type=int, default=3000, help="users an experiment (default 3000)")
    made.add_argument("--quick", action="store_true", help="four cells of 40 runs")
    made.add_argument("--json", type=Path, help="write the table to this file, too")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Prints a row a cell as it is measured."""
    options = parser().parse_args(words)
    runs = 40 if options.quick else options.runs
    print(f"synthetic people; {runs} runs a cell, {options.users:,} users each; alpha 0.05")
    rows = []
    for cell in QUICK if options.quick else CELLS:
        decided = [run(cell, options.users, seed)[0] for seed in range(runs)]
        told = (
            sum(bool({ExperimentDecision.SHIP, ExperimentDecision.STOP} & found) for found in decided) / runs
        )
        blocked = sum(ExperimentDecision.NONE in found for found in decided) / runs
        rows.append(asdict(cell) | {"runs": runs, "verdicts": told, "blocked": blocked})
        kind = "false verdicts" if cell.lift == 0 else "decided"
        print(f"{cell.words()}  {kind} {told:.3f}, blocked by sample ratio {blocked:.3f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
