"""``python -m serving serve``: serves releases on an embedded Ray, until Ctrl-C."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from serving.app import check_start, read_yaml, serve_here
from serving.experiment_settings import NO_RELEASE
from serving.process_group import run_in_own_group
from serving.settings import Settings, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="FOLDER", help="a release folder, or models:/name@alias")
    parser.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="NAME=RELEASE:SHARE",
        help="an arm of the experiment, e.g. new=runs/new/release:0.1; --release is the arm `main` with the "
        "remaining share; share `shadow` answers in shadow",
    )
    parser.add_argument(
        "--interleave",
        action="store_true",
        help="merge the arms' lists for each user (team draft) instead of splitting users over the arms: "
        "a preference needs a fraction of the users",
    )
    parser.add_argument(
        "--segments",
        metavar="COLUMNS",
        help="columns of the release's user table, e.g. age,gender: secondary results by segment",
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings, as in serving/serve.yaml")
    parser.add_argument("--host", help="default 127.0.0.1; any other requires RECSYS_API_KEY")
    parser.add_argument("--port", type=int, help="default 8000")
    parser.add_argument(
        "--replicas",
        type=int,
        help="number of processes (default 1); one per core has the highest throughput",
    )
    parser.add_argument("--events", metavar="URL", help="a file or postgresql://...; default runs/events.db")
    parser.add_argument(
        "--reset",
        action="store_true",
        help="serve the given arms instead of the experiment's state in the event store",
    )
    parser.add_argument("--access-log", metavar="FILE", help="write one JSON line per request to this file")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    start = check_start(settings, reset=options.reset)
    return run_in_own_group(lambda: serve_here(settings, start))


def settings_of(options: argparse.Namespace) -> Settings:
    """The YAML's settings, overridden by the command line. Raises InputError."""
    fields: dict[str, Any] = read_yaml(options.config)[1] if options.config else {}
    for name in ("host", "port", "replicas", "events", "access_log"):
        if getattr(options, name) is not None:
            fields[name] = getattr(options, name)
    arms = [_arm(text) for text in options.arm]
    if options.release is not None:
        rest = 1.0 - sum(arm["share"] for arm in arms)
        if rest < -1e-9:
            raise InputError(f"the arms' shares sum to {1 - rest:g}, which leaves nothing for --release")
        arms.insert(0, {"name": "main", "release": options.release, "share": round(max(rest, 0.0), 9)})
    if arms:
        fields["experiment"] = {**fields.get("experiment", {}), "arms": arms}
    if options.interleave:
        fields["experiment"] = {**fields.get("experiment", {}), "kind": "interleaved"}
    if options.segments is not None:
        columns = [column.strip() for column in options.segments.split(",") if column.strip()]
        fields["experiment"] = {**fields.get("experiment", {}), "segments": columns}
    if not fields.get("experiment", {}).get("arms"):
        raise InputError(NO_RELEASE)
    return read_settings(fields, where=str(options.config or "the command line"))


def _arm(text: str) -> dict[str, Any]:
    name, _, rest = text.partition("=")
    release, _, share = rest.rpartition(":")
    try:
        if not name or not release:
            raise ValueError
        return {
            "name": name,
            "release": release,
            "share": 0.0 if share == "shadow" else float(share),
            "shadow": share == "shadow",
        }
    except ValueError:
        raise InputError(
            f"--arm {text!r}: expected NAME=RELEASE:SHARE, e.g. new=runs/new/release:0.1"
        ) from None
