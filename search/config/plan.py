"""A search plan: what one run does, as a YAML file that a person writes and ``--set`` changes.

Read once at the door, checked, then frozen. The resolved plan is kept in the run's folder, so that
``--resume`` needs no other argument. Values only: a plan names no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from recsys.errors import InputError, suggest_names
from recsys.models.registry import FAMILIES, family_named
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.types import JsonObject
from search.config.overrides import apply_changes
from search.config.tracks import search_family
from search.config.yaml_io import read_mapping

FOLDER = Path(__file__).resolve().parents[1] / "plans"
SUBJECT = "hybrid_vae"
LIST_TRIALS = 1.5  # a rating trial, where the plan names no number

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0)]


class PlanModel(BaseModel):
    """Unknown fields are refused; values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def list_shares() -> dict[str, float]:
    """Each list family's own share."""
    return {family.name: family.share for family in LIST_FAMILIES.values()}


def list_lengths(value: Any) -> Any:
    """``5,10,20`` or a list of numbers as a tuple without repeats; 10 first, since targets are judged at
    10."""
    words = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    )
    try:
        return tuple(dict.fromkeys([10, *(int(str(word)) for word in words)]))
    except ValueError:
        raise ValueError("expected lengths of a list, e.g. 5,10,20,100") from None


ListLengths = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], BeforeValidator(list_lengths)]


class PruningOptions(PlanModel):
    """ASHA: at epochs grace, grace * reduction, ... only the best 1/reduction of a family continues."""

    enabled: bool = True  # off: every trial runs to its own early stop
    families: tuple[str, ...] = (SUBJECT,)  # whose searched trials may be pruned
    grace_epochs: PositiveInt = 4  # none is pruned before this epoch: early ranks say little
    reduction: Annotated[float, Field(gt=1)] = 2.0  # one of so many survives a rung


class SamplingOptions(PlanModel):
    """How Optuna's TPE proposes: the first draws are random, then it learns."""

    startup_trials: PositiveInt = 6  # random draws of a family before TPE models it
    multivariate: bool = False  # model the fields of a family together; on few trials it is slower
    gap_limit: float | None = None  # a train/valid gap above this (stars) counts as infeasible; null: off


class ReferenceOptions(PlanModel):
    """The owner's formula trained to its own early stop, with BatchNorm as written and recalibrated."""

    enabled: bool = True
    epochs: PositiveInt = 99  # at most so many; the owner's run stopped there


class EnsembleOptions(PlanModel):
    """Which trials are blended, and how."""

    size: PositiveInt = 8  # at most so many members
    per_family: PositiveInt = 5  # at most so many members of one family
    corrected: bool = True  # by who rates and what is rated, where that helps on folds of valid


class PlateauOptions(PlanModel):
    """When the next dollar buys nothing: the search ends after trials that improved the best too little."""

    trials: Annotated[int, Field(ge=0)] = 0  # searched trials in the window; 0: off
    improvement: Annotated[float, Field(ge=0)] = 0.0005  # of the best rmse (stars) that they must bring
    usd: Annotated[float, Field(ge=0)] = 1.0  # and at least so many dollars of trials, where there is a price


class SearchPlan(PlanModel):
    """One run. Every field may be set with ``--set name=value``; ``trials`` includes formula and template."""

    name: str = "plan"
    data: str = "ml-100k"  # a MovieLens release, a folder, a file, or synthetic:users=..,items=..,ratings=..
    split: str = "random"  # a protocol of recsys.data.protocols, e.g. per-user or strong:1000
    seed: Annotated[int, Field(ge=0)] = 0
    trials: Annotated[int, Field(ge=2)] = 16  # formula, template, then the search
    epochs: PositiveInt = 12  # at most, the same for every trial; schedules are scaled to it
    epoch_steps: PositiveInt | None = None  # training steps of an epoch at most; null: all of train
    families: dict[str, Share] = Field(
        default_factory=lambda: {SUBJECT: 1.0}
    )  # shares of the searched trials
    baselines: tuple[str, ...] = ("bias",)  # yardsticks, each tuned with as many trials as the subject
    baseline_trials: Annotated[int, Field(ge=1)] | None = None  # that number, where it should be another
    baseline_epochs: PositiveInt | None = None  # at most, for baselines; null: as every trial
    template: str = "hybrid_vae_optimized"  # trial 1: a name in search/templates or a YAML file
    points: tuple[str, ...] = ()  # templates that the search starts at, after formula and template
    fixed: dict[str, JsonObject] = Field(default_factory=dict)  # family -> field -> value, not searched
    objective: Literal["rating", "lists", "both"] = "both"  # what is searched: stars, lists, or both
    list_trials: Annotated[int, Field(ge=0)] | None = None  # of list families; null: 1.5 x trials
    list_families: dict[str, Share] = Field(default_factory=list_shares)  # shares of the list trials
    at: ListLengths = (10,)  # lengths k of the lists that the end judges, 10 among them
    max_milliseconds: Annotated[float, Field(gt=0)] | None = None  # a list's, by the blend; null: any
    objectives: tuple[Literal["rmse", "loss", "ndcg_at_10"], ...] = ("rmse",)
    pruning: PruningOptions = PruningOptions()
    plateau: PlateauOptions = PlateauOptions()
    target_loss: Annotated[float, Field(gt=0)] | None = None  # a trial's on valid that ends the search
    proposing: SamplingOptions = SamplingOptions()
    reference: ReferenceOptions = ReferenceOptions()
    ensemble: EnsembleOptions = EnsembleOptions()
    concurrency: PositiveInt | None = None  # trials at once; null: as many as GPUs, or pairs of cores
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None  # null: 1, or less once one has been measured
    small_batch: bool = False  # batch 1536 instead of 2048, where the GPU's own row asks for it
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 15.0  # between a trial's checkpoints; 0: every epoch
    worker_deaths: Annotated[int, Field(ge=0)] = 2  # restarts of a trial whose process died or hung
    silence_seconds: Annotated[float, Field(ge=0)] = (
        120.0  # without a report, at least, before a trial counts as hung; 0: never
    )
    max_cost: Annotated[float, Field(ge=0)] = 20.0  # US dollars for the whole run
    max_hours: Annotated[float, Field(gt=0)] | None = None  # of wall time for the whole run; null: no cap
    price: Annotated[float, Field(ge=0)] = 0.0  # US dollars per hour and node; 0 on your own machine
    nodes: PositiveInt = 1
    finish_minutes: Annotated[float, Field(ge=0)] = 2.0  # kept back from a cap for the end, at least 1
    retrain_on_valid: bool = (
        False  # before the evaluation on test, train the judged models again on train and valid
    )
    refit: bool = False  # after the one evaluation on test, train the members again on every slice

    @model_validator(mode="after")
    def _names_are_known(self) -> SearchPlan:
        for family in (*self.families, *self.baselines, *self.pruning.families):
            family_named(family)
        for family, fields in self.fixed.items():
            search_family(family).config(fields)
        for family in self.list_families:
            if search_family(family).track != "lists":
                families = ", ".join(LIST_FAMILIES)
                raise InputError(f"list_families: {family} predicts stars; families of lists are {families}")
        if sum(self.families.values()) <= 0:
            raise InputError("families: the shares sum to 0, expected at least one above 0")
        if len(set(self.objectives)) != len(self.objectives) or len(self.objectives) > 2:
            raise InputError(f"objectives is {list(self.objectives)}, expected one or two different ones")
        return self

    @property
    def list_trial_count(self) -> int:
        """List trials of this plan."""
        if self.objective == "rating":
            return 0
        return round(LIST_TRIALS * self.trials) if self.list_trials is None else self.list_trials


def load_plan(path: Path, changes: Mapping[str, Any] | None = None) -> SearchPlan:
    """The plan in ``path`` with ``changes`` (plan fields, dotted, or fields of a family) applied.

    Raises InputError with the file, the field and what was expected, and for a family to be trained
    whose library is not installed.
    """
    content = read_mapping(path, kind="plan")
    plan = make_plan(content, changes or {}, where=str(path))
    for name in (*(name for name, share in plan.families.items() if share), *plan.baselines):
        require_installed = family_named(name).require_installed
        if require_installed is not None:
            require_installed()
    return plan


def make_plan(content: JsonObject, changes: Mapping[str, Any], *, where: str = "the plan") -> SearchPlan:
    """A checked plan from plain values."""
    defaults = SearchPlan().model_dump(mode="json")
    accepted = _refuse_unknown(content, defaults, where=where)
    plan_changes, fixed = _sort_changes(changes, defaults)
    settings = {**defaults, **accepted}
    for shares in ("families", "list_families"):
        settings[shares] = _shares(shares, settings[shares], plan_changes)
    settings = apply_changes(settings, plan_changes, what="the plan")
    for family, fields in fixed.items():
        settings["fixed"] = {**settings["fixed"], family: {**settings["fixed"].get(family, {}), **fields}}
    if settings["objective"] == "lists":
        if settings["list_trials"] is None and isinstance(settings["trials"], int):
            settings["list_trials"] = round(LIST_TRIALS * settings["trials"])
        settings["trials"] = 2  # formula and template give the stars; the search is for lists
    try:
        return SearchPlan.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{where}: {_error_text(error)}") from None


def _refuse_unknown(content: JsonObject, defaults: JsonObject, *, where: str) -> JsonObject:
    for name, value in content.items():
        if name not in defaults:
            raise InputError(f"{where} has no field {name!r}; {suggest_names(name, defaults)}")
        inner = defaults[name]
        if isinstance(inner, dict) and inner and name not in {"families", "list_families", "fixed"}:
            if not isinstance(value, dict):
                raise InputError(f"{where}: {name} is {value!r}, expected its fields: {', '.join(inner)}")
            for field in value:
                if field not in inner:
                    raise InputError(f"{where}: {name} has no field {field!r}; {suggest_names(field, inner)}")
    return {
        name: {**defaults[name], **value}
        if name in {"pruning", "plateau", "proposing", "reference", "ensemble"}
        else value
        for name, value in content.items()
    }


def _sort_changes(
    changes: Mapping[str, Any], defaults: JsonObject
) -> tuple[dict[str, Any], dict[str, JsonObject]]:
    """Changes of the plan, and those that fix a config field (``hybrid_vae.dropout`` or just ``dropout``)."""
    of_plan: dict[str, Any] = {}
    fixed: dict[str, JsonObject] = {}
    known_families = {**FAMILIES, **LIST_FAMILIES}
    subject_fields = set(family_named(SUBJECT).config_type.__dataclass_fields__)
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head in known_families and rest:
            fixed.setdefault(head, {})[rest] = value
        elif head in defaults:
            of_plan[name] = value
        elif name in subject_fields:
            fixed.setdefault(SUBJECT, {})[name] = value
        else:
            names = {*defaults, *subject_fields, *(f"{family}." for family in known_families)}
            raise InputError(
                f"--set {name}: neither the plan nor a config has it; {suggest_names(name, names)}"
            )
    return of_plan, fixed


def _shares(field: str, shares: Any, changes: dict[str, Any]) -> Any:
    """Shares with ``changes`` applied: a new mapping, or one family's share. Used changes are removed."""
    shares = changes.pop(field, shares)
    for name in [name for name in changes if name.startswith(f"{field}.")]:
        shares = {**shares, name.removeprefix(f"{field}."): changes.pop(name)}
    return shares


def _error_text(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        location = ".".join(map(str, item["loc"]))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            parts.append(str(cause))
        else:
            parts.append(f"{location} is {item['input']!r}: {item['msg'].lower()}")
    return "; ".join(parts)
