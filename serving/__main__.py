"""``python -m serving``: the command line; each command is a module with ``add_arguments`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from recsys.errors import check_encoding, exit_code

# Name: (module, help).
COMMANDS = {
    "serve": ("serving.commands.serve", "serve releases over HTTP on this machine"),
    "deploy": ("serving.commands.deploy", "serve releases on an existing Ray cluster"),
    "experiment": ("serving.commands.experiment_advice", "size an experiment before it starts"),
    "precompute": ("serving.commands.precompute", "compute the lists of all known users ahead (resumable)"),
    "replay": ("serving.commands.replay", "replay the newest ratings as live traffic"),
    "rollout": ("serving.commands.rollout", "roll a release out in stages, with automatic roll-back"),
    "estimate": ("serving.commands.estimate", "estimate a release's hit rate from explored traffic"),
    "loop": ("serving.commands.loop", "retrain on live data, gate, compare and roll out, continuously"),
    "items": ("serving.commands.items_load", "load a table of items into the run-time catalogue"),
    "worth": ("serving.commands.worth", "estimate the gain of retraining now"),
    "data": ("serving.commands.data", "retention, export, erasure, backup and restore of events"),
}


def use_local_registry() -> None:
    """Use runs/mlflow.db, where searches on this machine register releases, unless MLFLOW_TRACKING_URI is
    set.

    Replicas inherit the variable."""
    if not os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path('runs/mlflow.db').absolute()}"


def parse(words: list[str]) -> argparse.Namespace:
    """Parse the command line; only the module of the given command is imported."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve recommenders.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, (module, words_about) in COMMANDS.items():
        command = commands.add_parser(name, help=words_about, description=words_about)
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    def run() -> int:
        arguments = sys.argv[1:] if words is None else words
        options = parse(arguments)
        check_encoding(arguments)
        use_local_registry()
        code: int = importlib.import_module(COMMANDS[options.command][0]).run(options)
        return code

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
