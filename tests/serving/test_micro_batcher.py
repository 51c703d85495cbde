from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.models.base import History
from recsys.release.queries import Query, RecommendationList
from serving.catalogue.rule_set import RuleSet
from serving.engine.micro_batcher import MicroBatcher
from serving.engine.pending_work import DeadlineExceeded
from serving.engine.served_release import ServedRelease
from serving.engine.turn_budget import INLINE_SECONDS, SLOW_SECONDS, InlineRule, TurnBudget


@pytest.fixture(scope="module")
def loaded(releases: dict[str, Path]) -> ServedRelease:
    return ServedRelease("a", releases["a"], RuleSet())


def queries() -> list[Query]:
    """Known users and sessions, mixed."""
    new = History(np.array([3, 8], dtype=np.int32), np.array([5.0, 2.0], dtype=np.float32))
    return [Query(user=n) if n % 2 else Query(user=None, history=new) for n in range(40)]


def rows(answer: RecommendationList) -> list[int]:
    return [entry.item for entry in answer.recommendations]


async def behind_a_call(
    batcher: MicroBatcher, asked: Sequence[Coroutine[Any, Any, RecommendationList]]
) -> list[RecommendationList]:
    """The answers; the thread is held by another call until everybody has asked."""
    go = threading.Event()
    hold = asyncio.create_task(batcher.call(lambda: go.wait(60), seconds=60))
    await asyncio.sleep(0)
    answers = [asyncio.create_task(ask) for ask in asked]
    await asyncio.sleep(0)  # each has begun
    go.set()
    await hold
    return list(await asyncio.gather(*answers))


def test_what_waits_is_answered_together_and_as_if_alone(loaded: ServedRelease) -> None:
    batcher = MicroBatcher()

    async def ask() -> list[RecommendationList]:
        asked = [batcher.submit(loaded, query, seconds=60) for query in queries()]
        return await behind_a_call(batcher, asked)

    together = asyncio.run(ask())
    assert batcher.batched == 40
    assert batcher.batches <= 40
    for query, answer in zip(queries(), together, strict=True):
        assert rows(answer) == rows(loaded.recommender.recommend([query], loaded.rules)[0])
    batcher.close()


def test_queries_of_one_kind_share_a_turn(loaded: ServedRelease) -> None:
    batcher = MicroBatcher()

    asked = [batcher.submit(loaded, Query(user=n), seconds=60) for n in range(30)]
    asyncio.run(behind_a_call(batcher, asked))
    assert batcher.batched == 30
    assert batcher.batches < 15
    batcher.close()


def test_two_arms_take_turns(loaded: ServedRelease, releases: dict[str, Path]) -> None:
    batcher = MicroBatcher()
    other = ServedRelease("b", releases["b"], RuleSet())

    async def ask() -> list[RecommendationList]:
        arms = (loaded, other)
        return await behind_a_call(
            batcher, [batcher.submit(arms[n % 2], Query(user=n), seconds=60) for n in range(30)]
        )

    for n, answer in enumerate(asyncio.run(ask())):
        arm = (loaded, other)[n % 2]
        assert rows(answer) == rows(arm.recommender.recommend([Query(user=n)], arm.rules)[0])
    assert batcher.batched == 30
    assert batcher.batches < 15
    batcher.close()


def test_what_nobody_waits_for_is_not_computed(loaded: ServedRelease) -> None:
    batcher = MicroBatcher()

    async def ask() -> list[BaseException | RecommendationList]:
        go = threading.Event()
        hold = asyncio.create_task(batcher.call(lambda: go.wait(60), seconds=60))
        await asyncio.sleep(0)
        late = [batcher.submit(loaded, Query(user=n), seconds=0.05) for n in range(5)]
        result = await asyncio.gather(*late, return_exceptions=True)
        go.set()
        await hold
        await batcher.submit(loaded, Query(user=1), seconds=60)
        return list(result)

    assert [type(answer) for answer in asyncio.run(ask())] == [DeadlineExceeded] * 5
    assert batcher.batched == 1
    batcher.close()


def test_who_cannot_be_answered_in_time_is_told_at_once_and_nobody_for_good(loaded: ServedRelease) -> None:
    batcher = MicroBatcher()
    batcher._budgets[False].takes = 30.0  # seconds: no query that has 20 left can be answered

    async def ask() -> type[BaseException] | type[RecommendationList]:
        asked = batcher.submit(loaded, Query(user=1), seconds=20)
        try:
            return type(await asyncio.wait_for(asked, 19))
        except DeadlineExceeded:
            return DeadlineExceeded

    result = [asyncio.run(ask()) for _ in range(12)]
    assert result[0] is DeadlineExceeded
    assert result[-1] is RecommendationList
    batcher.close()


def test_short_queries_are_computed_on_the_event_loop(loaded: ServedRelease) -> None:
    """The first of a kind is measured on the thread; later ones do not depend on it, hung or not."""
    batcher = MicroBatcher()
    batcher._inline_rules[False] = batcher._inline_rules[True] = rule = InlineRule()
    hung = threading.Event()

    async def ask() -> list[RecommendationList]:
        await batcher.submit(loaded, Query(user=1), seconds=60)
        assert rule._cost is not None
        rule._cost = 0.0  # whatever this machine makes of it
        hold = asyncio.create_task(batcher.call(lambda: hung.wait(120), seconds=60))
        answers = await asyncio.gather(*(batcher.submit(loaded, query, seconds=60) for query in queries()))
        assert not hold.done()
        hung.set()
        await hold
        return list(answers)

    for query, answer in zip(queries(), asyncio.run(ask()), strict=True):
        assert rows(answer) == rows(loaded.recommender.recommend([query], loaded.rules)[0])
    assert batcher.waiting == 0
    batcher.close()


def test_long_and_slow_queries_are_left_to_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("serving.engine.turn_budget.perf_counter", lambda: now[0])
    rule = InlineRule()
    assert not rule.allows()  # unknown
    rule.record(2 * INLINE_SECONDS)
    assert not rule.allows()
    for _ in range(20):
        rule.record(INLINE_SECONDS / 2)
    assert rule.allows()
    waits = []
    for _ in range(3):
        rule.record_turn(2 * SLOW_SECONDS)  # it waited for a disk, say
        began = now[0]
        while not rule.allows():
            now[0] += 0.5
        waits.append(now[0] - began)
    assert waits == [1.0, 2.0, 4.0]
    for _ in range(30):
        rule.record_turn(SLOW_SECONDS / 2)
    rule.record_turn(2 * SLOW_SECONDS)
    now[0] += 1.0
    assert rule.allows()


def test_a_turn_grows_while_it_is_short_and_shrinks_at_once() -> None:
    budget = TurnBudget(0.01, most=4, takes=0.0)
    for _ in range(3):
        budget.update(budget.most, 0.005)
    assert budget.most == 7
    budget.update(7, 0.07)
    assert budget.most == 1


def test_short_calls_are_done_on_the_event_loop_and_long_ones_are_not() -> None:
    def long() -> str:
        ends = time.thread_time() + 2 * INLINE_SECONDS
        while time.thread_time() < ends:
            pass
        return threading.current_thread().name

    async def main() -> None:
        batcher = MicroBatcher()
        short = lambda: threading.current_thread().name  # noqa: E731
        names = [await batcher.call(short, kind="short", seconds=30) for _ in range(3)]
        assert names == ["recommender", "MainThread", "MainThread"]
        names = [await batcher.call(long, kind="long", seconds=30) for _ in range(3)]
        assert names == ["recommender"] * 3
        with pytest.raises(ZeroDivisionError):
            await batcher.call(lambda: 1 / 0, kind="short", seconds=30)
        batcher.close()

    asyncio.run(main())


@pytest.mark.parametrize(("away", "in_one_pass"), [(1_000.0, True), (-1_000.0, False)])
def test_turns_go_on_for_as_long_as_other_work_took(
    away: float, in_one_pass: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long pass of look-ups the calls that wait are done together, else others come between."""
    monkeypatch.setattr("serving.engine.micro_batcher.LONGEST_SHARE_SECONDS", 1_000.0)
    seen: list[int] = []

    async def main() -> None:
        batcher, loop, count = MicroBatcher(), asyncio.get_running_loop(), 0

        def tick() -> None:
            nonlocal count
            count += 1
            if len(seen) < 6:
                loop.call_soon(tick)

        await batcher.call(lambda: None, kind="short", seconds=30)  # measured on the thread
        batcher._call_rules["short"]._cost = 0.0
        batcher._inline_ended = time.perf_counter() - away
        loop.call_soon(tick)
        calls = [batcher.call(lambda: seen.append(count), kind="short", seconds=30) for _ in range(6)]
        await asyncio.gather(*calls)
        batcher.close()

    asyncio.run(main())
    assert (seen[-1] == seen[0]) == in_one_pass


def test_others_come_between_the_steps_of_folding_in(
    loaded: ServedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the event loop a person is folded in by one member at a time, and answered as if at once."""
    monkeypatch.setattr("serving.engine.micro_batcher.LONGEST_SHARE_SECONDS", 0.0)
    new = History(np.array([5, 9, 11], dtype=np.int32), np.array([5.0, 2.0, 4.0], dtype=np.float32))
    members = sum(member.weight != 0 for member in loaded.release.members)

    async def main() -> tuple[int, RecommendationList]:
        batcher, loop, passes = MicroBatcher(), asyncio.get_running_loop(), 0
        await batcher.submit(loaded, queries()[0], seconds=60)  # measured on the thread
        batcher._inline_rules[True] = rule = InlineRule()
        rule.record(0.0)

        def tick() -> None:
            nonlocal passes
            passes += 1
            loop.call_soon(tick)

        loop.call_soon(tick)
        answer = await batcher.submit(loaded, Query(user=None, history=new), seconds=60)
        counted = passes
        assert batcher.waiting == 0
        batcher.close()
        return counted, answer

    passes, answer = asyncio.run(main())
    assert passes > members >= 2
    alone = ServedRelease("alone", loaded.folder, RuleSet())
    assert rows(answer) == rows(alone.recommender.recommend([Query(user=None, history=new)], alone.rules)[0])
