"""False verdicts and power of the A/B test, through assignment, tally and comparison.

    python -m tests.benchmarks.verdicts --quick
    python -m tests.benchmarks.verdicts --only zipf --json verdicts.json

Synthetic people, and says so. Every user is a look. A cell's runs have identical arms (any verdict, of any
treatment, in any direction, is false) or a planted lift of the hit rate. ``even`` people come once; ``zipf``
people come often, and those who come often also hit more. ``5%->50%`` changes the treatment's share half way:
active people, who come early and come back, are shown the other arm then. In rows with a lift "half" and
"most" are the users at which half and 80% of the runs had their verdict, in users of a test of fixed size.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from recsys.types import JsonObject
from serving.assignment import Assigner, reallocate
from serving.domain import ArmSpec, ExperimentState
from serving.experiments.aggregates import Aggregates
from serving.experiments.betting import bet
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import compare, outcomes
from serving.experiments.sizing import ExperimentDesign, fixed_size
from serving.experiments.verdict import ExperimentDecision
from tests.benchmarks.simulations.interleaved import first_decided, pool, quantile
from tests.serving.made_events import make_exposure, make_feedback

WINDOW = 1e6  # seconds: every event of a run lies inside it
LIMITS = Limits(p99_milliseconds=1e9, coverage_kept=0.0)


@dataclass(frozen=True)
class Cell:
    """One row of the table. ``shares`` are the treatment's, each for an equal part of the time; ``clicks`` is
    how often a person clicks what they like; ``runs`` and ``users`` a run by default."""

    rate: float
    shares: tuple[float, ...]
    visits: str = "even"
    treatments: int = 1
    lift: float = 0.0
    clicks: int = 1
    runs: int = 1000
    users: int = 3000

    def words(self) -> str:
        shares = "->".join(f"{share:.0%}" for share in self.shares)
        clicks = "" if self.clicks == 1 else f" clicks {self.clicks}"
        who = f"{self.visits:<5} treatments {self.treatments} lift {self.lift:+.0%}{clicks}"
        return f"rate {self.rate:<6g} share {shares:<13} {who}"


CHANGES = ((0.05, 0.5), (0.1, 0.5), (0.5, 0.05), (0.1, 0.5, 0.1), (0.2, 0.0, 0.5))
CELLS = [
    *(Cell(rate, (share,)) for rate in (0.005, 0.01, 0.05, 0.2) for share in (0.01, 0.05, 0.1, 0.5)),
    *(Cell(rate, (0.05,), "zipf", runs=200) for rate in (0.01, 0.05)),
    Cell(0.05, (0.1,), "zipf", clicks=20, runs=200),
    *(Cell(0.1, shares, "zipf", runs=200) for shares in CHANGES),
    *(Cell(0.05, (0.5 / count,), treatments=count, runs=200) for count in (3, 10)),
    Cell(0.1, (0.02, 0.1), "zipf", treatments=3, runs=200),
    Cell(0.05, (0.5,), lift=0.2, runs=100, users=35_000),
    *(Cell(0.2, (share,), lift=0.2, runs=100, users=14_000) for share in (0.2, 0.5)),
]
QUICK = [
    Cell(0.01, (0.05,)),
    Cell(0.05, (0.1,), "zipf"),
    Cell(0.1, (0.05, 0.5), "zipf"),
    Cell(0.2, (0.5,), lift=0.2, users=7_000),
]


@dataclass(frozen=True)
class Run:
    """``decisions`` of all treatments after all looks; ``needed`` users until the first one's verdict."""

    decisions: frozenset[ExperimentDecision]
    needed: int | None = None


def states(cell: Cell, salt: str) -> list[ExperimentState]:
    """The experiment's revisions: one for each share."""
    made: list[ExperimentState] = []
    for revision, share in enumerate(cell.shares, start=1):
        arms = [ArmSpec("control", "r", 1 - cell.treatments * share)]
        arms += [ArmSpec(f"new{n}", "r", share) for n in range(cell.treatments)]
        state = ExperimentState("main", revision, salt, tuple(arms))
        made.append(reallocate(state, made[-1] if made else None))
    return made


def run(cell: Cell, users: int, seed: int) -> Run:
    """One experiment."""
    random = np.random.default_rng(seed)
    history = states(cell, f"salt{seed}")
    assigners = [Assigner(state) for state in history]
    aggregates = Aggregates(frozenset(arm.name for arm in history[0].arms), WINDOW, slow_milliseconds=1e9)
    visits = np.ones(users, int)
    entry = np.sort(random.random(users))
    chance = np.full(users, cell.rate)
    if cell.visits == "zipf":  # who comes often enters earlier and hits more
        visits = np.minimum(random.zipf(1.6, users), 50)
        entry = random.random(users) ** np.log1p(visits)
        chance = np.clip(cell.rate * np.minimum(1 + 0.2 * visits, 5), 0, 1)
    visitor = np.repeat(np.arange(users), visits)
    at = entry[visitor]
    again = np.append(False, visitor[1:] == visitor[:-1])  # every visit but the first
    at[again] += (1 - at[again]) * random.random(int(again.sum()))
    order = np.lexsort((visitor, at))
    stage = np.minimum((at * len(cell.shares)).astype(int), len(cell.shares) - 1)
    drawn, arms = random.random(len(at)), [assigner.assign for assigner in assigners]
    visited = zip(
        at[order].tolist(), visitor[order].tolist(), stage[order].tolist(), drawn.tolist(), strict=True
    )
    likely = chance.tolist()
    for number, (moment, user, revision, draw) in enumerate(visited):
        name, seconds = f"u{user}", 1000 * moment
        arm = arms[revision](name).arm
        shown = make_exposure(f"x{number}", seconds, name, arm, revision + 1, ("i",))
        aggregates.add_exposure(shown)
        if draw < likely[user] * (1 + cell.lift * (aggregates.users[name].arm != "control")):
            for click in range(cell.clicks):
                event = f"f{number}-{click}"
                done = make_feedback(event, shown.exposure_id, name, "click", "i", None, None, seconds + 1)
                aggregates.add_feedback(done, shown)
    decisions = set()
    for number in range(cell.treatments):
        result = compare(
            aggregates,
            history,
            control="control",
            treatment=f"new{number}",
            metric="hit_rate",
            limits=replace(LIMITS, alpha=0.05),
            now=10 * WINDOW,
            treatments=cell.treatments,
        )
        decisions.add(result.verdict.decision)
    return Run(frozenset(decisions), None if cell.lift == 0 else _needed(aggregates, cell.shares[0]))


def _needed(aggregates: Aggregates, share: float) -> int | None:
    """Users, in the order of their entry, at which the bets first decide."""
    users = list(aggregates.users.values())
    worth = outcomes(users, aggregates.metrics[0])
    treated = np.array([user.arm != "control" for user in users])
    shares = np.full(len(users), share)
    return first_decided(lambda count: bet(worth[:count], treated[:count], shares[:count]), len(users))


def measure(cell: Cell, *, runs: int, users: int, workers: int = 1) -> JsonObject:
    """A row of the table."""
    with pool(workers) as each:
        result = list(each(partial(run, cell, users), range(runs)))
    verdicts = {ExperimentDecision.SHIP, ExperimentDecision.STOP}
    row = asdict(cell) | {"runs": runs, "users": users}
    row["verdicts"] = sum(bool(verdicts & entry.decisions) for entry in result)
    row["blocked"] = sum(ExperimentDecision.NONE in entry.decisions for entry in result)
    if cell.lift:
        fixed = fixed_size(ExperimentDesign(cell.rate, cell.lift, cell.shares[0]))
        row["fixed_size"] = fixed
        for name, part in (("half", 0.5), ("most", 0.8)):
            reached = quantile([entry.needed for entry in result], part)
            row[name] = None if reached is None else round(reached / fixed, 2)
    return row


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.verdicts", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument(
        "--runs", type=int, help="experiments a cell (default: 1,000 where cheap, 100 to 200 where not)"
    )
    made.add_argument("--users", type=int, help="users an experiment (default 3,000; with a lift more)")
    made.add_argument("--quick", action="store_true", help="four cells of 40 runs")
    made.add_argument("--only", default="", help="cells whose words hold this")
    made.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    made.add_argument("--json", type=Path, help="write the table to this file, too")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Prints a row a cell as it is measured."""
    options = parser().parse_args(words)
    print("synthetic people; alpha 0.05, every user a look")
    rows = []
    for cell in [cell for cell in (QUICK if options.quick else CELLS) if options.only in cell.words()]:
        runs = options.runs or (40 if options.quick else cell.runs)
        row = measure(cell, runs=runs, users=options.users or cell.users, workers=options.workers)
        rows.append(row)
        kind = "decided" if cell.lift else "false verdicts"
        power = f", half by {row['half']}, 80% by {row['most']} fixed sizes" if cell.lift else ""
        blocked = f"blocked by sample ratio {row['blocked']}{power}"
        print(f"{cell.words()}  {kind} {row['verdicts']} of {runs}, {blocked}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
