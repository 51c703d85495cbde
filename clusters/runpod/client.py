"""REST v2 over requests: deadlines on every call, retries where a retry is safe, and errors that say what to
do.

Reads and deletes are tried again on 429 (after Retry-After), on 5xx, time-outs, refused or reset connections
and bodies cut short. A create is never blindly tried again: one whose answer was lost may have rented, so it
raises `CreateUnknown` and the caller looks for the pod by its name. The key goes into a header, never into a
message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import requests

from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.runpod.rest_schemas import GpuType, Pod, next_page, read_bill, read_gpus, read_pod, read_pods

API = "https://api.runpod.io"
WHERE_KEY = "make one in the RunPod console (Settings, API keys) and `export RUNPOD_API_KEY=...`"


def api_url() -> str:
    """The service's address; RUNPOD_API_URL names another, as the tests' simulator does."""
    return (os.environ.get("RUNPOD_API_URL") or API).rstrip("/")


class RunpodApiError(ClusterFailed):
    """The service refused a call, or was out of reach through all tries (`status` 0: no answer at all)."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class PodUnavailable(RunpodApiError):
    """A create was refused for this GPU (400, 403): no capacity, no access, or a rule. Try the next one."""


class CreateUnknown(RunpodApiError):
    """A create got no clean answer: it may have rented. Look for the pod by name."""


class RunpodClient:
    """The calls that we use. `sleep` is passed in so that tests need not wait."""

    def __init__(
        self,
        key: str,
        *,
        url: str = "",
        timeout: tuple[float, float] = (10, 60),
        attempts: int = 6,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/") or api_url()
        self.timeout = timeout  # connect, read: seconds
        self.attempts = attempts
        self.sleep = sleep
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"

    @classmethod
    def from_environment(cls) -> RunpodClient:
        """A client with the key from RUNPOD_API_KEY.

        Raises:
            ClusterError: the variable is missing or empty.
        """
        key = os.environ.get("RUNPOD_API_KEY", "").strip()
        if not key:
            raise ClusterError(f"RUNPOD_API_KEY is not set; expected an API key of RunPod: {WHERE_KEY}")
        return cls(key)

    def gpus(self, *, count: int, cloud: str) -> list[GpuType]:
        params = {"include": "AVAILABILITY", "product": "POD", "count": str(count), "cloud": cloud}
        return read_gpus(self._call("GET", "/v2/catalog/gpus", params=params, attempts=3))

    def pods(self) -> list[Pod]:
        """Every pod of the account, page after page.

        Raises:
            ClusterFailed: a page names itself as the next one, or says that more follows and not where.
        """
        pods: dict[str, Pod] = {}
        params: dict[str, str] = {}
        seen: list[dict[str, str]] = []
        while True:
            page = self._call("GET", "/v2/pods", params=params or None)
            pods |= {pod.id: pod for pod in read_pods(page)}
            following = next_page(page)
            if following is None:
                return list(pods.values())
            if following in seen:
                raise ClusterFailed(f"RunPod's list of pods goes in circles at page {following}")
            seen.append(following)
            params = following

    def pod(self, pod_id: str) -> Pod | None:
        """One pod, or None where the service knows it no more."""
        try:
            return read_pod(self._call("GET", f"/v2/pods/{pod_id}"))
        except RunpodApiError as problem:
            if problem.status == 404:
                return None
            raise

    def create(self, body: dict[str, Any]) -> Pod:
        """One create call.

        Raises:
            PodUnavailable: refused for this GPU. CreateUnknown: no clean answer. ApiError: refused for good.
        """
        return read_pod(self._call("POST", "/v2/pods", body=body, create=True))

    def terminate(self, pod_id: str) -> None:
        """End a pod; one that is gone already is fine. Where the action is not allowed (405, 409), it is
        deleted.
        """
        try:
            self._call("POST", f"/v2/pods/{pod_id}/action", body={"action": "terminate"})
        except RunpodApiError as problem:
            if problem.status == 404:
                return
            if problem.status in (401, 403):
                raise
            try:
                self._call("DELETE", f"/v2/pods/{pod_id}")
            except RunpodApiError as again:
                if again.status != 404:
                    raise

    def billed_usd(self, pod_id: str, *, start: str) -> float | None:
        """USD that the service has on record for a pod since `start` (RFC 3339); None where there is none
        yet.
        """
        params = {"podId": pod_id, "startTime": start, "bucketSize": "hour"}
        return read_bill(self._call("GET", "/v2/billing/pods", params=params))

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        create: bool = False,
        attempts: int | None = None,
    ) -> Any:
        what = f"{method} {path}"
        trouble = ""
        attempts = attempts or self.attempts
        for attempt in range(attempts):
            refused = 0
            try:
                answer = self.session.request(
                    method,
                    self.url + path,
                    params=params,
                    json=body,
                    timeout=self.timeout,
                    allow_redirects=False,
                )
                if answer.status_code < 400:
                    return answer.json() if answer.content else None
                refused, trouble = answer.status_code, f"{answer.status_code}, {_detail(answer)}"
            except requests.exceptions.RequestException as problem:
                # A body cut short raises either kind; in each case the call may have taken effect.
                trouble = type(problem).__name__
            except ValueError:
                trouble = "the answer was cut short"
            if refused == 429:
                self.sleep(_retry_after(answer, attempt))
                continue
            if 400 <= refused < 500:
                raise _refusal(what, refused, _detail(answer), create=create)
            if create:
                raise CreateUnknown(f"{what} got no clean answer ({trouble})", status=0)
            self.sleep(min(20.0, 0.5 * 2**attempt))
        raise RunpodApiError(
            f"RunPod's API did not answer {what} in {attempts} tries (last: {trouble}); see "
            "https://uptime.runpod.io and try again",
            status=refused,
        )


def _retry_after(answer: requests.Response, attempt: int) -> float:
    """Seconds to wait: the service's Retry-After, within limits."""
    try:
        return min(120.0, max(0.1, float(answer.headers.get("Retry-After", 2**attempt))))
    except ValueError:
        return float(2**attempt)


def _detail(answer: requests.Response) -> str:
    """The service's own words, short."""
    try:
        problem = answer.json()
        return "; ".join([str(problem.get("detail") or problem.get("title")), *problem.get("errors", [])])[
            :300
        ]
    except (ValueError, AttributeError):
        return answer.text[:200]


def _refusal(what: str, status: int, detail: str, *, create: bool) -> ClusterFailed | ClusterError:
    """What a 4xx means to a person."""
    if status == 401:
        return ClusterError(f"RunPod refused RUNPOD_API_KEY (401: {detail}); {WHERE_KEY}")
    if status == 402:
        return ClusterError(
            f"the RunPod account has not enough balance (402: {detail}); add funds in its console"
        )
    if create and status in (400, 403, 409):
        return PodUnavailable(detail, status=status)
    if status == 403:
        return ClusterError(
            f"the key in RUNPOD_API_KEY may not {what} (403: {detail}); {WHERE_KEY} with pods: write"
        )
    return RunpodApiError(f"RunPod refused {what} ({status}: {detail})", status=status)
