"""A run that is ready to start: the checked request with its data, split, trials and budget.

Nothing is written until ``open_folder``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusters.cluster_info import ClusterInfo
from recsys.data.dataset import Dataset
from recsys.data.report import quality_lines
from recsys.data.split import Split, TrainingData
from recsys.notifications import Notifier
from recsys.ranking.list_validation import ListValidation
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.plan import SearchPlan
from search.config.tracks import search_family
from search.results.targets import LISTS_PROTOCOL
from search.run.budget import Budget, Meter, hours
from search.run.run_plan import reserve_notes
from search.run.search_request import SearchRequest
from search.sampling.remaining_work import Work
from search.sampling.trial_factory import SCALED, Draw, Proposal, TrialFactory
from search.storage.run_dir import RunFolder
from search.storage.trial_dir import RESULT

if TYPE_CHECKING:
    from search.sampling.family_sampler import FamilySampler


@dataclass
class RunContext:
    """A checked request with everything that the run needs."""

    request: SearchRequest
    plan: SearchPlan
    about: JsonObject
    dataset: Dataset
    split: Split
    data: TrainingData
    lists: ListValidation | None  # what lists are chosen on; None where the plan does not search for them
    composer: TrialFactory | None
    planned: int
    work: Work
    budget: Budget
    notifier: Notifier
    resumed: bool
    warm_start: str | None
    specs: tuple[TrialSpec, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    cluster: ClusterInfo | None = None

    @property
    def seconds_before(self) -> float:
        """Used by earlier sessions of this run."""
        return float(self.about.get("seconds", 0.0))

    @property
    def cluster_name(self) -> str:
        """Under which ``run.json`` keeps the dollars of this cluster; "" on no rented one."""
        return "" if self.cluster is None else self.cluster.name

    def usd_before(self, now: float) -> float | None:
        """Dollars spent before this session, at ``now`` (Unix seconds): on earlier clusters of the run, and
        on this one since its first create call. None where they were not counted."""
        counted: dict[str, float] = self.about.get("usd", {})
        if self.cluster is None and not counted:
            return None
        elsewhere = sum(usd for name, usd in counted.items() if name != self.cluster_name)
        here = counted.get("", 0.0) if self.cluster is None else self.cluster.spent_by(now)
        return elsewhere + here

    def meter(self, now: float) -> Meter:
        """The clock of a session that begins ``now`` (Unix seconds)."""
        meter = Meter(
            self.budget,
            now,
            before_seconds=self.seconds_before,
            before_usd=self.usd_before(now),
            rented_before=0.0 if self.cluster is None else self.cluster.spent_usd,
        )
        meter.reported = meter.share(now)
        return meter

    def about_after(self, seconds: float, *, usd: float) -> JsonObject:
        """What run.json holds after so many seconds and dollars of the whole run."""
        counted: dict[str, float] = self.about.get("usd", {})
        elsewhere = sum(spent for name, spent in counted.items() if name != self.cluster_name)
        spent = {**counted, self.cluster_name: usd - elsewhere}
        return {**self.about, "seconds": seconds, "usd": spent}

    def repeated_test_note(self) -> str:
        """What to know of test figures where an earlier session of this run reported some, else ""."""
        if not (self.resumed and (self.request.out / "results.json").exists()):
            return ""
        if self.work.count == 0:
            return (
                "this run was finished before, and no trial is added: what follows is the same look at test "
                "again, not a new measurement"
            )
        return (
            "this run has looked at test before: choosing what to do from those figures makes the next ones "
            "optimistic"
        )

    def open_folder(self) -> RunFolder:
        """The run's folder, made now (or held again), with the plan in it."""
        if self.resumed:
            folder = RunFolder.resume(self.request.out)
            for proposal in self.work.unfinished:
                _clear_end(folder.trial(proposal.spec.number))
        else:
            folder = RunFolder.create(self.request.out)
        folder.write_plan(self.plan, self.about)
        return folder

    def compose(self, number: int, draw: Draw) -> Proposal:
        if self.composer is None:
            return Proposal({spec.number: spec for spec in self.specs}[number], None)
        return self.composer.compose(number, draw)

    def families(self) -> dict[str, FamilySampler]:
        """A sampler for each family with something to draw."""
        from search.sampling.family_sampler import FamilySampler, sampler_settings  # imports Optuna

        composer = self.composer
        if composer is None:
            return {}
        return {
            name: FamilySampler(composer.spaces[name], sampler_settings(self.plan, search_family(name).track))
            for name in composer.searched_families()
        }

    def uses_gpu(self, number: int) -> bool:
        """Whether a trial is of a family that uses a GPU."""
        slots = () if self.composer is None else self.composer.sequence
        families = {spec.number: spec.family for spec in self.specs} | {s.number: s.family for s in slots}
        return search_family(families[number]).uses_gpu

    def data_bytes(self) -> int:
        """Of the training data's arrays."""
        arrays: list[Any] = [self.data.user_features, self.data.item_features]
        parts = [self.data.train, self.data.valid]
        for ratings in parts if self.lists is None else [*parts, self.lists.data.ratings]:
            arrays += [ratings.users, ratings.items, ratings.values, ratings.times]
        return sum(array.nbytes for array in arrays if array is not None)

    def introduction(self) -> list[str]:
        """The lines shown at the start: data, trials, and the most that the run can cost."""
        plan, counts = self.plan, self.split.counts()
        ratings = self.dataset.ratings
        lines = [
            f"{self.dataset.name}: {len(ratings):,} ratings, {ratings.user_count:,} users, "
            f"{ratings.item_count:,} items; split {self.split.protocol}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items() if count),
        ]
        lines += quality_lines(self.dataset)
        if counts["fold_in"]:
            people = len(np.unique(ratings.users[self.split.test]))
            lines.append(
                f"{people:,} people are held out whole: nothing is fitted on them; test folds them in from "
                f"the {counts['fold_in']:,} ratings of fold_in, for stars and lists alike"
            )
        if self.composer is not None:
            list_count = sum(slot.track == "lists" for slot in self.composer.sequence)
            lines.append(
                f"{plan.trials} trials, each of the same {plan.epochs} epochs at most, schedules scaled to "
                f"them; {self.planned - plan.trials - list_count} more for baselines and the formula's own "
                "early stop"
            )
            lines.append(self._lists_line(list_count))
            if self.composer.template_name.endswith(SCALED):
                lines.append(
                    f"trial 1 is '{self.composer.template_name}': as written it breaks the safe bounds"
                )
        before = 0.0 if self.cluster is None else self.cluster.spent_usd
        lines.append(self.budget.explained(before_usd=before))
        lines += reserve_notes(plan)
        if self.resumed:
            lines.append(
                f"going on: {len(self.work.done)} trials done, {len(self.work.unfinished)} to continue, "
                f"{len(self.work.numbers)} to start ({hours(self.seconds_before / 3600)} used so far)"
            )
        return lines

    def _lists_line(self, count: int) -> str:
        """How lists are chosen, or why they are not."""
        if self.lists is None:
            return "the objective is ratings alone: lists are a fixed ALS's, not searched"
        if self.lists.impossible:
            return f"no list can be searched: {self.lists.impossible}; the rating track goes on"
        return (
            f"{count} list trials, judged by NDCG@10 on the {self.lists.holdout.shape} quarter of "
            f"each person's train and valid ratings ({len(self.lists.holdout.users):,} people); at the end "
            f"on test of split {self.split.protocol}"
            + (
                ""
                if self.split.protocol == LISTS_PROTOCOL
                else f", and on a {LISTS_PROTOCOL} split for the plan's targets"
            )
        )


def _clear_end(folder: Path) -> None:
    """Delete a stopped trial's provisional result, so that it continues from its checkpoint."""
    (folder / RESULT).unlink(missing_ok=True)
    (folder / "valid.npy").unlink(missing_ok=True)
    shutil.rmtree(folder / "member", ignore_errors=True)
