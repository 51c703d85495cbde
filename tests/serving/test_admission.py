"""Load beyond capacity is refused at once; lists of a batch wait and have a deadline each."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from serving.engine.admission import BATCH_WAIT_SECONDS, Admission, BatchCall, Overloaded
from tests.serving.running import Running, running


@dataclass
class Slow:
    """``made`` computes no list while ``go`` is clear, and two at most are in flight; ``submitted`` are the
    seconds that each list had and how many were in flight, at the moment of its turn."""

    made: Running
    go: threading.Event
    submitted: list[tuple[float, int]]


@pytest.fixture
def slow(releases: dict[str, Path], tmp_path: Path) -> Iterator[Slow]:
    with running(tmp_path, {"a": releases["a"]}, max_in_flight=2) as made:
        slow = Slow(made, threading.Event(), [])
        slow.go.set()
        recommender: Any = made.service.deployment.control.recommender
        computation = made.service.computation
        compute, submit = recommender.recommend, computation.batcher.submit

        def recommend(queries: list[Any], rules: Any, **more: Any) -> Any:
            assert slow.go.wait(120)
            return compute(queries, rules, **more)

        def submitted(loaded: Any, query: Any, *, seconds: float) -> Any:
            slow.submitted.append((seconds, computation.admission.in_flight))
            return submit(loaded, query, seconds=seconds)

        with (
            patch.object(recommender, "recommend", recommend),
            patch.object(computation.batcher, "submit", submitted),
        ):
            yield slow


def test_beyond_the_limit_it_is_503_at_once_and_the_rest_is_personal(slow: Slow) -> None:
    """Nothing is computed until somebody has been refused."""
    slow.go.clear()

    def ask(number: int) -> tuple[int, str]:
        answer = slow.made.client.get(f"/v1/users/u{number % 40}/recommendations?explain=true")
        if answer.status_code == 503:
            slow.go.set()
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "overloaded"
            return 503, ""
        return answer.status_code, answer.json()["source"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(120)))
    assert {status for status, _ in answers} == {200, 503}
    assert {source for status, source in answers if status == 200} == {"personal"}
    assert slow.made.list("u1")["source"] == "personal"  # all places are free again
    assert 'recsys_overloads_total{outcome="refused"}' in slow.made.client.get("/metrics").text


def test_sessions_beyond_the_limit_are_refused_and_known_lists_are_not(slow: Slow) -> None:
    """Nothing is computed until a session has been refused."""
    client = slow.made.client
    slow.made.list("u1")
    session = {"ratings": [{"item_id": "i1", "rating": 4}], "user_id": "new"}
    slow.go.clear()

    def ask(number: int) -> tuple[bool, httpx.Response]:
        known = number % 4 == 0
        answer = client.post("/v1/recommendations", json={"user_id": "u1"} if known else session)
        if answer.status_code == 503:
            slow.go.set()
        return known, answer

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(80)))
    assert {answer.status_code for known, answer in answers if known} == {200}
    assert {answer.status_code for known, answer in answers if not known} == {200, 503}
    refused = next(answer for _, answer in answers if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["retry-after"] == "1"
    counted = client.get("/metrics").text
    assert 'recsys_requests_total{route="/v1/recommendations",status="503"}' in counted
    assert client.post("/v1/recommendations", json=session).json()["source"] == "folded_in"


def test_every_list_of_a_batch_is_personal(slow: Slow) -> None:
    """Sixty lists wait for the one place of batches: each has the whole deadline, from its own turn on."""
    asked = [{"user_id": f"u{number % 40}", "explain": True} for number in range(60)]
    answer = slow.made.client.post("/v1/recommendations/batch", json={"requests": asked})
    assert answer.status_code == 200, answer.text
    assert [entry["user_id"] for entry in answer.json()["answers"]] == [entry["user_id"] for entry in asked]
    assert {entry["source"] for entry in answer.json()["answers"]} == {"personal"}
    assert set(slow.submitted) == {(60.0, 1)}


def test_a_batch_leaves_places_for_single_calls() -> None:
    async def main() -> None:
        admission = Admission(4)
        order: list[str] = []
        release = asyncio.Event()

        call = BatchCall()

        async def batched(name: str) -> None:
            async with admission.slot(batch=call):
                order.append(name)
                await release.wait()

        tasks = [asyncio.create_task(batched(f"b{number}")) for number in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == ["b0", "b1"]
        async with admission.slot(), admission.slot():
            assert admission.in_flight == 4
            with pytest.raises(Overloaded):
                async with admission.slot():
                    pass
        tasks[3].cancel()
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["b0", "b1", "b2", "b4"]
        assert admission.in_flight == 0

    asyncio.run(main())


def test_who_would_wait_too_long_is_refused_before_the_limit() -> None:
    """Lists take 10 ms each, one after the other: five of them fit into half of 110 ms, and two always do."""
    now = 0.0

    async def main() -> None:
        nonlocal now
        admission = Admission(8, deadline=0.11, clock=lambda: now)
        for _ in range(100):
            async with admission.slot():
                now += 0.01
        async with contextlib.AsyncExitStack() as slots:
            for _ in range(5):
                assert not admission.full
                await slots.enter_async_context(admission.slot())
            assert admission.full
            with pytest.raises(Overloaded):
                await slots.enter_async_context(admission.slot())
            for _ in range(3):
                await slots.enter_async_context(admission.slot(patient=True))
            with pytest.raises(Overloaded):
                await slots.enter_async_context(admission.slot(patient=True))
        for _ in range(100):  # a stall, again and again
            async with admission.slot():
                now += 100.0
        assert not admission.full
        async with admission.slot():
            assert not admission.full
            async with admission.slot():
                assert admission.full
        for _ in range(100):
            async with admission.slot():
                now += 0.001
        async with admission.slot(), admission.slot():
            assert not admission.full

    asyncio.run(main())


def test_a_short_queue_may_take_more_of_the_deadline() -> None:
    """Of 40 ms the third in a queue may expect 30, the fourth 25, the fifth 20."""

    async def longest_queue(seconds_each: float) -> int:
        now = 0.0
        admission = Admission(8, deadline=0.04, clock=lambda: now)
        for _ in range(200):
            async with admission.slot():
                now += seconds_each
        async with contextlib.AsyncExitStack() as slots:
            while not admission.full:
                await slots.enter_async_context(admission.slot())
            return admission.in_flight

    for milliseconds, expected in ((3.9, 5), (4.1, 4), (6.2, 4), (6.4, 3), (9.9, 3), (10.1, 2), (50, 2)):
        assert asyncio.run(longest_queue(milliseconds / 1000)) == expected, milliseconds


def test_a_batch_that_gets_no_turn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.engine.admission.BATCH_WAIT_SECONDS", 0.01)

    async def main() -> None:
        admission = Admission(1)
        async with admission.slot():
            with pytest.raises(Overloaded):
                async with admission.slot(batch=BatchCall()):
                    pass
        assert admission.in_flight == 0
        async with admission.slot(batch=BatchCall()):
            assert admission.in_flight == 1

    asyncio.run(main())


class InstantLoop(asyncio.SelectorEventLoop):
    """Where everybody waits, its clock jumps to the end of the first wait."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def test_a_batch_waits_for_its_own_lists_and_not_long_for_others() -> None:
    """Twenty lists of three seconds each, one at a time, and meanwhile another call of two lists."""

    async def main() -> None:
        admission = Admission(1)
        own, other = BatchCall(), BatchCall()

        async def computed(call: BatchCall) -> float:
            async with admission.slot(batch=call):
                await asyncio.sleep(3.0)
            return asyncio.get_running_loop().time()

        async def refused(call: BatchCall) -> float:
            with pytest.raises(Overloaded):
                await computed(call)
            return asyncio.get_running_loop().time()

        waiting = [asyncio.create_task(computed(own)) for _ in range(20)]
        await asyncio.sleep(0)
        late = [asyncio.create_task(refused(other)) for _ in range(2)]
        assert await asyncio.gather(*waiting) == [3.0 * (number + 1) for number in range(20)]
        assert await asyncio.gather(*late) == [BATCH_WAIT_SECONDS] * 2
        assert admission.in_flight == 0

    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        runner.run(main())
