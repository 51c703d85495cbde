"""The settings that a search varied, and how much each mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys.training.trial_types import TrialResult, TrialStatus
from recsys.types import JsonObject

FEWEST_TRIALS = 8  # finished ones; with fewer, importances are noise
MOST_SHOWN = 8


@dataclass(frozen=True)
class Parameter:
    """A setting: its numeric ``values`` low to high, or its ``options`` by label."""

    name: str
    values: tuple[float, ...] = ()
    options: tuple[str, ...] = ()
    log: bool = False
    importance: float | None = None

    def position(self, config: JsonObject) -> float:
        """0 to 1 along the setting's axis."""
        value = config.get(self.name)
        if self.options:
            label = value_text(value)
            return self.options.index(label) / max(1, len(self.options) - 1) if label in self.options else 0.0
        low, high = self.values[0], self.values[-1]
        number = float(value) if isinstance(value, int | float) else low
        if self.log:
            return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
        return (number - low) / (high - low)

    def ends(self) -> tuple[str, str]:
        """The labels at the bottom and the top of the axis."""
        if self.options:
            return self.options[0], self.options[-1]
        return value_text(self.values[0]), value_text(self.values[-1])


def varied(trials: Sequence[TrialResult]) -> list[Parameter]:
    """The parameters that differ between the trials, most important first where that can be estimated."""
    if not trials:
        return []
    names = set.intersection(*(set(trial.spec.config) for trial in trials))
    candidates = [_parameter(name, [trial.spec.config[name] for trial in trials]) for name in sorted(names)]
    parameters = [parameter for parameter in candidates if parameter is not None]
    weights = importances(trials, parameters)
    known = [
        Parameter(p.name, p.values, p.options, p.log, importance=weights.get(p.name)) for p in parameters
    ]
    return sorted(known, key=lambda parameter: -(parameter.importance or 0.0))


def importances(trials: Sequence[TrialResult], parameters: Sequence[Parameter]) -> dict[str, float]:
    """Share of the variance in rmse that each setting explains (fANOVA); {} with too few finished trials."""
    scored = [
        trial
        for trial in trials
        if trial.status is TrialStatus.FINISHED and trial.rmse is not None and math.isfinite(trial.rmse)
    ]
    if len(scored) < FEWEST_TRIALS or not parameters:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    distributions = {parameter.name: _distribution(parameter) for parameter in parameters}
    for trial in scored:
        settings = {
            parameter.name: value_text(trial.spec.config[parameter.name])
            if parameter.options
            else float(trial.spec.config[parameter.name])
            for parameter in parameters
        }
        study.add_trial(optuna.create_trial(params=settings, distributions=distributions, value=trial.rmse))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (RuntimeError, ValueError):  # no variance to share out
        return {}


def _distribution(parameter: Parameter) -> Any:
    import optuna

    if parameter.options:
        return optuna.distributions.CategoricalDistribution(parameter.options)
    return optuna.distributions.FloatDistribution(
        parameter.values[0], parameter.values[-1], log=parameter.log
    )


def _parameter(name: str, values: Sequence[Any]) -> Parameter | None:
    """The setting, or None when it never changes."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = tuple(sorted({float(value) for value in values}))
        if len(numbers) < 2:
            return None
        return Parameter(name, values=numbers, log=numbers[0] > 0 and numbers[-1] / numbers[0] >= 30)
    options = tuple(sorted({value_text(value) for value in values}))
    return Parameter(name, options=options) if len(options) > 1 else None


def value_text(value: Any) -> str:
    """A setting's value, short: lists as widths, numbers to three digits."""
    if isinstance(value, list | tuple):
        return "-".join(value_text(entry) for entry in value)
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def name_of(trial: TrialResult) -> str:
    """The trial's name with its number, once."""
    number = str(trial.spec.number)
    return trial.spec.name if number in trial.spec.name else f"{trial.spec.name} (trial {number})"
