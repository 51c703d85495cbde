"""The API's failures, one by one: what is tried again, what is told, and that the key is in no message."""

from __future__ import annotations

import pytest

from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.runpod.client import CreateUnknown, PodUnavailable, RunpodApiError, RunpodClient
from clusters.runpod.rest_schemas import next_page, read_pod
from tests.clusters.played.cloud import Fault
from tests.clusters.played.playing import Play, a_spec


@pytest.mark.failure("API trouble on a read: {kind}", "the first two answers", seen="")
@pytest.mark.parametrize("kind", ["status", "cut", "drop", "hang"])
def test_a_read_is_tried_again(play: Play, kind: str) -> None:
    play.fault("GET", "/v2/pods", kind, times=2)
    assert play.provider.client.pods() == []
    assert len(play.slept) == 2


@pytest.mark.failure("429 with Retry-After", "one 429, Retry-After 7", seen="")
def test_retry_after_is_obeyed(play: Play) -> None:
    play.cloud.faults.append(Fault("GET", "/v2/pods", "status", status=429, headers={"Retry-After": "7"}))
    assert play.provider.client.pods() == []
    assert play.slept == [7.0]


@pytest.mark.failure("API down", "503 for ever", seen="did not answer .* in 6 tries")
def test_a_service_that_is_down_is_told_and_not_waited_for_endlessly(play: Play) -> None:
    play.cloud.faults.append(Fault("GET", "/v2/pods", "status", times=99, status=503))
    with pytest.raises(RunpodApiError, match=r"did not answer GET /v2/pods in 6 tries \(last: 503") as caught:
        play.provider.client.pods()
    play.said.append(str(caught.value))


@pytest.mark.failure("wrong RUNPOD_API_KEY", "401", seen="refused RUNPOD_API_KEY")
def test_a_wrong_key_is_told_with_where_to_get_one(play: Play) -> None:
    client = RunpodClient("wrong-key-1234")
    with pytest.raises(ClusterError, match=r"refused RUNPOD_API_KEY \(401.*console") as caught:
        client.pods()
    assert "wrong-key-1234" not in str(caught.value)
    play.said.append(str(caught.value))


@pytest.mark.failure("RUNPOD_API_KEY missing", "unset", seen="RUNPOD_API_KEY is not set")
def test_a_missing_key_is_told(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    with pytest.raises(ClusterError, match=r"RUNPOD_API_KEY is not set.*export RUNPOD_API_KEY") as caught:
        RunpodClient.from_environment()
    play.said.append(str(caught.value))


@pytest.mark.failure("empty account", "402 on create", seen="not enough balance")
def test_an_empty_account_is_told_as_such(play: Play) -> None:
    play.cloud.faults.append(Fault("POST", "/v2/pods", "status", status=402))
    with pytest.raises(ClusterError, match="not enough balance") as caught:
        play.provider.client.create({"name": "x", "image": "y", "gpu": {"id": "NVIDIA RTX A6000"}})
    play.said.append(str(caught.value))


@pytest.mark.parametrize("kind", ["status", "drop", "hang", "cut", "rent_then_error"])
def test_a_create_without_clean_answer_is_never_tried_again_blindly(play: Play, kind: str) -> None:
    play.fault("POST", "/v2/pods", kind)
    with pytest.raises(CreateUnknown):
        play.provider.client.create({"name": "x", "image": "y", "gpu": {"id": "NVIDIA RTX A6000"}})
    assert [call[:2] for call in play.cloud.calls].count(("POST", "/v2/pods")) <= 1


def test_a_create_that_breaks_the_contract_is_told_with_the_field(play: Play) -> None:
    with pytest.raises(RunpodApiError, match=r"422.*imageName: Extra inputs"):
        play.provider.client.create({"name": "x", "image": "y", "imageName": "z"})
    with pytest.raises(PodUnavailable, match="exactly one of gpu or cpu"):
        play.provider.client.create({"name": "x", "image": "y"})


@pytest.mark.failure("terminate answers {status}", "six times", seen="")
@pytest.mark.parametrize("status", [405, 409, 500])
def test_where_the_terminate_action_fails_the_pod_is_deleted(play: Play, status: int) -> None:
    state = play.rent(a_spec())
    play.cloud.faults.append(Fault("POST", "/v2/pods/.*/action", "status", times=6, status=status))
    play.provider.client.terminate(state.head.id)
    assert play.cloud.living() == []
    assert ("DELETE", f"/v2/pods/{state.head.id}", 204) in play.cloud.calls


@pytest.mark.failure("404 on ending", "a pod that never was", seen="")
def test_ending_what_is_gone_is_fine(play: Play) -> None:
    play.provider.client.terminate("never-was")
    assert play.provider.client.pod("never-was") is None


def test_an_answer_of_another_shape_is_told() -> None:
    with pytest.raises(Exception, match="a pod of an unexpected shape"):
        read_pod({"id": "x"})
    pod = read_pod(
        {"id": "x", "name": "n", "status": "RUNNING", "fieldOfTomorrow": 1, "ssh": None, "runtime": {}}
    )
    assert (pod.started, pod.ssh_host) == (False, "")


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_a_listing_in_pages_is_followed_to_its_end(play: Play, size: int) -> None:
    states = [play.rent(a_spec()) for _ in range(3)]
    play.cloud.page_size = size
    assert {pod.id for pod in play.provider.client.pods()} == {state.head.id for state in states}
    assert len(play.provider.marked()) == 3


@pytest.mark.parametrize(
    ("page", "parameters"),
    [
        ({"pods": []}, None),
        ({"pods": [], "nextCursor": None}, None),
        ({"pods": [], "nextCursor": "abc"}, {"cursor": "abc"}),
        ({"pods": [], "pagination": {"next_page_token": "t"}}, {"page_token": "t"}),
        ({"pods": [], "next": "https://api.runpod.io/v2/pods?page=2&limit=50"}, {"page": "2", "limit": "50"}),
        ({"pods": [], "meta": {"next": 3}}, {"page": "3"}),
        ({"pods": [], "hasMore": False}, None),
    ],
)
def test_the_usual_forms_of_a_cursor(page: dict[str, object], parameters: dict[str, str] | None) -> None:
    assert next_page(page) == parameters


def test_more_pods_without_a_cursor_are_an_error_and_not_an_end() -> None:
    with pytest.raises(ClusterFailed, match="goes on without a cursor"):
        next_page({"pods": [], "hasMore": True})
