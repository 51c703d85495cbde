"""The sequence of a run's trials, fixed before it starts: numbers, families and origins.

Trial 0 is the formula, trial 1 the template; then the configs that the search is given to start at and the
list families' own starting points, so that a run which hits its cap has tried those; then the references (the
formula to its own early stop: long, so not last), the trials that are drawn with the baselines' spread evenly
between them, and the list trials that are drawn (a second each). Numbers are the rating track's first, so
that they do not depend on the lists. Pure: the same plan always gives the same sequence, which is what lets
a resumed run go on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.models.registry import family_named
from search.config.plan import SUBJECT, SearchPlan
from search.config.tracks import Track, search_family

Origin = Literal["formula", "template", "start-from", "reference", "baseline", "search", "experiment"]


@dataclass(frozen=True)
class TrialSlot:
    """One trial to come. ``name`` is "" where the trial is named after its number."""

    number: int
    family: str
    origin: Origin
    name: str = ""
    start: int | None = None  # which of a list family's own starting points

    @property
    def track(self) -> Track:
        return search_family(self.family).track

    def epochs(self, plan: SearchPlan) -> int:
        """At most."""
        longest = {"reference": plan.reference.epochs, "baseline": plan.baseline_epochs or plan.epochs}
        epochs = longest.get(self.origin, plan.epochs)
        return min(epochs, search_family(self.family).most_epochs or epochs)


# The formula to its own early stop, by how BatchNorm's statistics are had.
REFERENCES = {"formula to its end": "batch", "formula to its end, recalibrated": "batch_recalibrated"}


def trial_sequence(plan: SearchPlan, *, start_families: Sequence[str] = ()) -> tuple[TrialSlot, ...]:
    """Every trial of ``plan`` in starting order. ``start_families`` are those of the start points."""
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
    for family in start_families:
        if family in searched:
            searched.remove(family)
            starts.append(family)
    slots: list[tuple[str, Origin, str]] = [
        (SUBJECT, "formula", "formula"),
        (SUBJECT, "template", plan.template),
        *((family, "start-from", "") for family in starts),
    ]
    before_lists = len(slots)
    if plan.reference.enabled:
        slots += [(SUBJECT, "reference", name) for name in REFERENCES]
    for family, is_baseline in _interleave(searched, baselines):
        slots.append((family, "baseline" if is_baseline else "search", ""))
    rating = [TrialSlot(number, family, origin, name) for number, (family, origin, name) in enumerate(slots)]
    lists = list_slots(plan, first=len(rating))
    starts_of_lists = [slot for slot in lists if slot.start is not None]
    drawn = lists[len(starts_of_lists) :]
    return (*rating[:before_lists], *starts_of_lists, *rating[before_lists:], *drawn)


def list_slots(plan: SearchPlan, *, first: int = 0) -> list[TrialSlot]:
    """The list trials of ``plan``, numbered from ``first``: every family's first starting point, then the
    second ones, and so on, then draws by the families' shares. A family at share 0 is left out."""
    count, shares = plan.list_trial_count, plan.list_families
    families = [search_family(name) for name in shares if shares[name] > 0]
    most = max((len(family.starts) for family in families), default=0)
    starts = [(family.name, rank) for rank in range(most) for family in families if rank < len(family.starts)]
    drawn = _shares(shares, max(count - len(starts), 0)) if families else []
    slots = [*starts, *((name, None) for name in drawn)][:count]
    return [
        TrialSlot(first + index, name, "search", start=start) for index, (name, start) in enumerate(slots)
    ]


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
    keyed = [((index + 0.5) / len(searched), False, name) for index, name in enumerate(searched)]
    keyed += [((index + 0.5) / len(baselines), True, name) for index, name in enumerate(baselines)]
    return [(name, is_baseline) for _, is_baseline, name in sorted(keyed, key=lambda row: row[:2])]
