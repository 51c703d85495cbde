"""Load while shares and releases change, and while a replica is killed."""

from __future__ import annotations

import argparse
import asyncio
import threading
from dataclasses import dataclass, field

import httpx
import numpy as np

from tests.benchmarks.serving.client import known, load
from tests.benchmarks.serving.programs import ADMIN, Program, memory

LOOK_SECONDS = 5  # between looks at the replicas' memory: each takes the kernel milliseconds


@dataclass
class Changes:
    """Made by a thread of its own, so that what it does is not taken for the service's time."""

    program: Program
    options: argparse.Namespace
    stop: threading.Event = field(default_factory=threading.Event)
    made: int = 0
    refused: list[str] = field(default_factory=list)
    memories: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Shares every second, the second arm's release every minute. What goes wrong counts as refused."""
        try:
            self.change()
        except httpx.HTTPError as error:
            self.refused.append(f"{type(error).__name__}, and no change after it")

    def change(self) -> None:
        url = f"http://127.0.0.1:{self.program.port}/v1/experiments/main"
        with httpx.Client(timeout=60) as client:
            while not self.stop.wait(1.0):
                self.made += 1
                body = {"revision": client.get(url).json()["revision"], "arms": self.arms()}
                answer = client.put(url, json=body, headers=ADMIN)
                if answer.status_code != 200:
                    self.refused.append(answer.text)
                if self.made % LOOK_SECONDS == 0:
                    self.memories.append(sum(memory(process)[0] for process in self.program.replicas()))

    def arms(self) -> list[dict[str, object]]:
        share = (self.made % 9 + 1) / 10
        releases = (self.options.second, self.options.release)
        second = releases[(self.made // 60) % 2]
        return [
            {"name": "main", "release": str(self.options.release), "share": round(1 - share, 2)},
            {"name": "second", "release": str(second), "share": share},
        ]


def under_change(program: Program, options: argparse.Namespace) -> None:
    changes = Changes(program, options)
    thread = threading.Thread(target=changes.run, daemon=True)
    thread.start()
    figures = asyncio.run(load(program.port, known(options.users), workers=8, seconds=60 * options.minutes))
    changes.stop.set()
    thread.join(60)
    print(f"{'under change, ' + str(options.minutes) + ' min':34} c=8   {figures.line()}")
    third = max(len(changes.memories) // 3, 1)
    for reason in changes.refused[:3]:
        print(f"refused: {reason}")
    print(
        f"revisions {changes.made}, refused {len(changes.refused)}; PSS of the replicas together, MB: first "
        f"third {np.mean(changes.memories[:third]):.0f}, last third {np.mean(changes.memories[-third:]):.0f}"
    )
