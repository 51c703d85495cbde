"""Settings of the loop (serving/loop.yaml): triggers, search budget, comparison and roll-out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from recsys.errors import InputError
from serving.domain import ExperimentKind
from serving.experiment_settings import SettingsModel, first_fault

Hours = Annotated[float, Field(gt=0)]


class TriggerSettings(SettingsModel):
    """A cycle begins when any trigger holds, but at most once in ``at_least_hours``.

    Attributes:
        every_hours: hours since the last cycle began; null is off.
        new_ratings: ratings since the last cycle's data; null is off.
        drift: a signal has drifted since the last cycle began.
        at_least_hours: between the beginnings of two cycles.
    """

    every_hours: Hours | None = 168.0
    new_ratings: Annotated[int, Field(gt=0)] | None = 10_000
    drift: bool = True
    at_least_hours: Annotated[float, Field(ge=0)] = 6.0


class SearchSettings(SettingsModel):
    """The search of a cycle.

    Attributes:
        plan: a file, or a name in search/plans.
        max_usd, max_hours: caps of one search.
        month_usd: cap of all searches in a calendar month (UTC).
        price_usd: price of an hour of this machine.
        cluster: a YAML of clusters/; null is this machine.
        retries: of a search that failed while running.
        options: further options of search/breakthrough.py.
    """

    plan: str = "quick"
    max_usd: Annotated[float, Field(gt=0)] = 5.0
    max_hours: Hours = 2.0
    month_usd: Annotated[float, Field(gt=0)] = 20.0
    price_usd: Annotated[float, Field(ge=0)] = 0.0
    cluster: str | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    options: list[str] = Field(default_factory=list)


class ComparisonSettings(SettingsModel):
    """The comparison of a candidate with the release in service: shadow answers first, then shown ones.

    Attributes:
        kind: "split": ``share`` of the users get the candidate; "interleaved": all get merged lists.
        shadow_hours, shadow_answers: both must be reached before the candidate is shown.
        share: of the baseline's users.
        metric: the metric that decides; null: the experiment's primary one.
        alpha_a_year: probability of any false verdict in a year, divided over ``comparisons_a_year``.
        comparisons_a_year: largest number of comparisons in a year.
        longest_hours: a comparison without a verdict ends after it.
    """

    kind: ExperimentKind = "split"
    shadow_hours: Annotated[float, Field(ge=0)] = 1.0
    shadow_answers: Annotated[int, Field(ge=0)] = 200
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    metric: str | None = None
    alpha_a_year: Annotated[float, Field(gt=0, lt=1)] = 0.05
    comparisons_a_year: Annotated[int, Field(ge=1, le=1000)] = 12
    longest_hours: Hours = 336.0

    @property
    def alpha(self) -> float:
        """The alpha of one comparison."""
        return self.alpha_a_year / self.comparisons_a_year


class LastStageSettings(SettingsModel):
    """The roll-out after the comparison: ``stages`` rise to 1, each holds for ``hold_hours`` with
    ``minimum_exposures`` answers; a roll-out not done within ``longest_hours`` is rolled back."""

    stages: list[float] = Field(default_factory=lambda: [0.5, 1.0])
    hold_hours: Annotated[float, Field(ge=0)] = 1.0
    minimum_exposures: Annotated[int, Field(ge=0)] = 200
    longest_hours: Hours = 48.0

    @model_validator(mode="after")
    def _rising(self) -> LastStageSettings:
        if self.stages != sorted(set(self.stages)) or not self.stages or self.stages[-1] != 1.0:
            raise ValueError(f"stages must rise to 1.0, got {self.stages}")
        return self


class LoopSettings(SettingsModel):
    """The loop.

    Attributes:
        serve: the server's YAML, for its event store, experiment and metrics.
        events: replaces the server's event store.
        run: the run whose data are the base; null: that of the release in service.
        folder: of journal, lease and runs.
        poll_seconds: between two steps.
        notify: a JSON webhook (Discord's comes from DISCORD_WEBHOOK_URL).
    """

    serve: str = "serving/serve.yaml"
    events: str | None = None
    run: str | None = None
    folder: str = "runs/loop"
    triggers: TriggerSettings = Field(default_factory=TriggerSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    comparison: ComparisonSettings = Field(default_factory=ComparisonSettings)
    rollout: LastStageSettings = Field(default_factory=LastStageSettings)
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    notify: str | None = None


def read_loop_settings(path: Path) -> LoopSettings:
    """The settings in ``path``. Raises InputError that names the first invalid field."""
    try:
        return LoopSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError:
        raise InputError(f"there is no {path}; serving/loop.yaml is one to start from") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None
