"""Which trial does what, fixed before the run starts: numbers, families and origins.

Trial 0 is the formula, trial 1 the template; then come the references (long, so they start early) and
the searched trials with the baselines' trials spread evenly between them. Pure: the same plan always
gives the same sequence, which is what lets a resumed run go on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.models.registry import family_named
from search.plan import SUBJECT, SearchPlan

Origin = Literal["formula", "template", "start-from", "reference", "baseline", "search", "experiment"]


@dataclass(frozen=True)
class Slot:
    """One trial to come. ``name`` is "" where the trial is named after its number."""

    number: int
    family: str
    origin: Origin
    name: str = ""


# The formula to its own early stop, by how BatchNorm's statistics are had.
REFERENCES = {"formula to its end": "batch", "formula to its end, recalibrated": "batch_recalibrated"}


def trial_sequence(plan: SearchPlan, *, given: Sequence[str] = ()) -> tuple[Slot, ...]:
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
    slots: list[tuple[str, Origin, str]] = [
        (SUBJECT, "formula", "formula"),
        (SUBJECT, "template", plan.template),
    ]
    if plan.reference.enabled:
        slots += [(SUBJECT, "reference", name) for name in REFERENCES]
    waiting = list(given)
    for kind, family in _interleave(searched, baselines):
        if kind == "baseline":
            slots.append((family, "baseline", ""))
        elif family in waiting:
            waiting.remove(family)
            slots.append((family, "start-from", ""))
        else:
            slots.append((family, "search", ""))
    return tuple(Slot(number, family, origin, name) for number, (family, origin, name) in enumerate(slots))


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


def _interleave(searched: list[str], baselines: list[str]) -> list[tuple[str, str]]:
    """Both lists in order, spread evenly over each other."""
    keyed = [((place + 0.5) / len(searched), 0, "search", name) for place, name in enumerate(searched)]
    keyed += [((place + 0.5) / len(baselines), 1, "baseline", name) for place, name in enumerate(baselines)]
    return [(kind, name) for _, _, kind, name in sorted(keyed, key=lambda row: (row[0], row[1]))]
