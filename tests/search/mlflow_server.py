"""MLflow's own REST server, behind a port of ours that can go away and come back in no time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from tests.waiting import free_port

SERVE = """
import sys
from werkzeug.serving import make_server
from mlflow.server import app
make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True).serve_forever()
"""


class MlflowServer:
    """``uri`` refuses connections until ``up`` and after ``down``; the store stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inner, self._port = free_port(), free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        if self._process is None:
            self._start()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(32)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def stop(self) -> None:
        self.down()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                outside, _ = listener.accept()
            except OSError:
                return
            inside = socket.create_connection(("127.0.0.1", self._inner))
            for source, sink in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pour, args=(source, sink), daemon=True).start()

    def _start(self) -> None:
        folder = self.folder
        environment = {
            **os.environ,
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/server.db",
            "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{folder}/server.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "artifacts").as_uri(),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self._inner)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "server.log").open("wb"),
        )
        for _ in range(900):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._inner}/health", timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
        raise AssertionError("the MLflow server did not answer within a minute and a half")


def _pour(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
