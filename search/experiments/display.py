"""One experiment whole, and all of them in a list."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from recsys.text_table import number, text_table
from search.experiments.compare import what
from search.experiments.status import experiment_status, experiment_statuses
from search.results import summary_text


def list_text(home: Path) -> str:
    """Every experiment, the oldest first."""
    statuses = experiment_statuses(home)
    if not statuses:
        command = "python search/experiment.py create hybrid_vae_optimized NAME"
        return f"there are no experiments in {home}; make one: {command}"
    rows = [
        [
            status.name,
            status.state,
            status.card.template if status.card else "",
            "" if status.started is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(status.started)),
            what(status),
            number(status.valid.loss),
            number(status.valid.rmse),
            number(status.test.loss),
            number(status.test.rmse),
        ]
        for status in statuses
    ]
    header = ["name", "state", "template", "started (UTC)", "figures of", "valid loss", "valid rmse",
              "test loss", "test rmse"]  # fmt: skip
    return text_table(header, rows, right=range(5, 9))


def show_text(home: Path, name: str) -> str:
    """The card, and what came of it."""
    status = experiment_status(home, name)
    assert status.card is not None
    card = yaml.safe_dump(status.card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if status.results is not None:
        return f"{card}\n{summary_text(status.results, status.folder)}"
    if status.state == "created":
        return f"{card}\nnot run yet: python search/experiment.py run {name}"
    return f"{card}\n{status.state}: go on with python search/experiment.py run {name} --resume"
