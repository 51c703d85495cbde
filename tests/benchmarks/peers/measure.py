"""One peer from its first try to its row: settings compared on valid, then one look at test a seed."""

from __future__ import annotations

import sys

import numpy as np

from tests.benchmarks.peers.bench import BadAnswer, Bench, Part
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.peers.process import Failed, Interpreters, train
from tests.benchmarks.peers.record import Record, Training
from tests.benchmarks.peers.table import Row

HIDDEN = ("model", "probit", "histories", "side", "cache_ratings", "act_fn", "likelihood")


class Measurer:
    """``limit`` is seconds a training; a try beyond it, or that breaks, only counts as a try."""

    def __init__(self, bench: Bench, record: Record, pythons: Interpreters, *, limit: float) -> None:
        self.bench, self.record, self.pythons, self.limit = bench, record, pythons, limit

    def row(self, peer: Peer, *, tries: int, seeds: int) -> Row:
        """NotInstalled, or Failed where no try or a seed of the chosen one came to an end."""
        best: Training | None = None
        spent, trouble = 0.0, ""
        settings = peer.settings[:tries]
        # A single setting leaves nothing to choose.
        for number in range(len(settings)) if len(settings) > 1 else ():
            try:
                entry = self._training(peer, "try", number, settings[number], seed=0)
            except Failed as error:
                trouble = str(error)
                continue
            spent += entry.seconds
            if best is None or self.bench.better(entry.figures, best.figures):
                best = entry
        if best is None and len(settings) > 1:
            raise Failed(trouble)
        chosen = best.settings if best else settings[0]
        looks = [
            self._training(peer, "seed", seed, chosen, seed=seed)
            for seed in range(seeds if peer.seeded else 1)
        ]
        key = "rmse" if self.bench.task == "rate" else "ndcg_at_10"
        return Row(
            name=peer.name,
            test={name: [look.figures[name] for look in looks] for name in looks[0].figures},
            valid=best.figures[key] if best else None,
            trained_on="train, valid",
            chosen=", ".join(f"{name} {value}" for name, value in chosen.items() if name not in HIDDEN),
            budget=f"{len(settings)} settings, {spent:.0f} s" if best else "none",
            seconds=float(np.mean([look.seconds for look in looks])),
            version=looks[0].version,
            by_person={
                name: np.mean([look.by_person[name] for look in looks], axis=0).tolist()
                for name in looks[0].by_person
            },
        )

    def _training(
        self, peer: Peer, part: Part, number: int, settings: dict[str, object], *, seed: int
    ) -> Training:
        if result := self.record.find(peer.name, part, number, settings):
            return result
        answer, seconds, version = train(
            peer,
            self.bench.problems[part],
            settings,
            seed=seed,
            python=self.pythons.of(peer),
            limit=self.limit,
        )
        try:
            figures, by_person = self.bench.judge(part, answer)
        except BadAnswer as error:
            raise Failed(str(error)) from None
        if part == "try":
            by_person = {}
        entry = Training(peer.name, part, number, settings, figures, seconds, version, by_person)
        self.record.add(entry)
        measured = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        slice_name = "valid" if part == "try" else "test"
        print(
            f"{peer.name}, {part} {number}: {slice_name} {measured} ({seconds:.1f} s)",
            file=sys.stderr,
            flush=True,
        )
        return entry
