"""Background precomputation of lists: a process of the lowest priority on each machine with a replica.

``BackgroundLists`` starts it, restarts it after an interruption, and ends it with the replica. All replicas
use finished lists (``Service.use_new_lists``). The process reads its job from standard input:
``python -m serving.engine.background_lists``.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.catalogue.rule_set import RuleSet, rules_from, rules_json
from serving.engine.list_precomputation import lists_folder, precompute
from serving.engine.served_release import ServedRelease
from serving.process_group import end_with_parent

log = logging.getLogger(__name__)
NICE = 19
POLL_SECONDS = 2.0  # between checks of the releases in service
MAX_FAILURES = 3  # of a release's lists; a restart tries again
LOCKED = 75  # exit code: another process is computing them


@dataclass(frozen=True)
class ListJob:
    """Precomputation of a release's lists: ``release`` is its folder, ``base`` the folder of all lists."""

    release: str
    base: str
    rules: JsonObject
    core_share: float

    @classmethod
    def of(cls, folder: Path, base: Path, rules: RuleSet, *, core_share: float) -> ListJob:
        return cls(str(folder), str(base), rules_json(rules), core_share)

    def run(self) -> int:
        """Computes the lists; returns an exit code."""
        rules = rules_from(self.rules)
        try:
            loaded = ServedRelease(self.release, Path(self.release), rules, verify=False)
            folder = lists_folder(Path(self.base), loaded.release_id, rules)
            precompute(loaded, folder, core_share=self.core_share)
        except BlockingIOError:
            return LOCKED
        except (InputError, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        return 0


class BackgroundLists:
    """Runs the jobs of ``missing``, those without stored lists, one after the other."""

    def __init__(self, missing: Callable[[], list[ListJob]]) -> None:
        self._missing = missing
        self._failures: dict[str, int] = {}  # by job
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        # One thread for all: the process ends with the thread that started it.
        self._thread = threading.Thread(target=self._run, name="background-lists", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the process; stored lists are kept."""
        self._stop.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            for job in self._missing():
                if self._stop.is_set():
                    return
                key = json.dumps(job.__dict__)
                if self._failures.get(key, 0) < MAX_FAILURES and self._failed(job):
                    self._failures[key] = self._failures.get(key, 0) + 1

    def _failed(self, job: ListJob) -> bool:
        """Whether the job failed, other than by an interruption or because another process runs it."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        _, errors = process.communicate(json.dumps({**job.__dict__, "parent": os.getpid()}))
        if process.returncode in (0, LOCKED) or process.returncode < 0:
            return False
        log.error("the lists of %s cannot be stored: %s", job.release, errors.strip()[-300:])
        return True


def main() -> int:
    """Runs the job on standard input."""
    os.nice(NICE)
    fields = json.load(sys.stdin)
    end_with_parent(fields.pop("parent"))
    return ListJob(**fields).run()


if __name__ == "__main__":
    sys.exit(main())
