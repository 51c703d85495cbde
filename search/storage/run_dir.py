"""A run's folder: the plan, the journal of proposals, the trials' results, and a lock.

    plan.yaml, run.json            what was asked, on which data; the seconds used so far
    proposals.jsonl                one line a trial, before it starts
    trials/0003/                   result.json, member/, valid.npy, and checkpoint/ until it ends
    events.jsonl                   warnings, contingencies, milestones
    ensemble-valid.npy             the ensemble's stars of valid
    results.json, report.html, release/

Whole files are written beside their place, synced and renamed; journals are appended and synced, and
a half-written last line (the process was killed) is left out when read.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import yaml

from recsys.errors import InputError
from recsys.io import FileLock, append_line, read_lines, write_atomic
from recsys.training.serialization import event_from_json, plain
from recsys.training.trial_types import RunEvent, TrialResult, TrialSpec
from recsys.types import JsonObject
from search.config.plan import SearchPlan, make_plan
from search.storage.json_files import read_json
from search.storage.schema_version import check_version
from search.storage.trial_dir import RESULT, read_result, trial_folder

RUN_VERSION = 2  # of all files in a run's folder; 1 (and no mark): before lists were trials


class RunFolder:
    """One run on disk, held by this process alone while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock = FileLock(self.path / ".lock")

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises InputError where there is something at ``path`` already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            kind = "already holds a run" if (path / "plan.yaml").exists() else "is not an empty folder"
            raise InputError(f"--out {path} {kind}; name another folder, or add --resume to go on with a run")

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new run at ``path``, held. Raises InputError where there is something already."""
        cls.require_free(path)
        run = cls(path)
        try:
            (run.path / "trials").mkdir(parents=True)
        except OSError as error:
            raise InputError(f"--out {path} cannot be made: {error.strerror or error}") from None
        run._hold()
        return run

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The run at ``path``, to read. Raises InputError where there is none."""
        if not (path / "plan.yaml").exists():
            raise InputError(f"--resume: {path} holds no run (no plan.yaml); start one without --resume")
        return cls(path)

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """The run at ``path``, held. Raises InputError where there is none or it is running."""
        run = cls.at(path)
        run._hold()
        return run

    def _hold(self) -> None:
        if not self._lock.acquire():
            raise InputError(f"{self.path} is in use by another process: wait for it, or end it")

    def close(self) -> None:
        """Let others hold it."""
        self._lock.release()

    # What was asked.

    def write_plan(self, plan: SearchPlan, about: JsonObject) -> None:
        """The resolved plan, and ``about`` (data source, fingerprints, arguments that are no plan's)."""
        self.write_about(about)
        text = "# python search/breakthrough.py --plan plan.yaml\n" + yaml.safe_dump(
            plan.model_dump(mode="json"), sort_keys=False
        )
        write_atomic(self.path / "plan.yaml", text.encode())

    def read_plan(self) -> SearchPlan:
        """The plan of the run; one without ``list_trials`` was made before lists were trials: it has none."""
        content = {"list_trials": 0, **yaml.safe_load((self.path / "plan.yaml").read_text())}
        return make_plan(content, {}, where=str(self.path / "plan.yaml"))

    def write_about(self, about: JsonObject) -> None:
        marked = {"schema_version": RUN_VERSION, **about}
        write_atomic(self.path / "run.json", json.dumps(marked, indent=1).encode())

    def read_about(self) -> JsonObject:
        """The ``about`` that ``write_plan`` wrote. Raises InputError where a newer version wrote it."""
        path = self.path / "run.json"
        about: JsonObject = read_json(path, "the folder of a run was expected")
        check_version(about, path, newest=RUN_VERSION, unmarked=1)
        return {name: value for name, value in about.items() if name != "schema_version"}

    # The journal.

    def journal(self, spec: TrialSpec, draws: JsonObject | None) -> None:
        """Keep a proposal before it runs."""
        append_line(self.path / "proposals.jsonl", {"spec": asdict(spec), "draws": draws})

    def proposals(self) -> list[tuple[TrialSpec, JsonObject | None]]:
        """Every proposal so far, in order, each number once."""
        rows = {row["spec"]["number"]: row for row in read_lines(self.path / "proposals.jsonl")}
        return [(TrialSpec(**rows[number]["spec"]), rows[number]["draws"]) for number in sorted(rows)]

    def event(self, event: RunEvent) -> None:
        append_line(self.path / "events.jsonl", plain(event), sync=False)

    def events(self) -> list[RunEvent]:
        return [event_from_json(row) for row in read_lines(self.path / "events.jsonl")]

    # The trials.

    def results(self) -> list[TrialResult]:
        """Every trial that has ended, by number."""
        results = []
        for folder in sorted((self.path / "trials").glob("[0-9]*")):
            if (folder / RESULT).exists():
                results.append(read_result(folder))
        return results

    def trial(self, number: int) -> Path:
        return trial_folder(self.path, number)
