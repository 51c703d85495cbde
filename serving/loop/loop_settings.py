"""serving/loop.yaml as one checked value: when to retrain, on what budget, and what a release must show."""

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
    """A cycle begins when one of these holds, but at most once in ``at_least_hours``.

    ``every_hours`` since the last cycle began, null is off; ``new_ratings`` since the last dataset, null is
    off; ``drift``: a signal with power has drifted since the last cycle began."""

    every_hours: Hours | None = 168.0
    new_ratings: Annotated[int, Field(gt=0)] | None = 10_000
    drift: bool = True
    at_least_hours: Annotated[float, Field(ge=0)] = 6.0


class SearchSettings(SettingsModel):
    """``plan`` is a file or name of search/plans; ``max_usd`` and ``max_hours`` cap one search, ``month_usd``
    all searches of a calendar month (UTC); ``price_usd`` an hour of this machine; ``cluster`` a YAML of
    clusters/, null is this machine; ``retries`` of a search that failed while running; ``options`` are
    further options of search/breakthrough.py."""

    plan: str = "quick"
    max_usd: Annotated[float, Field(gt=0)] = 5.0
    max_hours: Hours = 2.0
    month_usd: Annotated[float, Field(gt=0)] = 20.0
    price_usd: Annotated[float, Field(ge=0)] = 0.0
    cluster: str | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    options: list[str] = Field(default_factory=list)


class ComparisonSettings(SettingsModel):
    """Shadow answers first (``shadow_hours`` with ``shadow_answers``), then of ``kind`` "split" ``share`` of
    the users get the candidate, of "interleaved" all get lists merged of both, until ``metric`` (null: the
    experiment's primary one) decides or ``longest_hours`` are over.

    ``alpha_a_year`` is the chance of any false verdict in a year: each of at most ``comparisons_a_year`` is
    given an equal part of it."""

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
        """Of one comparison."""
        return self.alpha_a_year / self.comparisons_a_year


class LastStageSettings(SettingsModel):
    """From the comparison's share to everybody: ``stages`` rise to 1, each holds ``hold_hours`` with
    ``minimum_exposures`` answers; not done within ``longest_hours``, it goes back."""

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
    """``serve`` is the server's own YAML: its event store, experiment and metrics; ``events`` replaces its
    event store; ``run`` is the run whose data is the base, null is that of the release in service;
    ``folder`` holds journal, lease and the runs; ``poll_seconds`` between two looks;
    ``notify`` a JSON webhook (Discord's comes from DISCORD_WEBHOOK_URL)."""

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
    """Raises InputError that names the first thing wrong in ``path``."""
    try:
        return LoopSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError:
        raise InputError(f"there is no {path}; serving/loop.yaml is one to start from") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None
