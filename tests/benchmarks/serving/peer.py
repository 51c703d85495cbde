"""A peer that pip can install: Cornac's own server (Flask under gunicorn), on a catalogue of the same size.

Its model is matrix factorisation, one product of the user's vector with all items; ours besides ranks,
rates with three VAEs, leaves out what was seen, splits traffic and stores the exposure. It needs an
environment of its own (tests/benchmarks/peers-requirements.txt).
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.serving.programs import Program
from tests.waiting import free_port

WORKERS, THREADS = 2, 8  # gunicorn's: a process a core
RATINGS = 400_000  # enough that every user and item has one; the factors' values do not change the time
MAKE = """
import sys
import numpy as np
from cornac.data import Dataset
from cornac.models import MF
folder, users, items, count = sys.argv[1], *map(int, sys.argv[2:])
random = np.random.default_rng(0)
rows = np.arange(count)
triples = zip((rows % users + 1).astype(str), (rows % items + 1).astype(str), random.uniform(1, 5, count))
data = Dataset.from_uir(list(triples))
MF(k=64, max_iter=1, seed=0).fit(data).save(folder)
"""


def peer(python: str, folder: Path, *, users: int, items: int) -> Program:
    """Its server, ready, with a model of ``users`` x ``items``. Raises SystemExit where it cannot be made."""
    made = folder / "peer"
    words = [python, "-c", MAKE, str(made), str(users), str(items), str(RATINGS)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python} could not make Cornac's model: {done.stderr[-500:]}")
    (model,) = (path.parent for path in made.rglob("*.pkl"))
    port = free_port()
    words = ["-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--keep-alive", "60"]
    return Program(
        [*words, "-w", str(WORKERS), "--threads", str(THREADS), "cornac.serving.app:app"],
        port,
        python=python,
        path="/recommend?uid=1&k=10",
        MODEL_PATH=str(model),
        MODEL_CLASS="cornac.models.MF",
    )


def asked_of_peer(users: int) -> Callable[[], bytes]:
    """Known users alone: it has no answer for others."""

    def make() -> bytes:
        return (
            f"GET /recommend?uid={random.randint(1, users)}&k=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )

    return make
