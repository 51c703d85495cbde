"""A trial as a checkpoint and back: trainer state, best epoch, figures, events, what was changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.base import ModelArtifact
from recsys.models.registry import make_config
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.serialization import event_from_json, report_from_json, to_plain
from recsys.types import Arrays, JsonObject

if TYPE_CHECKING:
    from recsys.training.trial import Trial


def save_snapshot(trial: Trial, folder: Path) -> None:
    arrays: Arrays = {f"trainer/{name}": array for name, array in trial.last_good.items()}
    facts: JsonObject = {
        "spec": to_plain(asdict(trial.spec)),
        "config": to_plain(asdict(trial.config)),
        "reports": to_plain([asdict(report) for report in trial.reports]),
        "events": to_plain([asdict(event) for event in trial.events]),
        "responses": trial.recoveries,
        "ongoing": sorted(trial.monitor.ongoing),
        "best_epoch": trial.best_epoch,
        "seconds": trial.seconds,
    }
    member, predictions = trial.best_member, trial.best_predictions
    if member is not None and predictions is not None:
        arrays |= {f"best/{name}": array for name, array in member.arrays.items()}
        arrays["predictions"] = predictions
        facts["best"] = {
            "family": member.family,
            "settings": to_plain(member.settings),
            "scale": [member.scale.low, member.scale.high],
        }
    write_checkpoint(folder, arrays, facts)


def restore_snapshot(trial: Trial, folder: Path) -> None:
    arrays, facts = read_checkpoint(folder)
    wanted = to_plain(asdict(trial.spec))
    differing = [name for name in wanted if facts["spec"].get(name) != wanted[name]]
    if differing:
        raise InputError(f"the checkpoint in {folder} is of another trial: it differs in {differing}")
    # A copy: the map would keep the file that the next save replaces.
    state = {name: np.array(array) for name, array in arrays.items()}
    good = {
        name.removeprefix("trainer/"): array for name, array in state.items() if name.startswith("trainer/")
    }
    restorable_inputs = trial.family.restorable_inputs
    trial.trainer = trial.build_trainer(**({} if restorable_inputs is None else restorable_inputs(good)))
    trial.last_good = good
    trial.config = make_config(trial.spec.family, facts["config"])
    trial.reports = [report_from_json(one) for one in facts["reports"]]
    trial.events = [event_from_json(one) for one in facts["events"]]
    trial.recoveries = dict(facts["responses"])
    trial.monitor.ongoing = set(facts["ongoing"])
    trial.best_epoch, trial.seconds = facts["best_epoch"], facts["seconds"]
    if "best" in facts:
        best = facts["best"]
        kept = {
            name.removeprefix("best/"): array for name, array in state.items() if name.startswith("best/")
        }
        trial.best_member = ModelArtifact(best["family"], best["settings"], kept, RatingScale(*best["scale"]))
        trial.best_predictions = state["predictions"]
    trial.trainer.config = trial.config
    trial.trainer.load_state(good)
