"""Checkpoints of a trial: its progress and its trainer's state, with the config checked on reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys.bounds import DataShape, require_safe
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.base import ModelArtifact, with_prefix, without_prefix
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.serialization import event_from_json, plain, report_from_json
from recsys.training.trial_progress import TrialProgress
from recsys.training.trial_types import ConfigChange, EventKind, TrialSpec
from recsys.types import Arrays, JsonObject


def write_snapshot(folder: Path, progress: TrialProgress, state: Arrays) -> None:
    """Writes an exact checkpoint, atomically.

    Args:
        folder: Of the checkpoint.
        progress: The trial between two epochs.
        state: Its trainer's state after the last good epoch.

    Raises:
        OSError: A full disk; the previous checkpoint stays.
    """
    arrays = with_prefix("trainer", state)
    facts: JsonObject = {
        "spec": plain(progress.spec),
        "config": plain(progress.config),
        "reports": plain(progress.reports),
        "events": plain(progress.events),
        "responses": progress.recoveries,
        "config_changes": plain(progress.config_changes),
        "ongoing": sorted(progress.monitor.ongoing),
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
    }
    member, predictions = progress.best_member, progress.best_predictions
    if member is not None and predictions is not None:
        arrays |= with_prefix("best", member.arrays)
        arrays["predictions"] = predictions
        facts["best"] = {
            "family": member.family,
            "settings": plain(member.settings),
            "scale": [member.scale.low, member.scale.high],
        }
    write_checkpoint(folder, arrays, facts)


def read_snapshot(
    folder: Path, spec: TrialSpec, config: Any, *, shape: DataShape, small_batch_allowed: bool
) -> tuple[TrialProgress, Arrays]:
    """Reads a checkpoint of ``write_snapshot``.

    Args:
        folder: Of the checkpoint.
        spec: Of the trial that is to be resumed.
        config: Its config before any recovery.
        shape: Of its data, for the safe bounds.
        small_batch_allowed: Whether the bounds admit the small batch.

    Returns:
        The trial's progress and its trainer's state.

    Raises:
        InputError: The checkpoint is damaged, of another trial, or its config has unrecorded changes.
    """
    arrays, facts = read_checkpoint(folder)
    expected = plain(spec)
    differing = [name for name in expected if facts["spec"].get(name) != expected[name]]
    if differing:
        raise InputError(f"the checkpoint in {folder} is of another trial: it differs in {differing}")
    small = small_batch_allowed or EventKind.OUT_OF_MEMORY.value in facts["responses"]
    saved_config, changes = _checked_config(
        spec.family, config, facts, folder, shape=shape, small_batch_allowed=small
    )
    # A copy: the map would keep the file that the next save replaces.
    saved = {name: np.array(array) for name, array in arrays.items()}
    member = predictions = None
    if "best" in facts:
        best = facts["best"]
        scale = RatingScale(*best["scale"])
        member = ModelArtifact(best["family"], best["settings"], without_prefix("best", saved), scale)
        predictions = saved["predictions"]
    progress = TrialProgress(
        spec=spec,
        config=saved_config,
        reports=[report_from_json(report) for report in facts["reports"]],
        events=[event_from_json(event) for event in facts["events"]],
        recoveries=dict(facts["responses"]),
        config_changes=changes,
        best_epoch=facts["best_epoch"],
        best_member=member,
        best_predictions=predictions,
        seconds=facts["seconds"],
    )
    progress.monitor.ongoing = set(facts["ongoing"])
    return progress, without_prefix("trainer", saved)


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


def _checked_config(
    family: str,
    trial_config: Any,
    facts: JsonObject,
    folder: Path,
    *,
    shape: DataShape,
    small_batch_allowed: bool,
) -> tuple[Any, list[ConfigChange]]:
    """The checkpoint's config, which must be the trial's own with the changes that its recoveries made.

    Raises InputError where another field differs, where a change is on no record, and where a hybrid VAE
    would go on outside the safe bounds.
    """
    config = make_config(family, facts["config"])
    fresh, saved = plain(trial_config), plain(config)
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
        require_safe(
            config, shape, small_batch_allowed=small_batch_allowed, where=f"the checkpoint in {folder}"
        )
    return config, changes
