"""Proof by simulation: clean roll-outs reach everybody, a planted regression is taken back in time.

    python -m tests.benchmarks.simulations.rollouts --runs 20

Everything here is synthetic, and says so: made-up people, and a clock that runs ahead. The event store, the
controller and its rules are the real ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from serving.domain import ArmSpec, ExperimentState
from serving.events.rows import JournalEntry
from serving.events.store import EventStore
from serving.rollout.controller import RolloutController
from serving.rollout.policy import RolloutPlan, RolloutStep
from serving.rollout.rollout_status import KIND, start_rollout
from tests.benchmarks.simulations.behaviour import Behaviour, answers

WELL = Behaviour()
PLANTED = {
    "none": WELL,
    "latency": replace(WELL, slow=0.1),
    "fallbacks": replace(WELL, fallbacks=0.25),
    "error": replace(WELL, error=1.3),
}
PLANTED_AT = 0.25  # the share at which the candidate turns bad
PEOPLE = 4_000
ANSWERS_A_SECOND = 60
TICK_SECONDS = 2.0
LONGEST_SECONDS = 3_600.0
PLAN = RolloutPlan("main", "old", "new", "synthetic", hold_seconds=60.0, minimum_exposures=30)


@dataclass(frozen=True)
class RolloutOutcome:
    """``share`` is the candidate's at the end; ``seconds`` from the planted regression (or the start) to
    the last step; ``log`` the journal, a line a step."""

    share: float
    seconds: float
    reason: str
    log: tuple[str, ...]


def roll_out(folder: Path, planted: str, *, seed: int) -> RolloutOutcome:
    """One roll-out from its start to its end, in an event store of its own under ``folder``."""
    random = np.random.default_rng([seed, 3])
    store = EventStore(str(folder / f"{planted}-{seed}.db"))
    store.create_tables()
    now, turned = 0.0, 0.0
    arms = (ArmSpec("old", "synthetic-before", 1.0),)
    store.save_experiment(
        ExperimentState("main", 0, f"salt-{seed}", arms), expected=0, actor="simulation", at=now
    )
    state = start_rollout(store, PLAN, now=now).state
    controller = RolloutController(store, "main", notify=lambda _: None, clock=lambda: now)
    while now < LONGEST_SECONDS:
        share = next(arm.share for arm in state.arms if arm.name == "new")
        bad = planted != "none" and share >= PLANTED_AT
        turned = turned or (now if bad else 0.0)
        people = [f"u{number}" for number in random.integers(0, PEOPLE, int(ANSWERS_A_SECOND * TICK_SECONDS))]
        behaviours = {"old": WELL, "new": PLANTED[planted] if bad else WELL}
        shown, done = answers(random, state, people, behaviours, at=now + 0.5, serial=f"{now:g}")
        store.add(exposures=shown, feedback=done)
        now += TICK_SECONDS
        decision = controller.tick()
        if decision is None or decision.step in (RolloutStep.BACK, RolloutStep.DONE):
            break
        state = store.experiment("main") or state
    steps = [row for row in store.journal(kind=KIND) if row.data["event"] != "started"]
    store.close()
    last = steps[-1].data
    return RolloutOutcome(
        float(last["to"]), now - turned, str(last["reason"]), tuple(_line(row) for row in steps)
    )


def _line(row: JournalEntry) -> str:
    step = row.data
    return f"{row.at:7.0f} s  {step['event']}: {step['from']:.0%} -> {step['to']:.0%}, {step['reason']}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.rollouts", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=20, help="roll-outs a row (default 20)")
    parser.add_argument(
        "--log", action="store_true", help="also print every step of each row's first roll-out"
    )
    options = parser.parse_args(arguments)
    print(
        f"synthetic people, accelerated clock: {ANSWERS_A_SECOND} answers a second, stages of "
        f"{PLAN.hold_seconds:g} s, a regression planted when the candidate reaches {PLANTED_AT:.0%}"
    )
    print(f"{'planted':>10} {'to 100%':>8} {'rolled back':>12} {'median s':>9} {'most s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for planted in PLANTED:
            ends = [roll_out(Path(folder), planted, seed=seed) for seed in range(options.runs)]
            back = [end.seconds for end in ends if end.share == 0]
            middle = f"{np.median(back):.0f}" if back else "-"
            most = f"{max(back):.0f}" if back else "-"
            through = sum(end.share == 1 for end in ends)
            count = len(ends)
            print(
                f"{planted:>10} {through:>5}/{count:<2} {len(back):>9}/{count:<2} {middle:>9} {most:>7}",
                flush=True,
            )
            if options.log:
                print("\n".join(f"    {line}" for line in ends[0].log))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
