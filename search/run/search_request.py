"""What the command line asks a search for, before anything is read or checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.data.data_spec import DataSpec
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.plan import SearchPlan


@dataclass(frozen=True)
class SearchRequest:
    """A new run's plan and data; a resumed run reads both from ``out`` and applies ``changes`` to its plan.

    ``specs`` (of an experiment) are run unchanged, in place of what the plan would propose.
    """

    out: Path
    plan: SearchPlan | None = None
    source: DataSpec | None = None
    resume: bool = False
    changes: JsonObject | None = None
    warm_start: Path | None = None
    start_from: Path | None = None
    notify: str | None = None
    command: tuple[str, ...] = ()
    cluster: JsonObject | None = None
    specs: tuple[TrialSpec, ...] = ()
