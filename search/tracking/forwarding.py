"""Sends a rented search's tracking and events to MLflow and webhooks from this machine.

The rented head gets no address and no secret: it writes a journal and events, and after each fetch this
machine sends what is new in them. Entries that need the run's files (the release, the report) are sent at the
end, when the files are complete. The position in both stays on this machine: `state.json`, `told.json`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from recsys.errors import InputError
from recsys.notifications import Notifier
from recsys.training.trial_types import EventKind
from recsys.types import JsonObject
from search.tracking.outbox import FOLDER, Outbox
from search.tracking.sender import Sender, runs_beside
from search.tracking.tracker import ARTIFACTS, REGISTER_S, default_uri, release_id_of, runs_home

log = logging.getLogger(__name__)

SENT = "told.json"
CLOSE_S = 30.0


class FetchedJournal(Outbox):
    """A journal that arrives in pieces: what names files waits until all of them are here."""

    complete = False

    def read(self, start: int) -> Iterator[tuple[JsonObject, int]]:
        for entry, end in super().read(start):
            if not self.complete and ("register" in entry or "artifacts" in entry):
                return
            yield entry, end


class TrackingForwarder:
    """Called with the run folder after each fetch; ``close`` sends the rest. InputError for a bad URL."""

    def __init__(self, out: Path, *, notify: str | None = None) -> None:
        self._out = out.resolve()
        self._journal = FetchedJournal(self._out)
        self._notifier = Notifier.from_environment(notify)
        self._sender: Sender | None = None

    def __call__(self, out: Path) -> None:
        """Send what is new in the folder, from background threads: never waits, never raises."""
        try:
            self._forward_events()
            self._sending()
        except Exception as problem:  # its text may hold an address; fetching goes on
            log.warning("the search's events could not be sent (%s)", type(problem).__name__)

    def close(self) -> str:
        """Send the rest to MLflow, evaluate the release against the champion here. A line to print, or ""."""
        self._journal.complete = (self._out / "results.json").is_file()
        sender = self._sending()
        self._notifier.close()
        if sender is None:
            return ""
        line = self._judge(sender) if self._journal.complete else ""
        if sender.close(CLOSE_S) > 0:
            line = f"MLflow has not taken everything: python -m search.tracking {self._out} sends the rest"
        return line

    def _sending(self) -> Sender | None:
        if self._sender is None and self._journal.exists():
            self._sender = Sender(
                self._journal,
                default_uri(self._out),
                artifacts=runs_home(self._out) / ARTIFACTS,
                beside=lambda: runs_beside(self._out),
            )
        if self._sender is not None:
            self._sender.wake()
        return self._sender

    def _forward_events(self) -> None:
        from search.report.plot import progress_png
        from search.storage.run_dir import RunFolder

        run = RunFolder(self._out)
        events = run.events()
        path = self._out / FOLDER / SENT
        sent = json.loads(path.read_text())["events"] if path.is_file() else 0
        for event in events[sent:]:
            self._notifier.event(event)
            if event.kind is EventKind.FINISHED:
                self._notifier.finish(event.message, progress_png(run.results()))
        if len(events) > sent:
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"events": len(events)}))

    def _judge(self, sender: Sender) -> str:
        """The verdict against the champion of this machine's MLflow, into results.json and the report."""
        from search.report import write_report
        from search.results import read_results
        from search.results.results_file import write_results

        try:
            results = read_results(self._out)
            if results.promotion is None or results.promotion.get("promoted") is not None:
                return ""
            answer = sender.answer(release_id_of(self._out / "release"), REGISTER_S)
            if answer is None:
                return ""
            write_results(self._out, results.model_copy(update={"promotion": answer}))
            write_report(self._out)
        except (InputError, OSError, ValueError) as problem:
            return f"the release could not be judged against the champion: {problem}"
        verdict = "promoted" if answer["promoted"] else "kept back"
        return f"{answer['model']} version {answer['version']}: {verdict}, {answer['reason']}"
