"""An earlier run as a start for a new one: its results (same data), or its best configs (any data)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.errors import InputError
from recsys.training.trial_types import TrialResult, TrialStatus
from recsys.types import JsonObject
from search.sampling.trial_factory import Point, Proposal
from search.storage.run_dir import RunFolder

BEST_CONFIGS = 3


@dataclass(frozen=True)
class PreviousRun:
    """A run that was made before, read from its folder."""

    path: Path
    about: JsonObject
    proposals: dict[int, Proposal]
    results: list[TrialResult]

    @classmethod
    def read(cls, path: Path, *, option: str) -> PreviousRun:
        if not (path / "run.json").exists():
            raise InputError(
                f"{option} {path}: no run there (no run.json); give the folder of a finished run"
            )
        run = RunFolder(path)
        results = [result for result in run.results() if result.rmse is not None or result.list_metrics]
        if not results:
            raise InputError(f"{option} {path}: none of its trials has a result yet")
        proposals = {spec.number: Proposal(spec, draws) for spec, draws in run.proposals()}
        return cls(path, run.read_about(), proposals, results)

    def require_same_data(self, dataset: Dataset, split: Split) -> None:
        """Raises InputError unless its figures were measured on the same ratings and the same split."""
        for name, theirs, ours in (
            ("dataset", self.about.get("sha256"), dataset.sha256),
            ("split", self.about.get("split_fingerprint"), split.fingerprint),
        ):
            if theirs != ours:
                raise InputError(
                    f"--warm-start {self.path}: its {name} is another one "
                    f"({str(theirs)[:12]}, here {ours[:12]}), so its figures do not carry over; "
                    "--start-from takes its best configs without them"
                )

    def completed_trials(self) -> list[tuple[Proposal, TrialResult]]:
        """Every searched trial with its result."""
        chosen = []
        for result in self.results:
            proposal = self.proposals.get(result.spec.number)
            if (
                proposal is not None
                and proposal.draws is not None
                and result.status is not TrialStatus.STOPPED
            ):
                chosen.append((proposal, result))
        return chosen

    def best_configs(self) -> list[Point]:
        """The best searched configs, best first."""
        yardsticks = {"formula", "template", "reference", "baseline"}
        judged = [result for result in self.results if result.rmse is not None]
        chosen = [result for result in judged if result.spec.origin not in yardsticks]
        chosen.sort(key=lambda result: (result.rmse, result.spec.number))
        return [(result.spec.family, result.spec.config) for result in (chosen or judged)[:BEST_CONFIGS]]
