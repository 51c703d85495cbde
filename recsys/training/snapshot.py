"""A trial as a checkpoint and back: trainer state, best epoch, figures, events, what was changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.bounds import DataShape, require_safe
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.base import ModelArtifact
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.serialization import event_from_json, report_from_json, to_plain
from recsys.training.trial_types import ConfigChange, EventKind
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
        "config_changes": to_plain([asdict(change) for change in trial.config_changes]),
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
    config, changes = _checked_config(trial, facts, folder)
    # A copy: the map would keep the file that the next save replaces.
    state = {name: np.array(array) for name, array in arrays.items()}
    good = {
        name.removeprefix("trainer/"): array for name, array in state.items() if name.startswith("trainer/")
    }
    restorable_inputs = trial.family.restorable_inputs
    trial.trainer = trial.build_trainer(**({} if restorable_inputs is None else restorable_inputs(good)))
    trial.last_good = good
    trial.config, trial.config_changes = config, changes
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


# What a recovery may change (recsys.training.recovery); every other field is the trial's own.
RECOVERABLE = frozenset(
    {
        "batch_size",
        "kl_weight",
        "kl_schedule",
        "learning_rate",
        "warmup_start",
        "warmup_epochs",
        "free_bits",
    }
)


def _checked_config(trial: Trial, facts: JsonObject, folder: Path) -> tuple[Any, list[ConfigChange]]:
    """The checkpoint's config, which must be the trial's own with the changes that its recoveries made.

    Raises InputError where another field differs, where a change is on no record, and where a hybrid VAE
    would go on outside the safe bounds.
    """
    config = make_config(trial.spec.family, facts["config"])
    fresh, saved = to_plain(asdict(trial.config)), to_plain(asdict(config))
    changes = [ConfigChange(**change) for change in facts.get("config_changes", ())]
    if "config_changes" in facts:
        expected = fresh | {name: value for change in changes for name, value in change.changes.items()}
    else:  # written before changes were recorded: a recovery may have set these
        allowed = RECOVERABLE if facts["responses"] else frozenset()
        expected = fresh | {name: saved[name] for name in allowed if name in saved}
        moved = {name: saved[name] for name in saved if saved[name] != fresh[name]}
        changes = [ConfigChange(0, moved)] if moved else []
    unknown = {name for change in changes for name in change.changes} - RECOVERABLE
    differing = sorted(name for name in saved if saved[name] != expected[name] or name in unknown)
    if differing or (changes and not facts["responses"]):
        shown = ", ".join(f"{name} {saved[name]!r}, the trial has {fresh[name]!r}" for name in differing)
        raise InputError(
            f"the checkpoint in {folder} was trained with another config "
            f"({shown or 'changes on no record'}); delete it to train the trial from its start"
        )
    if isinstance(config, HybridVaeConfig):
        small = trial.small_batch_allowed or EventKind.OUT_OF_MEMORY.value in facts["responses"]
        require_safe(
            config, DataShape.of(trial.data), small_batch_allowed=small, where=f"the checkpoint in {folder}"
        )
    return config, changes
