"""Items added and hidden while eight clients ask two replicas: nothing fails, nothing hidden is shown."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from tests.serving.running import AS_ADMIN, running
from tests.waiting import wait_for

CLIENTS, LISTS, CHANGES = 8, 40, 6


def ask(url: str, client: int, began_after: dict[str, float], failures: list[Any]) -> None:
    """Lists for changing users; ``failures`` gets what is no list or shows what was hidden before."""
    with httpx.Client(base_url=url, timeout=120) as session:
        for number in range(LISTS):
            gone = {item for item, at in list(began_after.items()) if at < perf_counter()}
            answer = session.get(f"/v1/users/u{(client + 7 * number) % 59}/recommendations?count=30")
            if answer.status_code != 200:
                failures.append((answer.status_code, answer.text))
            elif shown := gone & {item["id"] for item in answer.json()["items"]}:
                failures.append(shown)


def test_nothing_fails_and_every_replica_follows(
    releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    entry = {"a": releases["a"]}
    with running(tmp_path, entry) as first, running(tmp_path, entry) as second:
        hidden: dict[str, float] = {}
        failures: list[Any] = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [
                pool.submit(ask, (first, second)[n % 2].url, n, hidden, failures) for n in range(CLIENTS)
            ]
            for number in range(CHANGES):
                here, there = (first, second) if number % 2 else (second, first)
                body = {"title": f"New {number}"}
                added = here.client.put(f"/v1/items/n{number}", json=body, headers=AS_ADMIN)
                gone = here.client.delete(f"/v1/items/i{number}", headers=AS_ADMIN)
                assert (added.status_code, gone.status_code) == (200, 200)
                wait_for(lambda there=there, n=number: there.client.get(f"/v1/items/n{n}").is_success)
                wait_for(lambda there=there, n=number: there.client.get(f"/v1/items/i{n}").status_code == 404)
                hidden[f"i{number}"] = perf_counter()
            for future in asked:
                future.result()
        assert failures == []
        assert len(hidden) == CHANGES
