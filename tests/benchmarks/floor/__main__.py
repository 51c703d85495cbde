"""Made-up ratings with a known floor, 1/32 of ML-32M's shape: how near to it do ours and peers come?

    python -m tests.benchmarks.floor --python peers/bin/python
    python -m tests.benchmarks.floor --nonlinear 1 --seeds 1

All choose on valid, learn again from train and valid, and look at test once a seed. The noise floor is out of
anybody's reach; the oracle (``tests.benchmarks.floor.oracle``) says how near one comes who must learn the
people alone.
Finished trainings are lines of OUT/nonlinear-N/measures.jsonl: an interrupted run goes on where it was. Exit
codes: 0 done, 1 a peer broke (its row says how), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from recsys.data.synthetic import SyntheticSpec
from recsys.errors import InputError, exit_code
from tests.benchmarks.ablation.record import MeasureLog
from tests.benchmarks.floor.ours import Ours
from tests.benchmarks.floor.roster import members, peers
from tests.benchmarks.floor.table import Line, markdown
from tests.benchmarks.floor.world import Sample
from tests.benchmarks.peers.bench import Bench
from tests.benchmarks.peers.measure import Measurer
from tests.benchmarks.peers.process import Failed, Interpreters, NotInstalled
from tests.benchmarks.peers.record import Record as PeerRecord


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.floor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("--users", type=int, default=6_280)
    add("--items", type=int, default=2_638)
    add("--ratings", type=int, default=1_000_000)
    add(
        "--nonlinear",
        type=float,
        nargs="+",
        default=[0.0, 1.0],
        help="a world each: 0 dot product, 1 network",
    )
    add("--seeds", type=int, default=3, help="trainings of each of ours")
    add("--peer-seeds", type=int, default=1, help="trainings of each peer")
    add("--epochs", type=int, default=100, help="no training is longer, whatever its own length")
    add("--draws", type=int, default=256, help="of the oracle, a person")
    add("--python", default="", metavar="PATH", help="the Python that has Surprise; without it, no peers")
    add("--limit", type=float, default=3600, help="seconds a peer's training may take")
    add("--out", type=Path, default=Path("runs/floor"))
    return arguments


def main(given: list[str] | None = None) -> int:
    options = parser().parse_args(given)
    kept = f"interrupted; finished trainings are kept in {options.out}, run it again to go on"
    return exit_code(lambda: run(options), interrupted=kept)


def run(options: argparse.Namespace) -> int:
    if min(options.seeds, options.peer_seeds, options.epochs, options.draws) < 1:
        raise InputError("--seeds, --peer-seeds, --epochs and --draws must be 1 or more")
    if options.python:
        Interpreters.parse([options.python], default=sys.executable)
    return max([world(options, nonlinear) for nonlinear in options.nonlinear])


def world(options: argparse.Namespace, nonlinear: float) -> int:
    """One world to its table; 1 where a peer broke."""
    sizes = {"users": options.users, "items": options.items, "ratings": options.ratings}
    sample = Sample.of(SyntheticSpec(**sizes, nonlinear=nonlinear, drift=0.0))
    print(sample.title(), flush=True)
    folder = options.out / f"nonlinear-{nonlinear:g}"
    roster = members(nonlinear)
    dials = {
        entry.name: [entry.step.rung.family, entry.step.config, min(entry.epochs, options.epochs)]
        for entry in roster
    }
    # As JSON has it: tuples are lists there.
    record = MeasureLog(folder, json.loads(json.dumps({**sample.facts, "dials": dials})))
    ours = Ours(sample, record, folder)
    oracle = oracle_of(sample, folder, options.draws)
    others = peer_lines(options, sample, folder)
    for seed in range(options.seeds):
        for entry in roster:
            ours.train(entry, seed=seed, epochs=options.epochs)
    lines = [ours.line(entry, options.seeds) for entry in roster] + ours.blends(roster, options.seeds)
    text = f"{sample.title()}\n\n{markdown([*lines, *others], floor=sample.floor, oracle=oracle)}"
    (folder / "floor.md").write_text(text)
    print(text, end="", flush=True)
    return int(any(line.problem.startswith("failed") for line in others))


def oracle_of(sample: Sample, folder: Path, draws: int) -> float:
    """rmse on test, worked out once for so many draws."""
    path = folder / f"oracle-{draws}.json"
    if not path.is_file():
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps({"rmse": sample.oracle(draws)}))
        beside.replace(path)
    result: float = json.loads(path.read_text())["rmse"]
    print(f"noise floor {sample.floor:.4f} on these test ratings, oracle {result:.4f}", flush=True)
    return result


def peer_lines(options: argparse.Namespace, sample: Sample, folder: Path) -> list[Line]:
    roster = peers(sample.spec.nonlinear)
    if not options.python:
        return [Line(peer.name, [], problem="not measured, needs --python") for peer in roster]
    pythons = Interpreters.parse([options.python], default=sys.executable)
    lines = []
    with tempfile.TemporaryDirectory(prefix="floor-") as problems:
        bench = Bench(sample.made.dataset, sample.split, "rate", Path(problems))
        measurer = Measurer(bench, PeerRecord(folder, sample.facts), pythons, limit=options.limit)
        for peer in roster:
            try:
                row = measurer.row(peer, tries=len(peer.settings), seeds=options.peer_seeds)
            except (NotInstalled, Failed) as error:
                said = "failed: " if isinstance(error, Failed) else ""
                lines.append(Line(peer.name, [], problem=f"{said}{error}"))
                continue
            name = f"{peer.name} ({row.chosen})"
            lines.append(Line(name, row.test["rmse"], valid=row.valid, seconds=row.seconds))
    return lines


if __name__ == "__main__":
    sys.exit(main())
