"""Load while shares and releases change, and while a replica is killed."""

from __future__ import annotations

import argparse
import asyncio

import httpx
import numpy as np

from tests.benchmarks.serving.client import Figures, known, load
from tests.benchmarks.serving.programs import ADMIN, Program, memory


def under_change(program: Program, options: argparse.Namespace) -> None:
    """Load while shares change every second and the second arm's release every minute."""
    url = f"http://127.0.0.1:{program.port}/v1/experiments/main"
    stop = asyncio.Event()
    memories: list[float] = []
    refused: list[str] = []

    async def change() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            step = 0
            while not stop.is_set():
                step += 1
                state = (await client.get(url)).json()
                share = (step % 9 + 1) / 10
                second = options.release if (step // 60) % 2 else options.second
                arms = [
                    {"name": "main", "release": str(options.release), "share": round(1 - share, 2)},
                    {"name": "second", "release": str(second), "share": share},
                ]
                body = {"revision": state["revision"], "arms": arms}
                answer = await client.put(url, json=body, headers=ADMIN)
                if answer.status_code != 200:
                    refused.append(answer.text)
                memories.append(sum(memory(process)[0] for process in program.replicas()))
                await asyncio.sleep(1.0)

    async def both() -> Figures:
        changing = asyncio.create_task(change())
        found = await load(program.port, known(options.users), workers=8, seconds=60 * options.minutes)
        stop.set()
        await changing
        return found

    figures = asyncio.run(both())
    print(f"{'under change, ' + str(options.minutes) + ' min':34} c=8   {figures.line()}")
    third = max(len(memories) // 3, 1)
    print(
        f"revisions {len(memories)}, refused {len(refused)}; PSS of the replicas, MB: first third "
        f"{np.mean(memories[:third]):.0f}, last third {np.mean(memories[-third:]):.0f}"
    )
