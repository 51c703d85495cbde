"""A file system that fills up under everything a service writes: lists go on, and nothing lies about it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.running import AS_ADMIN, Running, running
from tests.waiting import wait_for

pytestmark = pytest.mark.system


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def fill(path: Path) -> None:
    """Writes until nothing fits any more."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)


def metric(made: Running, name: str) -> float:
    result = re.search(rf"^{name} (\S+)$", made.client.get("/metrics").text, re.MULTILINE)
    assert result is not None, name
    return float(result[1])


def test_lists_go_on_and_feedback_waits(
    small_disk: Path, releases: dict[str, Path], admin_token: str
) -> None:
    """Store, spool, stored lists, metrics, access log and error log all lie on the disk."""
    folders: dict[str, Any] = {
        "access_log": str(small_disk / "access.log"),
        "metrics_folder": str(small_disk / "metrics"),
    }
    with running(small_disk, {"a": releases["a"]}, **folders) as made:
        made.rate("u1", "i1", 4.0, "before")
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        body = {
            "events": [{"event_id": "e", "kind": "rating", "user_id": "u1", "item_id": "i2", "rating": 3}]
        }

        def ask(number: int) -> int:
            return made.client.get(f"/v1/users/u{number % 60}/recommendations?count=100").status_code

        assert {ask(number) for number in range(800)} == {200}
        wait_for(lambda: made.client.post("/v1/feedback", json=body).status_code == 503)
        refused = made.client.post("/v1/feedback", json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert made.client.get("/readyz").json() == {"status": "ready", "events": "away"}
        wait_for(lambda: metric(made, "recsys_event_store_available") == 0)
        changes = [
            made.client.put("/v1/items/i1", json={"title": "T"}, headers=AS_ADMIN),
            made.client.patch("/v1/rules", json={"revision": 0, "hide": ["i1"]}, headers=AS_ADMIN),
            made.client.patch(
                "/v1/experiments/main", json={"revision": 0, "shares": {"a": 1.0}}, headers=AS_ADMIN
            ),
        ]
        assert [answer.status_code for answer in changes] == [503] * 3
        assert {ask(number) for number in range(100)} == {200}

        filler.unlink()
        wait_for(lambda: made.client.post("/v1/feedback", json=body).status_code == 200)
        wait_for(lambda: metric(made, "recsys_event_store_available") == 1)
        lost = int(metric(made, "recsys_exposures_lost_total"))
        wait_for(lambda: len(list(made.service.store.exposures())) == 900 - lost)
        assert {event.event_id for event in made.service.store.feedback()} == {"before", "e"}
        messages = sum(entry.data["lost"] for entry in made.service.store.journal(kind="gap"))
        assert messages == lost
