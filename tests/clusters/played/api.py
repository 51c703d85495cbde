"""The HTTP side: routes, keys, problem+json refusals, and faults met on the way."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from tests.clusters.played.cloud import CATALOGUE, Cloud, PlayedPod
from tests.clusters.played.request_schemas import CreatePod, PodAction

T = TypeVar("T", CreatePod, PodAction)


class Refused(Exception):
    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors or []


class PlayedApi:
    """A server on its own threads; `url` is what RUNPOD_API_URL is set to."""

    def __init__(self, cloud: Cloud, *, host: str = "127.0.0.1") -> None:
        self.cloud = cloud
        handler = type("BoundHandler", (Handler,), {"cloud": cloud})
        self.server = ThreadingHTTPServer((host, 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://{host}:{self.server.server_address[1]}"

    def __enter__(self) -> PlayedApi:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.cloud.living():
            self.cloud.end(pod, by="the end of the play")
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    cloud: Cloud
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Calls are kept in cloud.calls instead of printed."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        index = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.cloud.take_fault(method, index.path)
        if fault and not fault.kind.startswith(("rent_then", "cut")):
            if fault.kind == "hang":
                time.sleep(fault.seconds)
            if fault.kind in ("hang", "drop"):
                self.close_connection = True
                return
            self._answer(
                fault.status, {"title": "fault", "status": fault.status, "detail": "injected"}, fault.headers
            )
            return
        try:
            status, answer = self._route(method, index.path, parse_qs(index.query), body)
        except Refused as no:
            status = no.status
            answer = {"title": "Refused", "status": no.status, "detail": no.detail, "errors": no.errors}
        if fault and fault.kind == "rent_then_hang":
            time.sleep(fault.seconds)
            self.close_connection = True
            return
        if fault and fault.kind == "rent_then_error":
            status, answer = 500, {"title": "Internal", "status": 500, "detail": "injected after renting"}
        self._answer(status, answer, {}, cut=bool(fault and fault.kind == "cut"))

    def _answer(self, status: int, answer: Any, headers: dict[str, str], *, cut: bool = False) -> None:
        self.cloud.calls.append((self.command, urlsplit(self.path).path, status))
        data = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
        except BrokenPipeError:  # a pod that ended itself is gone before it hears so
            self.close_connection = True
        if cut:
            self.close_connection = True

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        own = next((pod for pod in self.cloud.pods.values() if pod.key == key), None)
        if key != self.cloud.account_key and own is None:
            raise Refused(401, "invalid bearer token")
        parts = path.strip("/").split("/")
        if method == "POST" and path == "/v2/pods" and own is None:
            return 201, self._create(body)
        if method == "GET" and path == "/v2/pods" and own is None:
            pods = [pod for pod in self.cloud.pods.values() if pod.status != "TERMINATED"]
            shown = [self.cloud.shown(pod) for pod in pods]
            if not (size := self.cloud.page_size):
                return 200, {"pods": shown}
            start = int(query.get("cursor", ["0"])[0])
            more = {"nextCursor": str(start + size)} if start + size < len(shown) else {}
            return 200, {"pods": shown[start : start + size], **more}
        if method == "GET" and path == "/v2/catalog/gpus":
            return 200, {"gpus": self._gpus(query)}
        if method == "GET" and path == "/v2/billing/pods":
            return 200, self._bill(query)
        if parts[:2] == ["v2", "pods"] and len(parts) in (3, 4):
            return self._one(
                method, self._pod(parts[2], own), parts[3:], body, by="itself" if own else "the account"
            )
        raise Refused(404, f"no route {method} {path}")

    def _pod(self, pod_id: str, own: PlayedPod | None) -> PlayedPod:
        pod = self.cloud.pods.get(pod_id)
        if pod is None or pod.status == "TERMINATED":
            raise Refused(404, "pod not found")
        if own is not None and own.id != pod_id:
            raise Refused(403, "this key may act on its own pod only")
        return pod

    def _one(self, method: str, pod: PlayedPod, rest: list[str], body: bytes, *, by: str) -> tuple[int, Any]:
        if method == "GET" and not rest:
            return 200, self.cloud.shown(pod)
        if method == "DELETE" and not rest:
            self.cloud.end(pod, by=by)
            return 204, None
        if method == "POST" and rest == ["action"]:
            action = _read(PodAction, body).action
            if action != "terminate":
                raise Refused(409, f"{action} is not valid now")
            self.cloud.end(pod, by=by)
            return 204, None
        raise Refused(405, "method not allowed")

    def _create(self, body: bytes) -> Any:
        made = self.cloud.create(_read(CreatePod, body))
        if isinstance(made, str):
            raise Refused(400, made)
        return self.cloud.shown(made)

    def _gpus(self, query: dict[str, list[str]]) -> list[Any]:
        if "include" in query and "product" not in query:
            raise Refused(400, "product is required with include=AVAILABILITY")
        rows = []
        for gpu, (secure, community, memory) in CATALOGUE.items():
            row: dict[str, Any] = {
                "id": gpu,
                "name": gpu,
                "pool": None,
                "manufacturer": "NVIDIA",
                "memory": memory,
            }
            row |= {"secure": True, "community": True, "price": {"secure": secure, "community": community}}
            row |= {"maxCount": {"secure": 8, "community": 4}}
            if "include" in query:
                row["availability"] = "HIGH"
            rows.append(row)
        return rows

    def _bill(self, query: dict[str, list[str]]) -> Any:
        now = time.time()
        wanted = query.get("podId", [""])[0]
        pods = [pod for pod in self.cloud.pods.values() if not wanted or pod.id == wanted]
        records = [
            {"podId": pod.id, "startTime": "", "endTime": "", "totalAmount": usd, "gpuAmount": usd}
            | {"cpuAmount": 0.0, "diskAmount": 0.0}
            for pod in pods
            for usd in [pod.usd(now)]
        ]
        return {"records": records, "metadata": {"recordCount": len(records)}}


def _read(shape: type[T], body: bytes) -> T:
    try:
        return shape.model_validate_json(body or b"{}")
    except ValidationError as problem:
        errors = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in problem.errors()]
        raise Refused(422, "Request validation failed.", errors) from None
