"""What every provider does, whoever lends the machines. A new one goes into MAKERS and inherits all of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import state as states
from clusters.cluster_errors import ClusterError
from clusters.existing_ray import ExistingRayProvider
from clusters.local import LocalProvider
from clusters.provider import PROVIDERS, Provider, make_provider
from clusters.quote import Quote
from clusters.spec import AddressSpec, ClusterSpec, LocalSpec, RentedSpec, read_spec
from clusters.state import ClusterState
from tests.clusters.played.playing import a_spec, playing
from tests.contracts.harbor import HarborProvider

Case = tuple[Provider, ClusterSpec]


def local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    yield LocalProvider(), LocalSpec(kind="local")


def address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield (
            ExistingRayProvider(),
            AddressSpec(kind="address", address=f"127.0.0.1:{listener.getsockname()[1]}"),
        )


def runpod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with playing(folder, monkeypatch) as play:
        yield play.provider, a_spec()


def harbor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setitem(PROVIDERS, "harbor", "tests.contracts.harbor:HarborProvider")
    monkeypatch.setattr(HarborProvider, "berths", {})
    yield HarborProvider(), read_spec(Path(__file__).with_name("harbor.yaml"))


MAKERS: dict[str, Callable[..., Iterator[Case]]] = {
    "local": local,
    "address": address,
    "runpod": runpod,
    "harbor": harbor,
}


@pytest.fixture(params=sorted({*PROVIDERS, *MAKERS}))
def case(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield from MAKERS[request.param](tmp_path, monkeypatch)


def fresh(spec: ClusterSpec) -> ClusterState:
    state = states.create(spec)
    states.write_private(states.folder(state.name) / "key.pub", "ssh-ed25519 AAAA test\n")
    return state


def quiet(text: str) -> None:
    assert "rpa_" not in text  # no key is ever said


def test_it_is_made_by_its_kind(case: Case) -> None:
    provider, spec = case
    assert type(make_provider(spec.kind)) is type(provider)


def test_a_quote_says_what_it_can_cost_online_and_offline(case: Case) -> None:
    provider, spec = case
    for offline in (False, True):
        quote = provider.quote(spec, offline=offline)
        assert isinstance(quote, Quote)
        assert "$" in quote.text()
        for offer in quote.usable:
            assert 0 < quote.most_usd(offer) <= quote.max_usd


def test_renting_gives_machines_that_are_up_and_noted(case: Case) -> None:
    provider, spec = case
    state = provider.rent(spec, fresh(spec), log=quiet)
    seen = provider.inspect(state)
    assert {node.id for node in seen} == {node.id for node in state.nodes}
    assert all(node.up for node in seen)
    assert states.load(state.name).nodes == state.nodes if state.nodes else True
    wanted = spec.pods if isinstance(spec, RentedSpec) else 0
    assert len(seen) == wanted
    assert all(node.host and node.port for node in state.nodes)


def test_after_ending_nothing_is_left_and_ending_again_is_fine(case: Case) -> None:
    provider, spec = case
    state = provider.rent(spec, fresh(spec), log=quiet)
    bill = provider.end(state, log=quiet)
    assert bill.ours_usd >= 0
    assert provider.inspect(state) == []
    assert provider.marked() == []
    again = provider.end(state, log=quiet)
    assert again.ours_usd == pytest.approx(bill.ours_usd)
    assert "bill: $" in again.text()


def test_marked_machines_can_be_ended_one_by_one(case: Case) -> None:
    provider, spec = case
    provider.rent(spec, fresh(spec), log=quiet)
    for node in provider.marked():
        provider.end_node(node)
    assert provider.marked() == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ClusterError, match="no provider 'aws'; known: local, address, runpod"):
        make_provider("aws")


def test_an_address_where_nobody_is_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    spec = AddressSpec(kind="address", address=f"127.0.0.1:{port}")
    with pytest.raises(ClusterError, match=r"nobody answers at 127\.0\.0\.1:\d+ .*expected the head's GCS"):
        ExistingRayProvider().rent(spec, ClusterState("x", "", {}, 0.0), log=quiet)
