"""One world's table: a row a model, the best first, each beside the noise floor and the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.metrics.rating import loss


@dataclass(frozen=True)
class Line:
    """``rmse`` (seeds,) on test, stars; ``kl`` nats, 0 for a model without a latent; ``valid`` and
    ``seconds`` of one training, where known; ``problem`` says why there are no figures."""

    name: str
    rmse: list[float]
    kl: float = 0.0
    valid: float | None = None
    seconds: float | None = None
    problem: str = ""


def markdown(lines: Sequence[Line], *, floor: float, oracle: float) -> str:
    """``floor`` and ``oracle``: rmse on the same test ratings."""
    marks = [
        Line("oracle that knows all but the people", [oracle]),
        Line("noise floor: who knows every expected rating", [floor]),
    ]
    rows = [
        "| | test rmse | test loss | above noise floor | above oracle | valid rmse | seeds | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    measured = [line for line in [*lines, *marks] if not line.problem]
    for line in sorted(measured, key=lambda line: float(np.mean(line.rmse))):
        error = float(np.mean(line.rmse))
        spread = f" ± {np.std(line.rmse, ddof=1):.4f}" if len(line.rmse) > 1 else ""
        cells = [
            line.name,
            f"{error:.4f}{spread}",
            f"{np.mean([loss(entry**2, line.kl) for entry in line.rmse]):.4f}",
            above(error, floor),
            above(error, oracle),
            "-" if line.valid is None else f"{line.valid:.4f}",
            "-" if line in marks else str(len(line.rmse)),
            "-" if line.seconds is None else f"{line.seconds:.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    rows += [
        f"| {line.name} | {line.problem.replace('|', '/')} | | | | | | |" for line in lines if line.problem
    ]
    return "\n".join(rows) + "\n"


def above(error: float, mark: float) -> str:
    return f"{100 * (error / mark - 1):+.2f}%"
