"""The cluster's price and caps as the search's own options."""

from __future__ import annotations

import pytest

from clusters.budget_args import last_value, with_limits
from clusters.cluster_info import ClusterInfo, hours_left, read_cluster_info

FACTS = ClusterInfo(
    provider="runpod",
    name="abc",
    gpu="NVIDIA RTX A6000",
    gpus_per_pod=1,
    pods=2,
    trials_per_gpu=1,
    batch_size=2048,
    usd_per_hour=1.0,
    spent_usd=0.5,
    written=1000.0,
    deadline=1000.0 + 7200.0,
    max_usd=8.0,
    max_hours=6.0,
)


def options(arguments: list[str]) -> dict[str, str]:
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def test_price_nodes_and_what_is_left() -> None:
    messages = options(with_limits([], FACTS, before_seconds=0, user_arguments=[]))
    assert messages == {
        "--price": "0.5000",
        "--set": "nodes=2",
        "--max-hours": "1.9167",
        "--max-cost": "8.00",
    }


def test_a_tighter_cap_of_the_persons_own_holds() -> None:
    user_arguments = ["--max-hours", "0.5", "--max-cost=2"]
    messages = with_limits(user_arguments, FACTS, before_seconds=0, user_arguments=user_arguments)
    assert last_value(messages, "--max-hours") == 0.5
    assert last_value(messages, "--max-cost") == 2.0


def test_a_resumed_run_has_its_earlier_hours_on_top() -> None:
    messages = with_limits(["--resume"], FACTS, before_seconds=3600, user_arguments=[])
    assert last_value(messages, "--max-hours") == pytest.approx(2.9167)


def test_facts_come_back_from_their_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("BREAKTHROUGH_CLUSTER_FACTS", raising=False)
    assert read_cluster_info() is None
    (tmp_path / "facts.json").write_text(FACTS.to_json())
    monkeypatch.setenv("BREAKTHROUGH_CLUSTER_FACTS", str(tmp_path / "facts.json"))
    assert read_cluster_info() == FACTS
    assert FACTS.spent_by(1000.0 + 1800) == pytest.approx(1.0)
    assert hours_left(FACTS) == 0.0
