"""Which trial does what, fixed before the run starts: numbers, families and origins.

Trial 0 is the formula, trial 1 the template; then the configs that the search is given to start at, so
that a run which hits its cap has tried those; then the references (the formula to its own early stop:
long, so not last), and the trials that are drawn with the baselines' spread evenly between them. Pure: the
same plan always gives the same sequence, which is what lets a resumed run go on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.models.registry import family_named
from search.config.plan import SUBJECT, SearchPlan

Origin = Literal["formula", "template", "start-from", "reference", "baseline", "search", "experiment"]


@dataclass(frozen=True)
class TrialSlot:
    """One trial to come. ``name`` is "" where the trial is named after its number."""

    number: int
    family: str
    origin: Origin
    name: str = ""


# The formula to its own early stop, by how BatchNorm's statistics are had.
REFERENCES = {"formula to its end": "batch", "formula to its end, recalibrated": "batch_recalibrated"}


def trial_sequence(plan: SearchPlan, *, given: Sequence[str] = ()) -> tuple[TrialSlot, ...]:
    """Every trial of ``plan`` in starting order. ``given`` are families of configs to start the search at."""
    searched = _shares(plan.families, plan.trials - 2)
    subject_trials = searched.count(SUBJECT) + 2
    per_baseline = plan.baseline_trials or subject_trials
    baselines = [
        name
        for turn in range(per_baseline)
        for name in plan.baselines
        if turn == 0 or family_named(name).ranges
    ]
    starts = []
    for family in given:
        if family in searched:
            searched.remove(family)
            starts.append(family)
    slots: list[tuple[str, Origin, str]] = [
        (SUBJECT, "formula", "formula"),
        (SUBJECT, "template", plan.template),
        *((family, "start-from", "") for family in starts),
    ]
    if plan.reference.enabled:
        slots += [(SUBJECT, "reference", name) for name in REFERENCES]
    for family, is_baseline in _interleave(searched, baselines):
        slots.append((family, "baseline" if is_baseline else "search", ""))
    return tuple(
        TrialSlot(number, family, origin, name) for number, (family, origin, name) in enumerate(slots)
    )


def _shares(shares: dict[str, float], count: int) -> list[str]:
    """``count`` names whose running counts follow ``shares`` as closely as whole numbers can."""
    total = sum(shares.values())
    names: list[str] = []
    for position in range(1, count + 1):
        behind = {
            name: share / total * position - names.count(name) for name, share in shares.items() if share > 0
        }
        names.append(max(behind, key=lambda name: behind[name]))
    return names


def _interleave(searched: list[str], baselines: list[str]) -> list[tuple[str, bool]]:
    """Both lists in order, spread evenly over each other; whether each is a baseline."""
    keyed = [((place + 0.5) / len(searched), False, name) for place, name in enumerate(searched)]
    keyed += [((place + 0.5) / len(baselines), True, name) for place, name in enumerate(baselines)]
    return [(name, is_baseline) for _, is_baseline, name in sorted(keyed, key=lambda row: row[:2])]
