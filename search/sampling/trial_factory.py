"""Makes the trial of each slot in the sequence: its config, epochs and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsys.bounds import SMALL_BATCH_SIZE, DataShape
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.seeds import derive_seed
from recsys.training.serialization import plain
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.plan import SUBJECT, SearchPlan
from search.config.template import Template, load_template
from search.config.tracks import search_family
from search.sampling.search_space import Space
from search.sampling.trial_check import check_trial, corner_configs
from search.sampling.trial_slots import REFERENCES, TrialSlot

# draw(family, fixed draws or None) -> (config fields, draws)
Draw = Callable[[str, JsonObject | None], tuple[JsonObject, JsonObject]]


SCALED = ", scaled"  # ends the name of a template that had to be scaled into the bounds
# A config to start the search at, and its family.
Point = tuple[str, JsonObject]


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its spec, and the draws that gave it (None where the sampler does not know it)."""

    spec: TrialSpec
    draws: JsonObject | None


class TrialFactory:
    """Makes the trials of one run. ``start_points`` are (family, config) to start the search at, best first.

    Options that ``data`` cannot feed are not drawn. Raises InputError where the plan fixes one of them, or
    a value outside the safe bounds."""

    def __init__(
        self,
        plan: SearchPlan,
        data: TrainingData,
        shape: DataShape,
        sequence: tuple[TrialSlot, ...],
        start_points: list[Point],
    ) -> None:
        self._plan = plan
        self.sequence = sequence
        self._slots = {slot.number: slot for slot in sequence}
        self._start_points = start_points
        families = {slot.family for slot in sequence}
        self._batch: JsonObject = {"batch_size": SMALL_BATCH_SIZE} if plan.small_batch else {}
        self.spaces = {
            name: Space(
                name,
                shape,
                fixed={
                    **search_family(name).forced_defaults(data),
                    **plan.fixed.get(name, {}),
                    **(self._batch if name == SUBJECT else {}),
                },
                small_batch=plan.small_batch,
            )
            for name in sorted(families)
        }
        self.template_name, self._template = self._scaled_template()
        self.spaces[SUBJECT].require_safe()
        self._check_every_trial(data, shape)

    def searched_families(self) -> list[str]:
        """Families with something to draw."""
        return [name for name, space in self.spaces.items() if space.ranges]

    def compose(self, number: int, draw: Draw) -> Proposal:
        """The trial at ``number``."""
        slot = self._slots[number]
        config, fixed = self._start_config(slot)
        if config is None:
            config, draws = draw(slot.family, None)
            return Proposal(self._spec(slot, config), draws)
        if fixed is not None and self.spaces[slot.family].ranges:
            _, fixed = draw(slot.family, fixed)
        return Proposal(self._spec(slot, config), fixed)

    def _start_config(self, slot: TrialSlot) -> tuple[JsonObject | None, JsonObject | None]:
        """(config that is set rather than drawn, or None; the draws that it amounts to, if any)."""
        space = self.spaces[slot.family]
        if slot.origin == "formula":
            return self._batch, space.describe({})
        if slot.origin == "reference":
            return {"normalisation": REFERENCES[slot.name], **self._batch}, None
        if slot.origin == "template":
            return self._template, space.describe(self._template)
        if slot.origin == "start-from":
            points = [config for family, config in self._start_points if family == slot.family]
            index = sum(
                other.origin == "start-from" and other.family == slot.family and other.number < slot.number
                for other in self._slots.values()
            )
            config = space.inside({**points[index], **space.fixed})
            return config, space.describe(config)
        if slot.start is not None:
            config = {**search_family(slot.family).starts[slot.start], **space.fixed}
            return config, space.describe(config)
        first = min(s.number for s in self._slots.values() if s.family == slot.family)
        if slot.track == "rating" and slot.family != SUBJECT and slot.number == first:
            return dict(space.fixed), space.describe({})
        if not space.ranges:
            return dict(space.fixed), None
        return None, None

    def _spec(self, slot: TrialSlot, config: JsonObject) -> TrialSpec:
        plan, family = self._plan, search_family(slot.family)
        name = (
            self.template_name if slot.origin == "template" else slot.name or f"{slot.family}-{slot.number}"
        )
        return TrialSpec(
            number=slot.number,
            name=name,
            family=slot.family,
            config=plain(family.config(config)),
            epochs=slot.epochs(plan),
            seed=derive_seed(plan.seed, "trial", slot.number),
            prunable=slot.origin in {"search", "start-from"}
            or (slot.origin == "baseline" and slot.name == ""),
            origin=slot.origin,
            track=slot.track,
            epoch_steps=plan.epoch_steps,
        )

    def _scaled_template(self) -> tuple[str, JsonObject]:
        """The template as trial 1 runs it, and its name; the optimised one has a shorter one."""
        template = subject_template(self._plan)
        config = {**template.config, **self._batch}
        scaled = self.spaces[SUBJECT].inside(config)
        short = {"hybrid_vae_optimized": "optimised"}.get(self._plan.template, self._plan.template)
        return (short if scaled == config else f"{short}{SCALED}"), scaled

    def _check_every_trial(self, data: TrainingData, shape: DataShape) -> None:
        """Every trial that is set, and the corners of those that are drawn, must be able to start."""
        corners = {name: list(corner_configs(space)) for name, space in self.spaces.items() if space.ranges}
        drawn: set[str] = set()
        for slot in self._slots.values():
            config, _ = self._start_config(slot)
            configs = [config] if config is not None else []
            if config is None and slot.family not in drawn:
                drawn.add(slot.family)
                configs = corners.get(slot.family, [])
            for config in configs:
                check_trial(self._spec(slot, config), data, shape, small_batch=self._plan.small_batch)


def subject_template(plan: SearchPlan) -> Template:
    """The template of trial 1. Raises InputError for one of another family than the searched one."""
    template = load_template(plan.template)
    if template.family != SUBJECT:
        raise InputError(f"template {plan.template} is a {template.family}; trial 1 is a {SUBJECT}")
    return template
