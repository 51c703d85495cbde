"""One training of a peer in a process of its own: its Python, its libraries, its memory, a time limit."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.errors import InputError
from tests.benchmarks.peers.peer import Peer, Settings
from tests.benchmarks.peers.problem import Array

ROOT = Path(__file__).resolve().parents[3]


class NotInstalled(Exception):
    """The interpreter lacks the library, or cannot load it; the message is what a table's row says."""


class Failed(Exception):
    """The peer itself broke, or took too long."""


@dataclass(frozen=True)
class Interpreters:
    """The Python of each library, ``default`` where none is named."""

    default: str
    named: dict[str, str]

    @classmethod
    def parse(cls, given: list[str], *, default: str) -> Interpreters:
        """From ``PATH`` and ``LIBRARY=PATH`` arguments. InputError where there is no such file."""
        named: dict[str, str] = {}
        for entry in given:
            library, result, path = entry.rpartition("=")
            if not Path(path).is_file():
                raise InputError(f"--python {entry}: there is no file {path}; expected PATH or LIBRARY=PATH")
            if result:
                named[library] = path
            else:
                default = path
        return cls(default, named)

    def of(self, peer: Peer) -> str:
        return str(Path(self.named.get(peer.library, self.default)).absolute())


def train(
    peer: Peer, problem: Path, settings: Settings, *, seed: int, python: str, limit: float
) -> tuple[Array, float, str]:
    """The answer, its seconds, the library's version. NotInstalled or Failed say why there is none."""
    request = {
        "library": peer.library,
        "task": peer.task,
        "seed": seed,
        "settings": settings,
        "problem": str(problem.absolute()),
    }
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(request))
        try:
            done = subprocess.run(
                [python, "-m", "tests.benchmarks.peers.worker", str(folder)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"stopped after {limit:.0f} s (--limit)") from None
        if done.returncode != 0 or not (folder / "answer.json").is_file():
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing said"]
            raise Failed(f"exit status {done.returncode}: {said[-1].strip()[:200]}")
        answer = json.loads((folder / "answer.json").read_text())
        if "missing" in answer:
            raise NotInstalled(f"not installed: {answer['missing']}")
        return np.load(folder / "answer.npy", allow_pickle=False), answer["seconds"], answer["version"]
