"""OUT/measures.jsonl: what is measured, then a line a finished training, so that a cut-off run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from recsys.errors import InputError
from recsys.types import JsonObject
from tests.benchmarks.ablation.measure import Measure


class MeasureLog:
    """``finished`` measures of ``facts``. InputError where the file is of other data, another split or
    another length."""

    def __init__(self, folder: Path, facts: JsonObject) -> None:
        self.path = folder / "measures.jsonl"
        self.finished = self._read(facts)
        folder.mkdir(parents=True, exist_ok=True)
        # Written whole: a line that a kill cut off must not be appended to.
        kept = [json.dumps(facts), *(json.dumps(asdict(entry)) for entry in self.finished)]
        beside = self.path.with_suffix(".new")
        beside.write_text("\n".join(kept) + "\n")
        beside.replace(self.path)

    def _read(self, facts: JsonObject) -> list[Measure]:
        if not self.path.exists():
            return []
        first, *rest = self.path.read_text().splitlines() or [json.dumps(facts)]
        try:
            held = json.loads(first)
        except json.JSONDecodeError:
            raise InputError(
                f"{self.path}: line 1 is not JSON; remove the file or choose another --out"
            ) from None
        if held != facts:
            raise InputError(f"{self.path} holds rungs of {held}, this run is {facts}; choose another --out")
        finished = []
        for line in rest:
            try:
                finished.append(Measure(**json.loads(line)))
            except json.JSONDecodeError:
                break  # cut off by a kill: that rung is measured again
        return finished

    def find(self, rung: str, seed: int) -> Measure | None:
        return next((entry for entry in self.finished if (entry.rung, entry.seed) == (rung, seed)), None)

    def add(self, one: Measure) -> None:
        self.finished.append(one)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(one)) + "\n")
