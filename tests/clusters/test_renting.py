"""Renting against the played service: after each failure no pod is left, or exactly the right ones."""

from __future__ import annotations

import time

import pytest

from clusters import state as states
from clusters.cluster_errors import ClusterFailed
from clusters.runpod.lifecycle import dead_mans_switch
from clusters.runpod.rest_schemas import read_pods
from clusters.runpod.teardown import ENV_MARK, is_marked
from tests.clusters.played.cloud import Fault
from tests.clusters.played.playing import Play, a_spec
from tests.clusters.played.request_schemas import CreateGpu, CreatePod

TWO = {"pods": 2, "global_networking": True, "data_centers": ["EU-RO-1"]}


def test_a_pod_is_rented_marked_and_answers(play: Play) -> None:
    state = play.rent(a_spec(min_cuda="12.8"))
    (pod,) = play.cloud.living()
    assert (state.head.id, state.head.port) == (pod.id, pod.port)
    assert pod.request.name == f"breakthrough-{state.owner}-{state.name}-1"
    assert pod.request.env[ENV_MARK] == state.name
    assert pod.request.ports == ["22/tcp"]  # nothing else listens to the world
    assert play.cloud.account_key not in pod.request.model_dump_json()
    assert states.load(state.name).head.usd_per_hour == 0.53


def test_two_pods_of_one_centre(play: Play) -> None:
    state = play.rent(a_spec(**TWO))
    assert len(state.nodes) == 2
    assert all(node.private_ip for node in state.nodes)
    assert all(pod.request.dataCenterIds == ["EU-RO-1"] for pod in play.cloud.living())


@pytest.mark.failure("no capacity for the first GPU", "400 on create", seen="cannot be had")
def test_without_capacity_the_next_gpu_is_taken_with_its_batch(play: Play) -> None:
    play.cloud.capacity["NVIDIA RTX A6000"] = 0
    state = play.rent(a_spec())
    assert (state.head.gpu, state.batch_size) == ("NVIDIA GeForce RTX 4090", 1536)
    assert any("cannot be had" in line for line in play.said)


@pytest.mark.failure("half a cluster had", "capacity for one of two", seen="cannot be had")
def test_half_a_cluster_is_given_back_before_the_next_gpu(play: Play) -> None:
    play.cloud.capacity["NVIDIA RTX A6000"] = 1
    state = play.rent(a_spec(**TWO))
    assert {pod.request.gpu.id for pod in play.cloud.living() if pod.request.gpu} == {
        "NVIDIA GeForce RTX 4090"
    }
    assert len(play.cloud.living()) == 2
    assert len(state.gone) == 1


@pytest.mark.failure("no capacity at all", "400 on every create", seen="no GPU of the list could be had")
def test_no_capacity_at_all_leaves_nothing(play: Play) -> None:
    play.cloud.capacity = {"NVIDIA RTX A6000": 0, "NVIDIA GeForce RTX 4090": 0}
    with pytest.raises(
        ClusterFailed, match=r"no GPU of the list could be had:(.|\n)*nothing is left running"
    ):
        play.rent(a_spec())
    assert play.cloud.living() == []


@pytest.mark.failure(
    "create failed but rented: {kind}", "the answer, after renting", seen="may have been rented all the same"
)
@pytest.mark.parametrize("kind", ["rent_then_error", "rent_then_hang", "cut"])
def test_a_create_that_failed_but_rented_is_found_by_name(play: Play, kind: str) -> None:
    play.fault("POST", "/v2/pods", kind)
    state = play.rent(a_spec())
    assert [pod.id for pod in play.cloud.living()] == [state.head.id]
    assert len(play.cloud.pods) == 1


@pytest.mark.failure(
    "create failed, nothing rented: {kind}", "the first create", seen="may have been rented all the same"
)
@pytest.mark.parametrize("kind", ["status", "drop", "hang"])
def test_a_create_that_failed_and_rented_nothing_is_made_again(play: Play, kind: str) -> None:
    play.fault("POST", "/v2/pods", kind)
    state = play.rent(a_spec())
    assert [pod.request.name for pod in play.cloud.living()] == [state.head.name]
    assert state.head.name.endswith("-2")  # no name is used twice


@pytest.mark.failure("a pod that never works: {life}", "the first pod", seen="{words}")
@pytest.mark.parametrize(
    ("life", "limits", "words"),
    [
        ("dead_network", {"network_minutes": 0.002}, "its network is not"),
        ("never_starts", {"boot_minutes": 0.004}, "still STARTING after boot_minutes"),
        ("error_at_start", {}, "ERROR before it was ready"),
    ],
)
def test_a_dead_pod_is_ended_and_another_rented(
    play: Play, life: str, limits: dict[str, float], words: str
) -> None:
    play.cloud.lives = [life]
    state = play.rent(a_spec(**limits))
    assert any(words in line for line in play.said)
    assert [pod.id for pod in play.cloud.living()] == [state.head.id]
    assert len(play.cloud.pods) == 2


@pytest.mark.failure("every pod is dead", "ERROR at start, always", seen="3 pods never worked")
def test_dead_pods_are_not_rented_for_ever(play: Play) -> None:
    play.cloud.lives = ["error_at_start"] * 9
    with pytest.raises(ClusterFailed, match=r"3 pods never worked \(last: .*ERROR"):
        play.rent(a_spec(replacements=2))
    assert len(play.cloud.pods) == 3
    assert play.cloud.living() == []


@pytest.mark.failure("dearer than quoted", "price 9.00 after the quote", seen="above max_usd_per_hour")
def test_a_pod_dearer_than_quoted_is_given_back(play: Play) -> None:
    spec = a_spec(max_usd_per_hour=0.80)
    state = play.state(spec)
    quote = play.provider.quote(spec)
    from tests.clusters.played import cloud as played

    before = dict(played.CATALOGUE)
    played.CATALOGUE["NVIDIA RTX A6000"] = (9.0, 9.0, 48)
    try:
        from clusters.runpod.lifecycle import rent_pods

        state = rent_pods(
            play.provider.client, spec, state, quote, log=play.said.append, pace=play.provider.pace
        )
    finally:
        played.CATALOGUE.update(before)
    assert state.head.gpu == "NVIDIA GeForce RTX 4090"
    assert len(play.cloud.living()) == 1


@pytest.mark.failure("the cap would break", "max_usd 0.01", seen="would break the cap")
def test_a_create_that_would_break_the_cap_is_refused(play: Play) -> None:
    spec = a_spec(max_usd=0.01)
    with pytest.raises(ClusterFailed, match=r"would break the cap: \$0.00 of \$0.01 spent"):
        play.rent(spec)
    assert play.cloud.pods == {}


def test_spent_dollars_count_against_the_next_create(play: Play) -> None:
    spec = a_spec(max_usd=0.60)
    state = play.state(spec)
    old = states.Node("old", "old", 0.53, time.time() - 3600, ended=time.time())
    states.record_node(state.name, old)
    states.record_ended(state.name, {"old"})
    state = states.update(state.name, created=time.time())
    play.provider.rent(spec, state, log=play.said.append)  # 0.53 of 0.60 spent: a little is left
    play.provider.end(states.load(state.name), log=play.said.append)
    spec = a_spec(max_usd=0.54)
    with pytest.raises(ClusterFailed, match="would break the cap"):
        play.provider.rent(spec, states.load(state.name), log=play.said.append)
    assert play.cloud.living() == []


@pytest.mark.failure("Ctrl-C while waiting for a pod", "KeyboardInterrupt", seen="PROVISIONING|STARTING")
def test_an_interrupt_while_waiting_leaves_nothing(play: Play) -> None:
    play.cloud.lives = ["never_starts"]

    def interrupt(line: str) -> None:
        play.said.append(line)
        if "pulling" in line:
            raise KeyboardInterrupt

    spec = a_spec()
    with pytest.raises(KeyboardInterrupt):
        play.provider.rent(spec, play.state(spec), log=interrupt)
    assert play.cloud.living() == []


@pytest.mark.failure(
    "the service cannot end a pod", "500 on every end, for a while", seen=r"pod\(s\) may still be running"
)
def test_when_the_service_cannot_end_a_pod_it_is_named_with_the_command(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = play.rent(a_spec())
    play.cloud.faults += [
        Fault("POST", "/v2/pods/.*/action", "status", times=10**6),
        Fault("DELETE", "/v2/pods/.*", "status", times=10**6),
    ]
    monkeypatch.setattr("clusters.runpod.teardown.PATIENCE_SECONDS", 0.1)
    with pytest.raises(ClusterFailed, match=r"1 pod\(s\) may still be running") as caught:
        play.provider.end(state, log=play.said.append)
    assert state.head.name in str(caught.value)
    assert f"{play.api.url}/v2/pods/{state.head.id}" in str(caught.value)
    assert play.cloud.account_key not in str(caught.value)
    play.said.append(str(caught.value))


def test_only_marked_pods_are_ever_touched(play: Play) -> None:
    theirs = play.cloud.create(CreatePod(name="training", image="x", gpu=CreateGpu(id="NVIDIA RTX A6000")))
    named = play.cloud.create(
        CreatePod(name="breakthrough-aaaa-bbbb-1", image="x", gpu=CreateGpu(id="NVIDIA RTX A6000"))
    )
    assert not isinstance(theirs, str)
    assert not isinstance(named, str)
    state = play.rent(a_spec())
    assert [node.id for node in play.provider.marked()] == [state.head.id]
    play.provider.end(state, log=play.said.append)
    assert {pod.id for pod in play.cloud.living()} == {theirs.id, named.id}
    pods = read_pods({"pods": [play.cloud.shown(theirs), play.cloud.shown(named)]})
    assert not any(is_marked(pod) for pod in pods)


def test_the_bill_is_on_both_sides(play: Play) -> None:
    state = play.rent(a_spec())
    bill = play.provider.end(state, log=play.said.append)
    (entry,) = play.cloud.ledger()
    assert bill.theirs_usd == pytest.approx(entry["usd"], abs=1e-5)
    assert bill.ours_usd >= entry["usd"]  # we count from before the create call
    assert bill.ours_usd == pytest.approx(entry["usd"], abs=1e-4)
    assert entry["ended_by"] == "the account"


def test_the_dead_mans_switch_names_no_secret_and_starts_the_image() -> None:
    spec = a_spec(boot_minutes=10, network_minutes=5)
    words = dead_mans_switch(spec, "https://api.example", deadline=1_800_000_000)
    assert words.endswith("exec /start.sh'")
    assert "S=$(($(date +%s)+1500));" in words
    assert "D=1800000000;" in words
    assert "$RUNPOD_API_KEY" in words
    assert "https://api.example/v2/pods/$RUNPOD_POD_ID" in words
