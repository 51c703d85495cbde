"""``python -m serving loop``: continuous retraining; its state, pause and replay."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.notifications import Notifier
from recsys.webhook import Message
from serving.loop.loop_controller import PAUSE_FILE, LoopController, read_pause
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import LoopRecord, read_journal, replay, spent_usd, state_of
from serving.loop.loop_lease import LoopLease, read_lease
from serving.loop.loop_settings import LoopSettings, read_loop_settings
from serving.loop.loop_steps import LoopSteps
from serving.settings import Settings, read_settings
from serving.stop_signals import stop_event

ACTIONS = {
    "run": "retrain, compare, roll out, until Ctrl-C",
    "status": "print the phase and all decisions",
    "pause": "begin no further cycle; an active one continues",
    "resume": "begin cycles again",
    "replay": "repeat the decisions from the journal's evidence; exit code 1 if one differs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = "; ".join(f"{name}: {about}" for name, about in ACTIONS.items())
    parser.add_argument("action", nargs="?", choices=list(ACTIONS), default="run", help=words)
    parser.add_argument("--config", type=Path, default=Path("serving/loop.yaml"), metavar="YAML")
    parser.add_argument(
        "--once", action="store_true", help="end after one cycle, or at once without a trigger"
    )
    parser.add_argument("--reason", default="", help="reason of the pause")


def run(options: argparse.Namespace) -> int:
    settings = read_loop_settings(options.config)
    folder = Path(settings.folder)
    if options.action == "pause":
        write_atomic(folder / PAUSE_FILE, json.dumps({"reason": options.reason}).encode())
        print("paused: no further cycle begins; an active one continues")
        return 0
    if options.action == "resume":
        (folder / PAUSE_FILE).unlink(missing_ok=True)
        print("cycles begin again")
        return 0
    if options.action == "run":
        return _run(settings, once=options.once)
    records = read_journal(folder / "journal.jsonl")
    return _replay(records) if options.action == "replay" else _status(folder, records)


def served_settings(settings: LoopSettings) -> Settings:
    """The settings of the server that the loop works for. Raises InputError."""
    from serving.app import read_yaml  # brings Ray

    return read_settings(read_yaml(Path(settings.serve))[1], where=settings.serve)


def _run(settings: LoopSettings, *, once: bool) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    steps = LoopSteps(settings, served_settings(settings))
    notifier = Notifier.from_environment(settings.notify)

    def notify(text: str) -> None:
        logging.getLogger("serving.loop").info("%s", text)
        notifier.send(Message(title="Loop", text=text, important=True))

    stop = stop_event(signal.SIGTERM)
    with LoopLease(Path(settings.folder)):
        try:
            LoopController(settings, steps, notify=notify).run(stop, once=once)
        except KeyboardInterrupt:
            print("stopped; a running search continues, and the next start picks it up", file=sys.stderr)
            return 130
    return 0


def _status(folder: Path, records: list[LoopRecord]) -> int:
    if not records:
        raise InputError(f"there is no loop in {folder}: start one with `python -m serving loop`")
    state, lease, paused = state_of(records), read_lease(folder / "lease.json"), read_pause(folder)
    runs = f"process {lease['pid']} on {lease['host']}" if lease else "no controller runs"
    print(f"cycle {state.cycle}, {state.phase}; {runs}{'' if paused is None else '; paused ' + paused}")
    print(f"searches of this month: ${spent_usd(records, datetime.now(UTC).timestamp()):.2f}")
    for record in records:
        if record.kind != "settings":
            when = datetime.fromtimestamp(record.at).strftime("%Y-%m-%d %H:%M:%S")
            move = f" -> {record.next}" if record.moves else " waits"
            print(f"{when}  {record.cycle:>3}  {record.phase}{move}: {record.reason}")
    return 0


def _replay(records: list[LoopRecord]) -> int:
    decisions, different = replay(records), 0
    for record, again in decisions:
        if (again.next, again.reason, again.again) != (record.next, record.reason, record.again):
            different += 1
            print(f"record {record.number}: {Phase(record.next)} then, {again.next} now ({again.reason})")
    print(f"{len(decisions)} decisions, {different} of them different")
    return 1 if different else 0
