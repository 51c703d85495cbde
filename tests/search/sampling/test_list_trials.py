"""The list track: its proposals, and that what a search finds decides what people are shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from optuna.trial import TrialState

from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.metrics.ranking import best_of
from recsys.ranking.list_ensemble import ListTrial, blend_lists
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.training.trial_types import TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.config.plan import SearchPlan, make_plan
from search.config.tracks import search_family
from search.finalize.list_choice import choose_lists, list_trials
from search.sampling.family_sampler import FamilySampler, sampler_settings
from search.sampling.list_search import search_lists
from search.sampling.search_space import shape_of
from search.sampling.trial_factory import TrialFactory
from search.sampling.trial_slots import trial_sequence
from search.storage.trial_dir import read_result, write_list_trial
from tests.releases import make_dataset

DATASET = make_dataset(users=150, items=40, seed=5)
VALIDATION = ListValidation.of(DATASET.ratings, shape="random", seed=1)
SETTINGS = {"list_families": {"als": 2, "ease": 1}, "list_trials": 9, "fixed": {"als": {"factors": 8}}}


def plan_of(seed: int) -> SearchPlan:
    return make_plan({**SETTINGS, "seed": seed}, {})


def data() -> TrainingData:
    return training_data(DATASET, make_split(DATASET, "random", seed=0))


def test_the_same_search_gives_the_same_trials_and_another_other_lists() -> None:
    first, again, other = (search_lists(VALIDATION, plan_of(seed)) for seed in (0, 0, 1))
    assert [(trial.family, trial.config) for trial in first] == [
        (trial.family, trial.config) for trial in again
    ]
    assert [trial.family for trial in first] == [
        "als",
        "ease",
        "als",
        "ease",
        "als",
        "als",
        "als",
        "ease",
        "als",
    ]
    assert all(trial.config.factors == 8 for trial in first if trial.family == "als")
    assert [trial.config for trial in first[:6]] == [trial.config for trial in other[:6]]  # starting points
    assert [trial.config for trial in first[6:]] != [trial.config for trial in other[6:]]

    def lists(trials: list[ListTrial]) -> np.ndarray:
        ranker = blend_lists(trials, VALIDATION).fit(DATASET.ratings, seed=0)
        users = np.arange(DATASET.ratings.user_count)
        return best_of(unseen_scores(ranker, VALIDATION.data, users, users_fitted=True), 10)

    entry, two = lists([first[6]]), lists([trial for trial in other if trial.family == "ease"])
    assert (entry != two).any(axis=1).mean() > 0.9


def test_a_run_proposes_what_the_search_in_this_process_does() -> None:
    plan, slots = plan_of(0), trial_sequence(plan_of(0))
    factory = TrialFactory(plan, data(), shape_of(DATASET), slots, [])
    samplers: dict[str, FamilySampler] = {
        name: FamilySampler(factory.spaces[name], sampler_settings(plan, search_family(name).track))
        for name in factory.searched_families()
    }

    def draw(number: int, family: str, given: JsonObject | None) -> tuple[JsonObject, JsonObject]:
        return samplers[family].propose(str(number), number, given)

    expected = iter(search_lists(VALIDATION, plan))
    first = min(slot.number for slot in slots if slot.track == "lists")
    for slot in slots:
        if slot.track != "lists":
            continue
        number = slot.number - first
        spec = factory.compose(slot.number, partial(draw, number)).spec
        wanted = next(expected)
        assert (spec.family, spec.track, spec.epochs) == (wanted.family, "lists", 1)
        assert search_family(spec.family).config(spec.config) == wanted.config
        row = {"status": "finished", **wanted.figures.describe()}
        samplers[spec.family].on_trial_complete(str(number), row)


def test_a_list_family_that_trains_by_epochs_tells_its_sampler_ndcg() -> None:
    plan = make_plan({"list_families": {"hybrid_vae_lists": 1}, "list_trials": 2}, {})
    space = TrialFactory(plan, data(), shape_of(DATASET), trial_sequence(plan), []).spaces["hybrid_vae_lists"]
    sampler = FamilySampler(space, sampler_settings(plan, "lists"))
    sampler.propose("0", 0)
    for epoch, ndcg in ((1, 0.2), (2, 0.25)):
        sampler.on_trial_result("0", {"epoch": epoch, "rmse": float("inf"), "ndcg_at_10": ndcg})
    sampler.on_trial_result("0", {"epoch": 3, "rmse": float("inf")})
    assert sampler.study.trials[0].intermediate_values == {1: 0.2, 2: 0.25}
    sampler.on_trial_complete("0", {"status": "pruned"})
    assert sampler.study.trials[0].state is TrialState.PRUNED


def test_a_list_trial_is_kept_like_any_other_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "0007"
    trial = search_lists(VALIDATION, plan_of(0))[0]
    config = search_family(trial.family).config({"factors": 8})
    spec = TrialSpec(7, "als-7", "als", {"factors": 8}, 1, 0, track="lists")
    write_list_trial(folder, spec, trial.figures)
    result = read_result(folder)
    assert (result.status, result.spec, result.rmse) == (TrialStatus.FINISHED, spec, None)
    (read,) = list_trials([result])
    assert (read.number, read.config, read.figures) == (7, config, trial.figures)
    selection = choose_lists([result], VALIDATION, plan_of(0), DATASET, log=lambda line: None)
    assert selection.family == "als"


def test_without_a_list_trial_the_starting_points_are_blended() -> None:
    said: list[str] = []
    plan, nothing = make_plan({}, {}), list[TrialResult]()
    selection = choose_lists(nothing, VALIDATION, plan, DATASET, log=said.append)
    assert "no list trial ended" in said[0]
    assert selection.members
    fixed = choose_lists(nothing, None, plan, DATASET, log=said.append)
    assert fixed.reason == "the objective is ratings alone"
