"""A trial as a checkpoint and back: trainer state, best epoch, figures, events, what was changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.bounds import DataShape, require_safe
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.base import ModelArtifact
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.serialization import event_from_json, plain, report_from_json
from recsys.training.trial_types import ConfigChange, EpochReport, EventKind, RunEvent, TrialSpec
from recsys.types import Arrays, JsonObject


@dataclass(frozen=True)
class TrialSnapshot:
    """A trial between two epochs.

    ``state`` is its trainer's after the last good epoch; ``ongoing`` the warning signs that are being shown;
    ``best_member`` and ``best_predictions`` (valid rows,) are those of ``best_epoch``.
    """

    spec: TrialSpec
    config: Any
    state: Arrays
    reports: list[EpochReport]
    events: list[RunEvent]
    recoveries: dict[str, int]
    config_changes: list[ConfigChange]
    ongoing: set[str]
    best_epoch: int | None
    best_member: ModelArtifact | None
    best_predictions: NDArray[np.float32] | None
    seconds: float


def write_snapshot(snapshot: TrialSnapshot, folder: Path) -> None:
    """An exact checkpoint, atomically. Raises OSError (a full disk) and leaves the one before."""
    arrays: Arrays = {f"trainer/{name}": array for name, array in snapshot.state.items()}
    facts: JsonObject = {
        "spec": plain(snapshot.spec),
        "config": plain(snapshot.config),
        "reports": plain(snapshot.reports),
        "events": plain(snapshot.events),
        "responses": snapshot.recoveries,
        "config_changes": plain(snapshot.config_changes),
        "ongoing": sorted(snapshot.ongoing),
        "best_epoch": snapshot.best_epoch,
        "seconds": snapshot.seconds,
    }
    member, predictions = snapshot.best_member, snapshot.best_predictions
    if member is not None and predictions is not None:
        arrays |= {f"best/{name}": array for name, array in member.arrays.items()}
        arrays["predictions"] = predictions
        facts["best"] = {
            "family": member.family,
            "settings": plain(member.settings),
            "scale": [member.scale.low, member.scale.high],
        }
    write_checkpoint(folder, arrays, facts)


def read_snapshot(
    folder: Path, spec: TrialSpec, config: Any, *, shape: DataShape, small_batch_allowed: bool
) -> TrialSnapshot:
    """The trial that ``write_snapshot`` left.

    Args:
        folder: of the checkpoint.
        spec, config: of the trial that wants to go on.
        shape: of its data, for the safe bounds.
        small_batch_allowed: whether the bounds admit the small batch.

    Raises:
        InputError: The checkpoint is damaged, of another trial, or holds a config on no record.
    """
    arrays, facts = read_checkpoint(folder)
    wanted = plain(spec)
    differing = [name for name in wanted if facts["spec"].get(name) != wanted[name]]
    if differing:
        raise InputError(f"the checkpoint in {folder} is of another trial: it differs in {differing}")
    small = small_batch_allowed or EventKind.OUT_OF_MEMORY.value in facts["responses"]
    found, changes = _checked_config(
        spec.family, config, facts, folder, shape=shape, small_batch_allowed=small
    )
    # A copy: the map would keep the file that the next save replaces.
    state = {name: np.array(array) for name, array in arrays.items()}
    member = predictions = None
    if "best" in facts:
        best = facts["best"]
        scale = RatingScale(*best["scale"])
        member = ModelArtifact(best["family"], best["settings"], _under(state, "best/"), scale)
        predictions = state["predictions"]
    return TrialSnapshot(
        spec=spec,
        config=found,
        state=_under(state, "trainer/"),
        reports=[report_from_json(report) for report in facts["reports"]],
        events=[event_from_json(event) for event in facts["events"]],
        recoveries=dict(facts["responses"]),
        config_changes=changes,
        ongoing=set(facts["ongoing"]),
        best_epoch=facts["best_epoch"],
        best_member=member,
        best_predictions=predictions,
        seconds=facts["seconds"],
    )


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


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
