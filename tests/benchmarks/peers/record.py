"""OUT/peers.jsonl: what is measured, then a line a finished training, so that a cut-off run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recsys.errors import InputError
from recsys.types import JsonObject
from tests.benchmarks.peers.bench import ByPerson, Part
from tests.benchmarks.peers.peer import Settings


@dataclass(frozen=True)
class Training:
    """``number`` is that of the setting tried, or the seed; ``figures`` are on valid, or on test;
    ``by_person`` on test alone."""

    peer: str
    part: Part
    number: int
    settings: Settings
    figures: dict[str, float]
    seconds: float
    version: str
    by_person: ByPerson = field(default_factory=dict)


class Record:
    """Opened for one split and task. InputError where the file is of another."""

    def __init__(self, folder: Path, facts: JsonObject) -> None:
        self.path = folder / "peers.jsonl"
        self.trainings = self._read(facts)
        folder.mkdir(parents=True, exist_ok=True)
        # Written whole: a line that a kill cut off must not be appended to.
        lines = [json.dumps(facts), *(json.dumps(asdict(entry)) for entry in self.trainings)]
        self.path.write_text("\n".join(lines) + "\n")

    def _read(self, facts: JsonObject) -> list[Training]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        if not lines:
            return []
        try:
            first = json.loads(lines[0])
        except json.JSONDecodeError:
            raise InputError(
                f"{self.path}: line 1 is not JSON; remove the file or choose another --out"
            ) from None
        if first != facts:
            differ = [name for name in facts if first.get(name) != facts[name]]
            raise InputError(
                f"{self.path} holds peers of {first.get('data')}, {first.get('split')}, and this run differs "
                f"in {', '.join(differ)}; choose another --out"
            )
        result = []
        for line in lines[1:]:
            try:
                result.append(Training(**json.loads(line)))
            except json.JSONDecodeError:
                break  # cut off by a kill: that one is trained again
        return result

    def find(self, peer: str, part: Part, number: int, settings: Settings) -> Training | None:
        wanted = (peer, part, number, settings)
        same = (
            entry
            for entry in self.trainings
            if (entry.peer, entry.part, entry.number, entry.settings) == wanted
        )
        return next(same, None)

    def add(self, training: Training) -> None:
        self.trainings.append(training)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(training)) + "\n")
