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
    found = experiment_statuses(home)
    if not found:
        command = "python search/experiment.py create hybrid_vae_optimized NAME"
        return f"there are no experiments in {home}; make one: {command}"
    rows = [
        [
            one.name,
            one.state,
            one.card.template if one.card else "",
            "" if one.started is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.started)),
            what(one),
            number(one.valid.loss),
            number(one.valid.rmse),
            number(one.test.loss),
            number(one.test.rmse),
        ]
        for one in found
    ]
    header = ["name", "state", "template", "started (UTC)", "figures of", "valid loss", "valid rmse",
              "test loss", "test rmse"]  # fmt: skip
    return text_table(header, rows, right=range(5, 9))


def show_text(home: Path, name: str) -> str:
    """The card, and what came of it."""
    one = experiment_status(home, name)
    assert one.card is not None
    card = yaml.safe_dump(one.card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if one.results is not None:
        return f"{card}\n{summary_text(one.results, one.folder)}"
    if one.state == "created":
        return f"{card}\nnot run yet: python search/experiment.py run {name}"
    return f"{card}\n{one.state}: go on with python search/experiment.py run {name} --resume"
