"""A search of lists in this process, without Ray: the list trials of a plan, judged one after the other.

For benchmarks, and for whoever has ratings and no run. Its proposals are those of a run.
"""

from __future__ import annotations

from recsys.bounds import DataShape
from recsys.ranking.list_ensemble import ListTrial
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_validation import ListValidation
from recsys.training.trial_types import TrialStatus
from search.config.plan import SearchPlan
from search.config.tracks import search_family
from search.sampling.family_sampler import FamilySampler, sampler_settings
from search.sampling.search_space import Space
from search.sampling.trial_slots import list_slots


def search_lists(validation: ListValidation, plan: SearchPlan) -> list[ListTrial]:
    """The list trials of ``plan`` on ``validation``."""
    ratings, settings = validation.data.ratings, sampler_settings(plan, "lists")
    shape = DataShape(ratings.user_count, ratings.item_count)
    samplers: dict[str, FamilySampler] = {}
    trials: list[ListTrial] = []
    for slot in list_slots(plan):
        name, family = slot.family, search_family(slot.family)
        fixed = {**LIST_FAMILIES[name].forced_off(validation.data), **plan.fixed.get(name, {})}
        space = Space(name, shape, fixed=fixed)
        sampler = samplers.setdefault(name, FamilySampler(space, settings))
        key, values = str(slot.number), fixed
        if slot.start is not None:
            values = {**family.starts[slot.start], **fixed}
            draws = space.describe(values)
            if draws is not None and space.ranges:
                sampler.propose(key, slot.number, draws)
        elif space.ranges:
            values, _ = sampler.propose(key, slot.number)
        config = family.config(values)
        figures = validation.evaluate(name, config)
        row = {"status": TrialStatus.FINISHED.value, **figures.describe()}
        sampler.on_trial_complete(key, row)
        trials.append(ListTrial(slot.number, name, config, figures))
    return trials
