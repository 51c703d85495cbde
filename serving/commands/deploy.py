"""``python -m serving deploy``: the application on an existing Ray cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from serving.app import deploy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a Serve config file like serving/serve.yaml")
    parser.add_argument(
        "--reset", action="store_true", help="serve the YAML's arms, not the event store's state"
    )
    parser.add_argument(
        "--address", default="auto", help="the cluster's address, as for ray.init (default auto)"
    )


def run(options: argparse.Namespace) -> int:
    return deploy(options.config, address=options.address, reset=options.reset)
