"""``python -m serving rollout``: starts, follows or aborts a roll-out, which the operations process moves."""

from __future__ import annotations

import argparse
import time
from datetime import datetime

from recsys.errors import InputError
from recsys.release.load import load_release
from serving.events.store import EventStore, open_store
from serving.release_registry import SCHEME, gate_verdict, pinned, resolve
from serving.rollout.controller import abort
from serving.rollout.policy import STAGES, RolloutPlan
from serving.rollout.rollout_status import KIND, rollout_status, start_rollout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (
        ("start", "begin with shadow answers, then raise the share stage by stage"),
        ("status", "print the share and all steps so far"),
        ("abort", "roll back now"),
    ):
        action = actions.add_parser(name, help=words, description=words)
        action.add_argument(
            "--events", default="runs/events.db", help="the server's event store (a URL or file)"
        )
        action.add_argument("--experiment", default="main", help="default: main")
        if name == "start":
            _start_arguments(action)


def _start_arguments(action: argparse.ArgumentParser) -> None:
    action.add_argument("--release", required=True, help="a release folder, or models:/name@candidate")
    action.add_argument("--candidate", default="candidate", help="name of the new arm (default: candidate)")
    action.add_argument("--baseline", help="the arm to replace (default: the experiment's first)")
    action.add_argument(
        "--hold",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="duration of a stage (default 3600)",
    )
    action.add_argument("--exposures", type=int, default=200, help="answers that a stage needs (default 200)")
    action.add_argument("--slow-ms", type=float, default=50.0, help="answers over this are slow (default 50)")
    action.add_argument(
        "--stages",
        default=",".join(f"{stage:g}" for stage in STAGES),
        help="shares in turn, 0 is shadow (default %(default)s)",
    )
    action.add_argument(
        "--without-gate",
        action="store_true",
        help="start although the gate did not promote the release",
    )


def run(options: argparse.Namespace) -> int:
    """Run one action."""
    with open_store(options.events) as store:
        if options.action == "start":
            return _start(store, options)
        if options.action == "abort":
            if not abort(store, options.experiment, reason="aborted by hand", now=time.time()):
                raise InputError(f"no roll-out of {options.experiment!r} is active")
            print(f"the candidate of {options.experiment} is back at 0")
            return 0
        return _status(store, options.experiment)


def _start(store: EventStore, options: argparse.Namespace) -> int:
    folder = resolve(options.release).resolve()
    load_release(folder)
    verdict = gate_verdict(options.release)
    if verdict.promoted is not True and not options.without_gate:
        gate = "has no verdict on it" if verdict.promoted is None else f"did not promote it: {verdict.reason}"
        raise InputError(
            f"the gate {gate}; a release that beats the champion on gate needs no option, "
            "--without-gate starts this one anyway"
        )
    state = store.experiment(options.experiment)
    baseline = options.baseline or (state.arms[0].name if state else "main")
    try:
        stages = tuple(float(stage) for stage in options.stages.split(","))
        plan = RolloutPlan(
            experiment=options.experiment,
            baseline=baseline,
            candidate=options.candidate,
            # Replicas run in other folders than this command.
            release=pinned(options.release) if options.release.startswith(SCHEME) else str(folder),
            stages=stages,
            hold_seconds=options.hold,
            minimum_exposures=options.exposures,
            slow_milliseconds=options.slow_ms,
        )
    except ValueError as error:
        raise InputError(f"--stages {options.stages!r}: {error}") from None
    start_rollout(store, plan, now=time.time())
    print(
        f"{options.candidate} ({options.release}) answers in shadow of {baseline}; follow it with "
        f"`python -m serving rollout status --events {options.events}` or on the page /operations"
    )
    return 0


def _status(store: EventStore, experiment: str) -> int:
    status = rollout_status(store, experiment)
    if status is None:
        print(f"no roll-out of {experiment} is active")
    else:
        seconds = max(0.0, time.time() - status.since)
        print(f"{status.plan.candidate} has had {status.share:.0%} for {seconds:.0f} s")
    for row in store.journal(kind=KIND, subject=experiment):
        when = datetime.fromtimestamp(row.at).strftime("%Y-%m-%d %H:%M:%S")
        data = row.data
        if data["event"] == "started":
            print(f"{when}  started {data['plan']['candidate']} ({data['plan']['release']})")
        else:
            print(f"{when}  {data['event']}: {data['from']:.0%} -> {data['to']:.0%}, {data['reason']}")
    return 0
