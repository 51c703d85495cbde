"""Ours in one world: every member trained, its predictions kept, and blends of them weighed on valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.ensemble.blend import fit_corrected
from recsys.metrics.rating import rmse
from tests.benchmarks.ablation.measure import Measure, Predictions, measured
from tests.benchmarks.ablation.record import MeasureLog
from tests.benchmarks.floor.roster import Member
from tests.benchmarks.floor.table import Line
from tests.benchmarks.floor.world import Sample


class Ours:
    """``folder`` keeps a line a training and the stars that it predicted: none is trained twice."""

    def __init__(self, sample: Sample, record: MeasureLog, folder: Path) -> None:
        self.sample, self.record, self.folder = sample, record, folder

    def train(self, member: Member, *, seed: int, epochs: int) -> None:
        kept = self._kept(member, seed)
        if self.record.find(member.name, seed) and kept.is_file():
            return
        entry, predictions = measured(
            member.step,
            self.sample.data,
            self.sample.test,
            epochs=min(member.epochs, epochs),
            seed=seed,
            device="cpu",
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, valid=predictions.valid, test_refit=predictions.test_refit)
        if self.record.find(member.name, seed) is None:
            self.record.add(entry)  # after its stars: a line promises them
        print(
            f"{member.name:12} seed {seed}: valid {entry.valid:.4f}, test after the refit "
            f"{entry.test_refit:.4f} ({entry.epochs} epochs, {entry.seconds:.0f} s)",
            flush=True,
        )

    def line(self, member: Member, seeds: int) -> Line:
        result = [self._measure(member, seed) for seed in range(seeds)]
        return Line(
            name=f"**ours**: {member.step.rung.title}",
            rmse=[entry.test_refit for entry in result],
            kl=float(np.mean([entry.kl for entry in result])),
            valid=float(np.mean([entry.valid for entry in result])),
            seconds=float(np.mean([entry.seconds for entry in result])),
        )

    def blends(self, members: Sequence[Member], seeds: int) -> list[Line]:
        """The members of each seed blended, and those of all seeds at once."""
        apart = [self._blend(members, [seed]) for seed in range(seeds)]
        lines = [
            Line(
                name=f"**ours**: ensemble of the {len(members)}, a seed at a time",
                rmse=[error for error, _, _ in apart],
                kl=float(np.mean([kl for _, kl, _ in apart])),
                valid=float(np.mean([valid for _, _, valid in apart])),
            )
        ]
        if seeds > 1:
            error, kl, valid = self._blend(members, range(seeds))
            name = f"**ours**: ensemble of the {len(members) * seeds}, all seeds"
            lines.append(Line(name=name, rmse=[error], kl=kl, valid=valid))
        return lines

    def _blend(self, members: Sequence[Member], seeds: Sequence[int]) -> tuple[float, float, float]:
        """rmse on test, KL, and rmse on the folds of valid that its weights were not fitted on."""
        both = [(member, seed) for seed in seeds for member in members]
        result = [self._predictions(member, seed) for member, seed in both]
        valid: NDArray[np.float32] = np.stack([entry.valid for entry in result])
        data, test = self.sample.data, self.sample.test
        blend = fit_corrected(valid, data.valid, data.train, seed=0)
        known = data.train.joined(data.valid)
        stars = blend.predict(np.stack([entry.test_refit for entry in result]), test, known)
        kl = blend.kl([self._measure(member, seed).kl for member, seed in both])
        return rmse(stars, test.values), kl, blend.error

    def _measure(self, member: Member, seed: int) -> Measure:
        result = self.record.find(member.name, seed)
        assert result is not None  # trained before a table is made
        return result

    def _predictions(self, member: Member, seed: int) -> Predictions:
        with np.load(self._kept(member, seed), allow_pickle=False) as stored:
            return Predictions(stored["valid"], stored["test_refit"])

    def _kept(self, member: Member, seed: int) -> Path:
        return self.folder / "predictions" / f"{member.name}-{seed}.npz"
