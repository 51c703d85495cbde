"""The peer's process: ``PYTHON -m tests.benchmarks.peers.worker FOLDER`` trains once and leaves answer.npy.

FOLDER/request.json says which library, task, settings, seed and problem. FOLDER/answer.json gets the seconds
of training and predicting (without starting and importing) and the library's version, or what is missing.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    answer = folder / "answer.json"
    try:
        import numpy as np

        from tests.benchmarks.peers.problem import Problem

        library = importlib.import_module(f"tests.benchmarks.peers.libraries.{request['library']}")
    except ImportError as error:
        reason = f"no {error.name}" if isinstance(error, ModuleNotFoundError) else str(error).splitlines()[0]
        answer.write_text(json.dumps({"missing": reason}))
        return
    problem = Problem.load(Path(request["problem"]))
    started = time.perf_counter()
    result = getattr(library, request["task"])(problem, seed=request["seed"], **request["settings"])
    seconds = time.perf_counter() - started
    np.save(folder / "answer.npy", np.asarray(result, dtype=np.float32))
    answer.write_text(json.dumps({"seconds": seconds, "version": version_of(library)}))


def version_of(library: Any) -> str:
    try:
        return version(library.DISTRIBUTION) if library.DISTRIBUTION else ""
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
