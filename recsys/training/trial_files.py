"""The files of a finished trial: ``member/``, ``valid.npy`` and ``result.json``."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.io import write_atomic
from recsys.models.artifact import save_artifact
from recsys.models.base import ModelArtifact
from recsys.training.serialization import trial_to_json
from recsys.training.trial_types import TrialResult


def write_trial(
    folder: Path,
    result: TrialResult,
    *,
    member: ModelArtifact | None = None,
    predictions: NDArray[np.float32] | None = None,
) -> None:
    """Writes a trial's files, ``result.json`` last: where it is, the others are whole.

    Args:
        folder: Of the trial; made where it is missing.
        result: The outcome.
        member: The best epoch's model; None where no epoch was good.
        predictions: Its predictions of the valid slice, (n,) float32 stars.

    Raises:
        OSError: A full disk, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if member is not None and predictions is not None:
        save_artifact(folder / "member", member)
        buffer = io.BytesIO()
        np.save(buffer, predictions, allow_pickle=False)
        write_atomic(folder / "valid.npy", buffer.getbuffer())
    write_atomic(folder / "result.json", json.dumps(trial_to_json(result), indent=1).encode())
