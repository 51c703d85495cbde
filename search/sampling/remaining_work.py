"""What a run still has to do: trials to replay, to continue and to start."""

from __future__ import annotations

from dataclasses import dataclass, field

from recsys.training.trial_types import TrialResult
from search.sampling.trial_factory import Proposal


@dataclass(frozen=True)
class Work:
    """The trials of a run: ``done`` are replayed, ``unfinished`` are continued, ``numbers`` are started.

    ``earlier`` are other runs' trials that the samplers learn from.
    """

    done: list[tuple[Proposal, TrialResult]]
    unfinished: list[Proposal]
    numbers: list[int]
    earlier: list[tuple[Proposal, TrialResult]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.unfinished) + len(self.numbers)
