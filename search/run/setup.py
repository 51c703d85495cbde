"""Preparation of a run: read the request, load the ratings, check everything, find finished trials.

Raises InputError for whatever is wrong; writes nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from clusters.cluster_info import read_cluster_info
from recsys.data.data_spec import DataSpec, show_download
from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import Split
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.notifications import Notifier
from recsys.ranking.list_data import with_positives
from recsys.ranking.list_holdout import holdout_shape
from recsys.ranking.list_validation import EVERYTHING_RATED, ListValidation
from recsys.seeds import derive_seed
from recsys.training.trial_types import TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.config.plan import SearchPlan
from search.config.template import load_template
from search.run.context import RunContext
from search.run.previous_run import PreviousRun
from search.run.run_plan import budget_of, on_this_cluster, refuse_small_batch, resumed_plan
from search.run.search_request import SearchRequest
from search.sampling.remaining_work import Work
from search.sampling.search_space import shape_of
from search.sampling.trial_check import check_trial
from search.sampling.trial_factory import Proposal, TrialFactory
from search.sampling.trial_slots import trial_sequence
from search.storage.run_dir import RunFolder
from search.storage.trial_dir import is_complete


def prepare(request: SearchRequest) -> RunContext:
    """Read, load and check everything that ``request`` names. Raises InputError."""
    began = time.perf_counter()
    folder = None
    if request.resume:
        folder = RunFolder.at(request.out)
        plan, about = resumed_plan(folder, request.changes or {}), folder.read_about()
        source = DataSpec.from_json(about["source"])
        specs = tuple(TrialSpec(**spec) for spec in about.get("specs", []))
        points = [(family, config) for family, config in about.get("points", [])]
    else:
        assert request.plan is not None
        assert request.source is not None
        RunFolder.require_free(request.out)
        plan, source, specs = request.plan, request.source, request.specs
        about = {}
        points = [(template.family, template.config) for template in map(load_template, plan.points)]
    cluster = read_cluster_info()
    if not request.resume:
        refuse_small_batch(plan, cluster)
    plan = on_this_cluster(plan, cluster)
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
    dataset = replace(dataset, positives=_known_positives(dataset, split))
    data = training_data(dataset, split)
    lists = None if plan.objective == "rating" else list_validation(plan, dataset, split)
    if lists is not None and lists.impossible:
        plan = plan.model_copy(update={"list_trials": 0})
    composer, numbers = None, [spec.number for spec in specs]
    if not specs:
        sequence = trial_sequence(plan, start_families=[family for family, _ in points])
        composer = TrialFactory(plan, data, shape_of(dataset), sequence, points)
        numbers = [slot.number for slot in sequence]
    journalled = [] if folder is None else [spec for spec, _ in folder.proposals()]
    for spec in (*specs, *journalled):
        check_trial(spec, data, shape_of(dataset), small_batch=plan.small_batch)
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
    work = _work(folder, numbers, earlier=[] if warm is None else warm.completed_trials())
    return RunContext(
        request=request,
        plan=plan,
        about=about,
        dataset=dataset,
        split=split,
        data=data,
        lists=lists,
        composer=composer,
        planned=len(numbers),
        work=work,
        budget=budget,
        notifier=notifier,
        resumed=request.resume,
        warm_start=about.get("warm_start"),
        specs=specs,
        seconds={"data": time.perf_counter() - began},
        cluster=cluster,
    )


def _known_positives(dataset: Dataset, split: Split) -> Ratings | None:
    """Clicks and the like that may be learned from: where test is the newest, those from before it."""
    positives, times = dataset.positives, dataset.ratings.times
    newest = split.protocol.startswith(("temporal", "future-holdout"))
    if positives is None or positives.times is None or times is None or not newest or not len(split.test):
        return positives
    return positives.take(np.flatnonzero(positives.times < times[split.test].min()))


def list_validation(plan: SearchPlan, dataset: Dataset, split: Split) -> ListValidation:
    """What the run's lists are chosen on: people's ratings of train and valid, their clicks and the like."""
    known = dataset.ratings.take(split.joined("train", "valid"))
    known = with_positives(known, dataset.positives)
    lists = ListValidation.of(
        known,
        shape=holdout_shape(split.protocol, known),
        seed=derive_seed(plan.seed, "ranker"),
        item_features=dataset.item_features,
    )
    ratings = dataset.ratings
    complete = len(ratings) >= ratings.user_count * ratings.item_count
    return replace(lists, impossible=EVERYTHING_RATED) if complete else lists


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _earlier(path: Path | None, option: str) -> PreviousRun | None:
    return None if path is None else PreviousRun.read(path, option=option)


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
    """The finished trials, those to continue from a checkpoint, and those to start."""
    if folder is None:
        return Work(done=[], unfinished=[], numbers=numbers, earlier=earlier)
    results = {result.spec.number: result for result in folder.results()}
    done, unfinished = [], []
    for spec, draws in folder.proposals():
        result = results.get(spec.number)
        complete = result is not None and is_complete(folder.trial(spec.number), result)
        if result is None or result.status is TrialStatus.STOPPED or not complete:
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
