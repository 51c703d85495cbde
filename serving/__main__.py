"""``python -m serving``: every command, each in a module that adds its arguments and runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from recsys.errors import check_encoding, exit_code

# Name: (module with add_arguments(parser) and run(options) -> exit code, what it does).
COMMANDS = {
    "serve": ("serving.commands.serve", "serve releases over HTTP on this machine"),
    "deploy": ("serving.commands.deploy", "serve them on a Ray cluster that is already there"),
    "experiment": ("serving.commands.experiment_advice", "say what an experiment takes before it starts"),
    "precompute": ("serving.commands.precompute", "compute every known user's list ahead, resumably"),
    "replay": ("serving.commands.replay", "turn the newest ratings into live traffic"),
    "rollout": ("serving.commands.rollout", "roll a release out in stages, and back when it fails"),
    "estimate": ("serving.commands.estimate", "estimate a release's hit rate from explored traffic"),
    "loop": ("serving.commands.loop", "retrain on what people do, gate, compare, roll out, again and again"),
    "items": ("serving.commands.items_load", "load a table of items into the catalogue at run time"),
    "worth": ("serving.commands.worth", "say what retraining now is expected to bring"),
    "data": ("serving.commands.data", "retention, export, erasure, backup and restore of events"),
}


def use_local_registry() -> None:
    """Searches on this machine register their releases in runs/mlflow.db: look there unless
    MLFLOW_TRACKING_URI says otherwise. Replicas inherit it."""
    if not os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path('runs/mlflow.db').absolute()}"


def parse(words: list[str]) -> argparse.Namespace:
    """The command line, checked; only the command that is asked for is imported."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve recommenders.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, (module, words_about) in COMMANDS.items():
        command = commands.add_parser(name, help=words_about, description=words_about)
        if name == chosen:  # importing only what is asked for keeps --help quick
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
