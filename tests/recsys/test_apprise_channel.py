"""Apprise's URLs: sent to a real HTTP server, refused in one line, never shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from recsys.errors import InputError
from recsys.notifications import Notifier
from recsys.webhook import Message


class Receiver(HTTPServer):
    """Keeps every JSON body that it is sent; answers with ``status``."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_reaches_every_messenger_that_is_named(receiver: Receiver) -> None:
    url = f"json://127.0.0.1:{receiver.server_port}"
    notifier = Notifier.from_environment(f"{url}/first", environment={"APPRISE_URLS": f"{url}/a {url}/b"})
    notifier.send(Message("Title", "Text", fields={"Seen": "3"}))
    assert notifier.close(120) == 0
    assert len(receiver.bodies) == 3
    for body in receiver.bodies:
        assert body["title"] == "Title"
        assert body["message"] == "Text\nSeen: 3"


def test_a_messenger_that_refuses_counts_as_lost_and_is_not_named(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("recsys.notifications.BACKOFF_S", 0.001)
    receiver.status = 500
    notifier = Notifier.from_environment(f"json://user:secret@127.0.0.1:{receiver.server_port}/place")
    notifier.send(Message("Title"))
    assert notifier.close(120) == 1
    assert "secret" not in caplog.text
    assert "--notify did not take" in caplog.text


def test_an_url_that_no_messenger_has_is_refused_without_being_shown() -> None:
    with pytest.raises(InputError, match="Apprise knows no such URL") as refused:
        Notifier.from_environment("nosuch://secret-token")
    assert "secret-token" not in str(refused.value)
