"""What a week of runs taught, and what to try next: plain rules, each naming the figures it stands on."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError
from recsys.training.trial_types import MILESTONES, EventKind, TrialResult, TrialStatus
from search.experiments.status import ExperimentStatus, experiment_statuses, search_statuses
from search.report.parameters import importances, value_text, varied
from search.results.schema import Results
from search.results.summary import unmeasured

UNITS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0, "m": 30 * 86_400.0}
EDGE = 0.05  # of a setting's range: this close to its end, the best value may lie outside
STILL_FALLING = 0.0005  # rmse, stars: won in the last epoch of the best trial
OFTEN = 0.2  # share of the trials that a warning sign must touch to be worth a lesson


@dataclass(frozen=True)
class Review:
    """What was run between ``since`` and ``until`` (Unix seconds), what was learnt, what to try."""

    since: float
    until: float
    ran: tuple[ExperimentStatus, ...]
    waiting: tuple[ExperimentStatus, ...]
    learnt: tuple[str, ...]
    next: tuple[str, ...]


def parse_since(text: str) -> float:
    """``12h``, ``7d``, ``2w`` or ``1m`` as seconds. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdwm])", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError(f"--since {text}: expected a time such as 24h, 7d, 2w or 1m (a month of 30 days)")
    return float(match[1]) * UNITS[match[2]]


def review(home: Path, *, since_s: float, now: float) -> Review:
    """Searches and experiments of the last ``since_s`` seconds."""
    everything = [*search_statuses(home), *experiment_statuses(home)]
    since = now - since_s
    ran = [status for status in everything if status.started is not None and status.started >= since]
    earlier = [status for status in everything if status.started is not None and status.started < since]
    waiting = [status for status in everything if status.state == "created" and _created(status) >= since]
    learnt, ideas = [], []
    for group in _same_data(ran):
        learnt += _learnt(group, [status for status in earlier if _data(status) == _data(group[0])])
        ideas += _ideas(group)
    ideas += [
        f"{status.name} is unfinished: go on with it ({_resume(status)})."
        for status in ran
        if status.state != "finished"
    ]
    ideas += [
        f"{status.name} has not been run: python search/experiment.py run {status.name}" for status in waiting
    ]
    if not ran and not waiting:
        ideas.append("Nothing was run: python search/breakthrough.py")
    ordered = sorted(ran, key=lambda status: status.started or 0.0)
    return Review(since, now, tuple(ordered), tuple(waiting), tuple(learnt), tuple(dict.fromkeys(ideas)))


def _learnt(group: Sequence[ExperimentStatus], earlier: Sequence[ExperimentStatus]) -> list[str]:
    """``group``: finished runs on the same data and split."""
    name, protocol = _data(group[0])
    where = f"{name}, {protocol}"
    best = min(group, key=_rmse)
    if not math.isfinite(_rmse(best)):
        return [f"{where}: no run came to a model."]
    lines = [
        f"{where}: the best is {best.name}, valid loss {best.valid.loss:.4f}, rmse {best.valid.rmse:.4f}"
        + (f"; test loss {best.test.loss:.4f}, rmse {best.test.rmse:.4f}." if best.test.rmse else ".")
    ]
    before = min((_rmse(status) for status in earlier), default=math.inf)
    if math.isfinite(before):
        change = _rmse(best) - before
        word = "below" if change < 0 else "above"
        lines.append(
            f"{where}: that is {abs(change):.4f} stars of valid rmse {word} the best before this time."
        )
    for status in group:
        for entry in status.results.comparisons if status.results and len(status.trials) > 1 else ():
            if entry.metric == "rmse" and (entry.a, entry.b) == ("ensemble", "best"):
                verdict = "pays" if entry.better else "cannot be told from its best member"
                lines.append(f"{status.name}: blending {verdict} (test rmse {entry.difference:+.4f} stars).")
    trials = _trials(group)
    parameters = varied(trials)
    weights = importances(trials, parameters)
    for setting, weight in sorted(weights.items(), key=lambda pair: -pair[1])[:2]:
        top = min(trials, key=lambda trial: trial.rmse or math.inf)
        value = value_text(top.spec.config.get(setting))
        lines.append(
            f"{where}: {setting} explains {weight:.0%} of the differences in rmse; the best has {value}."
        )
    not_signs = {*MILESTONES, EventKind.CONTINGENCY, EventKind.TRIAL_FAILED}
    events = [event for trial in trials for event in trial.events if event.kind not in not_signs]
    signs = Counter(event.kind.value for event in events)
    lines += [f"{where}: {count} times {kind.replace('_', ' ')}." for kind, count in signs.most_common(3)]
    return lines


def _ideas(group: Sequence[ExperimentStatus]) -> list[str]:
    ideas = []
    trials = _trials(group)
    finished = [trial for trial in trials if trial.rmse is not None]
    if finished:
        best = min(finished, key=lambda trial: trial.rmse or math.inf)
        ideas += _of_the_best(best, trials)
    signs = Counter(kind for trial in trials for kind in {event.kind for event in trial.events})
    if signs[EventKind.GAP] >= max(1, OFTEN * len(trials)):
        ideas.append(
            f"The train/valid gap warned in {signs[EventKind.GAP]} trials: more dropout or weight decay."
        )
    if signs[EventKind.COLLAPSE] >= max(1, OFTEN * len(trials)):
        ideas.append(
            f"The posterior collapsed in {signs[EventKind.COLLAPSE]} trials: free bits, a lower KL weight."
        )
    if signs[EventKind.PLATEAU] >= max(1, OFTEN * len(trials)):
        ideas.append(
            f"Early plateaus in {signs[EventKind.PLATEAU]} trials: warm-up epochs, another learning rate."
        )
    failed = sum(trial.status is TrialStatus.FAILED for trial in trials)
    if failed:
        ideas.append(f"{failed} trials failed: their reasons stand in the reports.")
    singles = [
        status for status in group if status.card and len(status.trials) == 1 and status.state == "finished"
    ]
    if singles:
        status = min(singles, key=_rmse)
        ideas.append(
            f"{status.name} was run with one seed: create it again and run it with --seeds 3, "
            "which also builds an ensemble."
        )
    for status in group:
        if status.results is not None:
            ideas += _unmeasured(status.results)
    return ideas


def _of_the_best(best: TrialResult, trials: Sequence[TrialResult]) -> list[str]:
    ideas = []
    curve = [report.rmse for report in best.reports]
    if best.best_epoch == best.spec.epochs and len(curve) > 1 and curve[-2] - curve[-1] > STILL_FALLING:
        ideas.append(
            f"{best.spec.name} was still getting better at its last epoch: train longer (more epochs)."
        )
    for parameter in varied(trials):
        if parameter.options or parameter.name in ("seed",) or len(parameter.values) < 5:
            continue
        position = parameter.position(best.spec.config)
        if position <= EDGE or position >= 1 - EDGE:
            end = "low" if position <= EDGE else "high"
            value = value_text(best.spec.config[parameter.name])
            ideas.append(
                f"The best {parameter.name} ({value}) lies at the {end} end of what was tried: "
                "look beyond it, inside the safe bounds."
            )
    return ideas


def _unmeasured(results: Results) -> list[str]:
    missed = [target.name for target in results.targets if target.verdict == "missed"]
    ideas = [f"{results.name} missed: {', '.join(missed)}."] if missed else []
    return ideas + [
        f"Not measured yet ({', '.join(names)}): {command}" for command, names in unmeasured(results).items()
    ]


def _same_data(ran: Sequence[ExperimentStatus]) -> list[list[ExperimentStatus]]:
    groups: dict[tuple[str, str], list[ExperimentStatus]] = {}
    for status in ran:
        if status.results is not None:
            groups.setdefault(_data(status), []).append(status)
    return list(groups.values())


def _data(status: ExperimentStatus) -> tuple[str, str]:
    return (status.results.dataset.name, status.results.split.protocol) if status.results else ("", "")


def _trials(group: Sequence[ExperimentStatus]) -> list[TrialResult]:
    """Trials of the family that most of them are of."""
    trials = [trial for status in group for trial in status.trials]
    families = Counter(trial.spec.family for trial in trials)
    subject = families.most_common(1)[0][0] if families else ""
    return [trial for trial in trials if trial.spec.family == subject]


def _rmse(status: ExperimentStatus) -> float:
    return math.inf if status.valid.rmse is None else status.valid.rmse


def _created(status: ExperimentStatus) -> float:
    return dt.datetime.fromisoformat(status.card.created).timestamp() if status.card else 0.0


def _resume(status: ExperimentStatus) -> str:
    if status.card is not None:
        return f"python search/experiment.py run {status.name} --resume"
    return f"python search/breakthrough.py --out {status.folder} --resume"
