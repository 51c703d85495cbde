"""Before a run starts: read the question, load the ratings, check everything, replay what is there.

Raises InputError for whatever is wrong; nothing is written until ``open_folder``.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusters.facts import ClusterFacts, read_facts
from recsys.bounds import SMALL_BATCH_SIZE, DataShape
from recsys.data.dataset import Dataset
from recsys.data.split import Split, TrainingData
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.notify import Notifier
from recsys.training.trials import TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.budget import Budget, hours
from search.earlier import EarlierRun
from search.plan import SearchPlan, make_plan
from search.proposals import FamilySearch, SamplerSettings
from search.run_folder import RunFolder
from search.runner.tuning import Work
from search.sequence import trial_sequence
from search.sources import Source, show_download
from search.specs import SCALED, Composer, Draw, Proposal
from search.template import load_template
from search.trial_files import RESULT

# What a resumed run may change: how far it may go, and on what; never what its trials are.
RESUMABLE = ("max_cost", "max_hours", "price", "nodes", "concurrency", "refit", "checkpoint_seconds")


@dataclass(frozen=True)
class SearchRequest:
    """What is asked. A resumed run takes plan and source from ``out``, with ``changes`` to its plan.

    ``specs`` given (an experiment) are run as they are, in place of what the plan would propose.
    """

    out: Path
    plan: SearchPlan | None = None
    source: Source | None = None
    resume: bool = False
    changes: JsonObject | None = None
    warm_start: Path | None = None
    start_from: Path | None = None
    notify: str | None = None
    command: tuple[str, ...] = ()
    cluster: JsonObject | None = None
    specs: tuple[TrialSpec, ...] = ()


@dataclass
class Prepared:
    """A checked question with everything that answering it needs."""

    request: SearchRequest
    plan: SearchPlan
    about: JsonObject
    dataset: Dataset
    split: Split
    data: TrainingData
    composer: Composer | None
    planned: int
    work: Work
    budget: Budget
    notifier: Notifier
    resumed: bool
    warm_start: str | None
    specs: tuple[TrialSpec, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def seconds_before(self) -> float:
        """Used by earlier sessions of this run."""
        return float(self.about.get("seconds", 0.0))

    def open_folder(self) -> RunFolder:
        """The run's folder, made now (or held again), with the plan in it."""
        if self.resumed:
            folder = RunFolder.resume(self.request.out)
            for proposal in self.work.unfinished:
                _forget_end(folder.trial(proposal.spec.number))
        else:
            folder = RunFolder.create(self.request.out)
        folder.write_plan(self.plan, self.about)
        return folder

    def compose(self, number: int, draw: Draw) -> Proposal:
        if self.composer is None:
            return Proposal({spec.number: spec for spec in self.specs}[number], None)
        return self.composer.compose(number, draw)

    def families(self) -> dict[str, FamilySearch]:
        """A sampler for each family with something to draw."""
        if self.composer is None:
            return {}
        settings = SamplerSettings(
            seed=self.plan.seed,
            startup_trials=self.plan.proposing.startup_trials,
            multivariate=self.plan.proposing.multivariate,
            objectives=tuple(self.plan.objectives),
            gap_limit=self.plan.proposing.gap_limit,
        )
        return {
            name: FamilySearch(self.composer.spaces[name], settings)
            for name in self.composer.searched_families()
        }

    def data_bytes(self) -> int:
        """Of the training data's arrays."""
        arrays: list[Any] = [self.data.user_features, self.data.item_features]
        for ratings in (self.data.train, self.data.valid):
            arrays += [ratings.users, ratings.items, ratings.values, ratings.times]
        return sum(array.nbytes for array in arrays if array is not None)

    def introduction(self) -> list[str]:
        """What is about to be done, with what, and what it costs at most."""
        plan, counts = self.plan, self.split.counts()
        ratings = self.dataset.ratings
        lines = [
            f"{self.dataset.name}: {len(ratings):,} ratings, {ratings.user_count:,} users, "
            f"{ratings.item_count:,} items; split {self.split.protocol}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items() if count),
        ]
        lines += quality_lines(self.dataset)
        if self.composer is not None:
            lines.append(
                f"{plan.trials} trials, each of the same {plan.epochs} epochs at most, schedules scaled to "
                f"them; {self.planned - plan.trials} more for baselines and the formula's own early stop"
            )
            if self.composer.template_name.endswith(SCALED):
                lines.append(
                    f"trial 1 is '{self.composer.template_name}': as written it breaks the safe bounds"
                )
        lines.append(self.budget.explained())
        if self.resumed:
            lines.append(
                f"going on: {len(self.work.done)} trials done, {len(self.work.unfinished)} to continue, "
                f"{len(self.work.numbers)} to start ({hours(self.seconds_before / 3600)} used so far)"
            )
        return lines


def prepare(request: SearchRequest) -> Prepared:
    """Read, load and check all that ``request`` names. Raises InputError."""
    began = time.perf_counter()
    folder = None
    if request.resume:
        folder = RunFolder.at(request.out)
        plan, about = _resumed_plan(folder, request.changes or {}), folder.read_about()
        source = Source.from_json(about["source"])
        specs = tuple(TrialSpec(**spec) for spec in about.get("specs", []))
        points = [(family, config) for family, config in about.get("points", [])]
    else:
        assert request.plan is not None
        assert request.source is not None
        RunFolder.require_free(request.out)
        plan, source, specs = request.plan, request.source, request.specs
        about, points = {}, [(one.family, one.config) for one in map(load_template, plan.points)]
    plan = on_this_cluster(plan, read_facts())
    budget = budget_of(plan)
    notifier = Notifier.from_environment(request.notify)
    started_from = _earlier(request.start_from, "--start-from")
    warm = _earlier(request.warm_start or _path(about.get("warm_start")), "--warm-start")
    dataset = source.load(show_download)
    split = make_split(dataset, plan.split, seed=plan.seed)
    _require_same(about, dataset, split)
    if warm is not None:
        warm.require_same_data(dataset, split)
    if started_from is not None:
        points = started_from.best_configs() + points
    data = training_data(dataset, split)
    composer, numbers = None, [spec.number for spec in specs]
    if not specs:
        sequence = trial_sequence(plan, given=[family for family, _ in points])
        composer = Composer(plan, shape_of(dataset), sequence, points)
        numbers = [slot.number for slot in sequence]
    if not request.resume:
        about = {
            "name": request.out.name,
            "created": time.time(),
            "command": list(request.command),
            "source": source.to_json(),
            "sha256": dataset.sha256,
            "split_fingerprint": split.fingerprint,
            "warm_start": None if warm is None else str(warm.path),
            "points": points,
            "specs": [vars(spec) for spec in specs],
            "cluster": request.cluster or {},
            "seconds": 0.0,
        }
    work = _work(folder, numbers, earlier=[] if warm is None else warm.lessons())
    return Prepared(
        request=request,
        plan=plan,
        about=about,
        dataset=dataset,
        split=split,
        data=data,
        composer=composer,
        planned=len(numbers),
        work=work,
        budget=budget,
        notifier=notifier,
        resumed=request.resume,
        warm_start=about.get("warm_start"),
        specs=specs,
        seconds={"data": time.perf_counter() - began},
    )


def shape_of(dataset: Dataset) -> DataShape:
    """What the bounds count tables by."""
    return DataShape(
        users=dataset.ratings.user_count,
        items=dataset.ratings.item_count,
        user_features=0 if dataset.user_features is None else dataset.user_features.shape[1],
        item_features=0 if dataset.item_features is None else dataset.item_features.shape[1],
    )


def on_this_cluster(plan: SearchPlan, facts: ClusterFacts | None) -> SearchPlan:
    """``plan`` with what its rented GPUs ask for: trials a GPU, and the batch of their own row."""
    if facts is None:
        return plan
    share = 1 / max(facts.trials_per_gpu, 1)
    small = plan.small_batch or facts.batch_size == SMALL_BATCH_SIZE
    return plan.model_copy(update={"gpus_per_trial": share, "small_batch": small})


def budget_of(plan: SearchPlan) -> Budget:
    return Budget(
        price_usd=plan.price,
        nodes=plan.nodes,
        max_usd=plan.max_cost,
        max_hours=plan.max_hours,
        finish_hours=plan.finish_minutes / 60,
    )


def quality_lines(dataset: Dataset) -> list[str]:
    """What was left out at load, where anything was."""
    quality = dataset.quality
    if not quality.left_out:
        return []
    kinds = {
        "unparsable": quality.unparsable,
        "outside the scale": quality.outside_scale,
        "duplicate pairs": quality.duplicate_pairs,
        "impossible times": quality.impossible_times,
    }
    found = ", ".join(f"{count:,} {name}" for name, count in kinds.items() if count)
    return [f"left out {quality.left_out:,} of {quality.rows:,} rows: {found}"]


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _earlier(path: Path | None, option: str) -> EarlierRun | None:
    return None if path is None else EarlierRun.read(path, option=option)


def _resumed_plan(folder: RunFolder, changes: JsonObject) -> SearchPlan:
    """The run's own plan; what defines its trials stays as it was."""
    for name in changes:
        if name not in RESUMABLE:
            raise InputError(
                f"--resume goes on with the run's own plan, so {name} stays as it is; "
                f"what may change is: {', '.join(RESUMABLE)}"
            )
    settings = folder.read_plan().model_dump(mode="json")
    return make_plan({**settings, **changes}, {})


def _require_same(about: JsonObject, dataset: Dataset, split: Split) -> None:
    for key, value in (("sha256", dataset.sha256), ("split_fingerprint", split.fingerprint)):
        if about.get(key, value) != value:
            raise InputError(
                f"--resume: the ratings are not those that the run was started on ({key} {value[:12]}, "
                f"then {about[key][:12]}); put the old data back, or start a new run"
            )


def _work(
    folder: RunFolder | None, numbers: list[int], *, earlier: list[tuple[Proposal, TrialResult]]
) -> Work:
    """What is done, what goes on from a checkpoint, what starts."""
    if folder is None:
        return Work(done=[], unfinished=[], numbers=numbers, earlier=earlier)
    results = {result.spec.number: result for result in folder.results()}
    done, unfinished = [], []
    for spec, draws in folder.proposals():
        result = results.get(spec.number)
        if result is None or result.status is TrialStatus.STOPPED:
            unfinished.append(Proposal(spec, draws))
        else:
            done.append((Proposal(spec, draws), result))
    proposed = {spec.number for spec, _ in folder.proposals()}
    return Work(
        done=done,
        unfinished=unfinished,
        numbers=[number for number in numbers if number not in proposed],
        earlier=earlier,
    )


def _forget_end(folder: Path) -> None:
    """A trial that was stopped goes on: its provisional end is taken back, its checkpoint stays."""
    (folder / RESULT).unlink(missing_ok=True)
    (folder / "valid.npy").unlink(missing_ok=True)
    shutil.rmtree(folder / "member", ignore_errors=True)
