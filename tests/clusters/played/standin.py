"""Machines for tests that look at renting only: a port on the loopback that says the first words of SSH."""

from __future__ import annotations

import socket
import threading

from tests.clusters.played.cloud import PlayedPod


class StandIns:
    """One listening socket a pod."""

    def __init__(self) -> None:
        self.sockets: dict[str, socket.socket] = {}

    def boot(self, pod: PlayedPod) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.sockets[pod.id] = listener
        pod.host, pod.port = listener.getsockname()
        pod.private_ip = "127.0.0.1"
        threading.Thread(target=self._greet, args=(listener,), daemon=True).start()

    def _greet(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"SSH-2.0-played\r\n")

    def stop(self, pod: PlayedPod) -> None:
        if listener := self.sockets.pop(pod.id, None):
            listener.close()
