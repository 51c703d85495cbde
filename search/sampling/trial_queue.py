"""The order of a run's trials, as Ray Tune asks for them: a Searcher over the families' samplers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from ray.tune.search import Searcher

from recsys.training.trial_types import TrialResult
from recsys.types import JsonObject
from search.sampling.family_sampler import FamilySampler
from search.sampling.lanes import Lane
from search.sampling.trial_factory import Draw, Proposal


class TrialQueue(Searcher):  # type: ignore[misc]
    """Assigns the run's trials in order: interrupted ones first, then the next of the sequence.

    ``compose(number, draw)`` makes a Proposal (``draw`` asks a family's sampler); ``journal`` keeps it
    before it runs; ``is_open()`` False ends it. A trial whose process died is assigned
    again, ``deaths`` times at most, and continues from its checkpoint. Samplers know a trial by its number,
    so assigning it twice changes nothing. ``lane_of(number)`` is where a trial runs: one
    whose lane is full does not hold up those of another.
    """

    def __init__(
        self,
        *,
        families: Mapping[str, FamilySampler],
        numbers: list[int],
        unfinished: list[Proposal],
        compose: Callable[[int, Draw], Proposal],
        journal: Callable[[Proposal], None],
        is_open: Callable[[], bool],
        lane_of: Callable[[int], Lane],
        deaths: int = 0,
    ) -> None:
        super().__init__(metric="rmse", mode="min")
        self._families = dict(families)
        self._numbers = list(numbers)
        self._waiting = list(unfinished)
        self._compose = compose
        self._journal = journal
        self._is_open = is_open
        self._lane_of = lane_of
        self._deaths = deaths
        self._lanes: dict[str, str] = {}  # of the trials that are out, by Tune's id
        self._died: Counter[int] = Counter()
        self._out: dict[str, Proposal] = {}
        self._unknown = {proposal.spec.number for proposal in unfinished}

    def suggest(self, trial_id: str) -> JsonObject | str | None:
        """The next trial; None while there is none but one that runs may come back."""
        if not self._is_open():
            return str(Searcher.FINISHED)
        if not self._waiting and not self._numbers:
            return None if self._out else str(Searcher.FINISHED)
        for waiting in self._waiting:
            lane = self._lane_of(waiting.spec.number)
            if self._has_room(lane):
                self._waiting.remove(waiting)
                self._register(waiting)
                return self._assign(trial_id, waiting, lane)
        for number in self._numbers:
            lane = self._lane_of(number)
            if self._has_room(lane):
                self._numbers.remove(number)
                return self._assign(trial_id, self._propose(number), lane)
        return None

    def _has_room(self, lane: Lane) -> bool:
        return sum(name == lane.name for name in self._lanes.values()) < lane.at_once

    def _assign(self, trial_id: str, proposal: Proposal, lane: Lane) -> JsonObject:
        self._out[trial_id], self._lanes[trial_id] = proposal, lane.name
        return {
            "number": proposal.spec.number,
            "spec": vars(proposal.spec),
            "resources": lane.request,
        }

    def is_abandoned(self, number: int) -> bool:
        """Whether a trial that died is not assigned again."""
        return self._died[number] > self._deaths

    def _propose(self, number: int) -> Proposal:
        def draw(family: str, fixed: JsonObject | None) -> tuple[JsonObject, JsonObject]:
            return self._families[family].propose(str(number), number, fixed)

        proposal = self._compose(number, draw)
        self._journal(proposal)
        return proposal

    def _register(self, proposal: Proposal) -> None:
        """Add an earlier session's proposal to the family's sampler: after the replayed ones,
        since the order of trials matters to TPE."""
        spec = proposal.spec
        if spec.number not in self._unknown:
            return
        self._unknown.remove(spec.number)
        if proposal.draws is not None and spec.family in self._families:
            self._families[spec.family].propose(str(spec.number), spec.number, proposal.draws)

    def replay(self, proposal: Proposal, result: TrialResult, ndcg: float | None = None) -> None:
        """Teach a finished trial of an earlier session (or an older run) to its family's sampler."""
        if proposal.draws is None or proposal.spec.family not in self._families:
            return
        family = self._families[proposal.spec.family]
        name = f"replayed-{proposal.spec.name}-{proposal.spec.number}"
        family.propose(name, proposal.spec.number, proposal.draws)
        for row in running_best(result):
            family.on_trial_result(name, row)
        family.on_trial_complete(name, final_row(result, ndcg))

    def on_trial_result(self, trial_id: str, result: JsonObject) -> None:
        spec = self._out[trial_id].spec
        if spec.family in self._families:
            self._families[spec.family].on_trial_result(str(spec.number), result)

    def on_trial_complete(self, trial_id: str, result: JsonObject | None = None, error: bool = False) -> None:
        proposal = self._out.pop(trial_id)
        del self._lanes[trial_id]
        spec = proposal.spec
        if error:
            self._died[spec.number] += 1
            if not self.is_abandoned(spec.number):
                self._waiting.insert(0, proposal)
                return
        if spec.family in self._families:
            self._families[spec.family].on_trial_complete(str(spec.number), result, error)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: a run is resumed from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is resumed from its journal")

    def __getstate__(self) -> JsonObject:
        """Empty, for the same reason: Tune pickles its searcher."""
        return {}


def running_best(result: TrialResult) -> list[JsonObject]:
    """The rows that a trial reported after each epoch: its best rmse so far."""
    best = math.inf
    rows = []
    for report in result.reports:
        best = min(best, report.rmse) if math.isfinite(report.rmse) else best
        rows.append({"epoch": report.epoch, "rmse": best})
    return rows


def final_row(result: TrialResult, ndcg: float | None) -> JsonObject:
    """The row that a trial reported at its end."""
    figures = {"rmse": result.rmse, "loss": result.loss, "ndcg_at_10": ndcg, **result.list_metrics}
    return {"status": result.status.value, "gap": result.gap, **figures}
