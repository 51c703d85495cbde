"""``python -m serving serve``: an embedded Ray with one application, until Ctrl-C."""

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
        help="an arm of the experiment, e.g. new=runs/new/release:0.1; with --release, which is arm `main`, "
        "what the arms leave of 1 is its share; share `shadow` answers unseen",
    )
    parser.add_argument(
        "--interleave",
        action="store_true",
        help="merge the arms' lists for each person (team draft) instead of splitting people over the arms: "
        "a preference takes a fraction of the people",
    )
    parser.add_argument(
        "--segments",
        metavar="COLUMNS",
        help="columns of the users' table that the release was made with, e.g. age,gender: secondary results "
        "by them",
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings, as in serving/serve.yaml")
    parser.add_argument("--host", help="127.0.0.1 by default; another needs RECSYS_API_KEY to be set")
    parser.add_argument("--port", type=int, help="8000 by default")
    parser.add_argument(
        "--replicas", type=int, help="processes that answer (default 1); one a core answers the most requests"
    )
    parser.add_argument("--events", metavar="URL", help="a file or postgresql://...; default runs/events.db")
    parser.add_argument(
        "--reset",
        action="store_true",
        help="serve the arms named here although the event store has a state of the experiment (which "
        "otherwise goes on, a finished roll-out too)",
    )
    parser.add_argument("--access-log", metavar="FILE", help="one JSON line a request")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    start = check_start(settings, reset=options.reset)
    return run_in_own_group(lambda: serve_here(settings, start))


def settings_of(options: argparse.Namespace) -> Settings:
    """The YAML's settings with the command line's over them. Raises InputError."""
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
