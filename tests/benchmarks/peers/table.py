"""The table: a row a model, the best on test first; what could not be measured last, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys.metrics.significance import mean_difference
from tests.benchmarks.peers.peer import Task

COLUMNS = {
    "rate": ("loss", "rmse", "mae"),
    "rank": ("precision_at_10", "ndcg_at_10", "recall_at_20", "ndcg_at_100"),
}
TITLES = {
    "precision_at_10": "P@10",
    "ndcg_at_10": "NDCG@10",
    "recall_at_20": "recall@20",
    "ndcg_at_100": "NDCG@100",
}


@dataclass(frozen=True)
class Row:
    """``test`` holds (seeds,) figures by name, ``valid`` is the chosen setting's; ``problem`` says why there
    are none; ``seconds`` are of one training; ``by_person`` NDCG by its name in ``test``, mean over seeds."""

    name: str
    test: dict[str, list[float]] = field(default_factory=dict)
    valid: float | None = None
    trained_on: str = ""
    chosen: str = ""
    budget: str = ""
    seconds: float | None = None
    version: str = ""
    problem: str = ""
    by_person: dict[str, list[float]] = field(default_factory=dict)

    def order(self, task: Task) -> tuple[bool, float]:
        result = self.test.get("rmse" if task == "rate" else "ndcg_at_10")
        if not result:
            return True, 0.0
        return False, float(np.mean(result)) * (1 if task == "rate" else -1)


def figure(values: list[float] | None) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def paired(rows: list[Row], ours: list[Row]) -> str:
    """A line for each of ``ours`` and each of ``rows`` that have NDCG by person: ours minus theirs."""
    lines = []
    for entry in ours:
        for name, values in entry.by_person.items():
            for row in (row for row in rows if name in row.by_person):
                result = mean_difference(np.array(values), np.array(row.by_person[name]), seed=0)
                lines.append(
                    f"{entry.name} minus {row.name}, {TITLES[name]} paired over {len(values):,} people: "
                    f"{result.value:+.4f} ({result.low:+.4f} to {result.high:+.4f})\n"
                )
    return "".join(["\n", *lines]) if lines else ""


def markdown(rows: list[Row], task: Task) -> str:
    """Figures are on test, but for the one column that says valid."""
    titles = [f"{TITLES.get(name, name)} (test)" for name in COLUMNS[task]]
    on_valid = "rmse (valid)" if task == "rate" else "NDCG@10 (valid)"
    last = ["seeds", "trained on", "setting chosen on valid", "tuning", "seconds a training", "version"]
    heads = ["model", *titles, on_valid, *last]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in sorted(rows, key=lambda row: row.order(task)):
        if row.problem:
            cells = [row.name, row.problem.replace("|", "/"), *[""] * (len(heads) - 2)]
        else:
            cells = [
                row.name,
                *(figure(row.test.get(name)) for name in COLUMNS[task]),
                "-" if row.valid is None else f"{row.valid:.4f}",
                str(max((len(result) for result in row.test.values()), default=0)),
                row.trained_on,
                row.chosen,
                row.budget,
                "-" if row.seconds is None else f"{row.seconds:.1f}",
                row.version,
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
