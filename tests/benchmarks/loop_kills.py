"""The loop's controller killed (SIGKILL) at every step of a cycle, in four places each.

    python -m tests.benchmarks.loop_kills

Journal, lease, event store, search process, experiment and roll-out are the real ones; people are made up,
the clock is theirs, and the search is a shell command. Each look is made by a process of its own that is
killed before it did anything, after it did and before its decision is in the journal, in the middle of the
journal's line, or behind it. In the end all must stand as after the same cycle without a kill.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recsys.text_table import text_table
from recsys.types import JsonObject
from serving.events.store import EventStore
from serving.loop import loop_journal
from serving.loop.loop_controller import LoopController
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import LoopRecord, LoopState, read_journal
from serving.loop.loop_lease import LoopLease
from serving.loop.loop_steps import mirror_records
from serving.loop.search_process import SearchProcess
from tests.benchmarks.simulations.behaviour import Behaviour
from tests.benchmarks.simulations.loop_world import HOUR, LoopWorld
from tests.releases import make_release
from tests.serving.loop.evidence import ENOUGH

PLACES = ("before", "done", "half a line", "behind")
WAIT_S = 300.0


def kill() -> None:
    """Ends this process as nothing else does: no handler runs, no file is closed in order."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Steps:
    """The phases of a world, with the search as a process; ``at`` is where it is killed."""

    world: LoopWorld
    folder: Path
    release: str
    at: str = ""
    known: int = 0  # records when the look began

    @property
    def search(self) -> SearchProcess:
        return SearchProcess(self.folder / "cycle-0001")

    def evidence(
        self, state: LoopState, records: list[LoopRecord], *, now: float, paused: str | None
    ) -> JsonObject:
        self.known = len(records)
        if self.at == "before":
            kill()
        seen = self._evidence(state)
        if self.at == "done":
            kill()
        return seen

    def _evidence(self, state: LoopState) -> JsonObject:
        if state.phase is Phase.IDLE:
            return ENOUGH[Phase.IDLE] | self.world.state.start
        if state.phase is Phase.SEARCH:
            words = f"echo begun >> {self.folder / 'begun'}; sleep 0.2"
            self.search.start(["/bin/sh", "-c", words], number=1)
            code = self.search.exit_code(1)
            return ENOUGH[Phase.SEARCH] | {"release": self.release, "exit_code": code, "hours": 0.0}
        if state.phase in (Phase.DATASET, Phase.GATE):
            return ENOUGH[state.phase]
        return self.world.evidence(state)

    def mirror(self, records: list[LoopRecord]) -> None:
        if self.at == "behind" and len(records) > self.known and records[-1].moves:
            kill()
        mirror_records(self.world.store, records, experiment="main", folder=self.folder)


@dataclass
class Cycle:
    """``kills`` are (phase, place) in their order; ``moves`` the journal's decisions that began a phase."""

    moves: list[tuple[str, str, str]]
    revisions: list[JsonObject]
    searches: int
    shown: list[str]
    kills: list[tuple[Phase, str]] = field(default_factory=list)


def cycle(folder: Path, release: str, *, candidate: Behaviour, kills: bool) -> Cycle:
    """One cycle from its trigger to its end, with every kill or with none."""
    world = LoopWorld(folder, release, candidate=candidate)
    loop_folder = folder / "loop"
    settings = world.settings.model_copy(update={"folder": str(loop_folder)})
    killed: list[tuple[Phase, str]] = []

    def look(at: str) -> bool:
        """A look by a process that knows the journal alone; whether it was killed."""
        child = os.fork()
        if child == 0:
            try:
                world.store = EventStore(world.store.url)
                steps = Steps(world, loop_folder, release, at)
                if at == "half a line":
                    loop_journal.append_line = _half_a_line  # type: ignore[assignment]
                with LoopLease(loop_folder):
                    loop = LoopController(settings, steps, notify=lambda _: None, clock=lambda: world.now)
                    loop.step()
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        return code != 0

    def phase() -> Phase:
        return loop_journal.state_of(read_journal(loop_folder / "journal.jsonl")).phase

    began = time.monotonic()
    begun = False
    while not (begun and phase() is Phase.IDLE):
        assert time.monotonic() < began + WAIT_S
        now = phase()
        left = [index for index in PLACES if kills and (now, index) not in killed]
        if look(left[0] if left else ""):
            killed.append((now, left[0]))
        elif phase() is now is Phase.SEARCH:
            time.sleep(0.02)
        elif phase() is now:
            world.traffic()
            world.now += 0.1 * HOUR
            world.rollouts.tick()
        begun = begun or phase() is not Phase.IDLE
    look("")  # the page shows what was decided last
    records = read_journal(loop_folder / "journal.jsonl")
    revisions = world.store.experiment_history("main")
    return Cycle(
        moves=[(row.phase, row.next, row.reason) for row in records if row.moves and row.cycle == 1],
        revisions=[json.loads(json.dumps(state.__dict__, default=str)) for state in revisions],
        searches=len((loop_folder / "begun").read_text().split()),
        shown=[row.data["next"] for row in world.store.journal(kind="loop") if row.data["moves"]],
        kills=killed,
    )


def _half_a_line(path: Path, row: JsonObject, **_: object) -> None:
    """What a kill leaves of a line that moves the loop; others are written whole."""
    text = json.dumps(row, separators=(",", ":")).encode() + b"\n"
    whole = row["row"]["kind"] != "decision" or row["row"]["next"] == row["row"]["phase"]
    with path.open("ab") as file:
        file.write(text if whole else text[: len(text) // 2])
        file.flush()
    if not whole:
        kill()


def table(reference: Cycle, cut: Cycle) -> list[list[str]]:
    """A row for each phase: which kills there were, and whether its decision is that of the cycle without."""
    rows = []
    for before, following, reason in cut.moves:
        positions = [index for phase, index in cut.kills if phase == before]
        same = (before, following, reason) in reference.moves
        rows.append([f"{before} -> {following}", ", ".join(positions), "the same" if same else "ANOTHER"])
    return rows


def planted(folder: Path, candidate: Behaviour, make: Callable[[Path], Path]) -> tuple[Cycle, Cycle]:
    """The cycle without and with all kills."""
    folder.mkdir()
    release = str(make(folder / "release"))
    result = []
    for name, kills in (("whole", False), ("cut", True)):
        (folder / name).mkdir()
        result.append(cycle(folder / name, release, candidate=candidate, kills=kills))
    return result[0], result[1]


def main() -> int:
    """The exit code: 1 where a kill made a difference."""
    differences = 0
    with tempfile.TemporaryDirectory() as name:
        for label, hit in (("better", 0.5), ("worse", 0.05)):
            reference, cut = planted(Path(name) / label, Behaviour(hit=hit), make_release)
            phases = {before for before, _, _ in reference.moves}
            complete = set(cut.kills) == {(Phase(phase), index) for phase in phases for index in PLACES}
            without, after = (
                (entry.moves, entry.revisions, entry.shown, entry.searches) for entry in (reference, cut)
            )
            differences += not complete or without != after
            print(text_table([f"{label} candidate", "killed", "decision"], table(reference, cut)))
            print(f"{len(cut.kills)} kills; all as without: {without == after}; ", end="")
            print(f"revisions {len(cut.revisions)}, searches {cut.searches}\n")
    return int(differences > 0)


if __name__ == "__main__":
    raise SystemExit(main())
