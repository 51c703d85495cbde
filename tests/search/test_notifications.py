"""Notifications against a real local server that answers 200, 429, 500, or nothing at all."""

from __future__ import annotations

import json
import logging
import socket
import time

import pytest

from recsys import notifications
from recsys.errors import InputError
from recsys.notifications import Notifier, without_webhook
from recsys.training.trial_types import EventKind, RunEvent
from recsys.webhook import Message, Webhook
from tests.search.webhooks import SILENCE, WebhookServer
from tests.waiting import wait_for

PNG = b"\x89PNG\r\n\x1a\nnot really, but bytes"


def notifier(url: str, *, discord: bool = False) -> Notifier:
    return Notifier([Webhook("hook", url, discord=discord)], pause_s=0.0)


@pytest.fixture(autouse=True)
def quick_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "BACKOFF_S", 0.01)


def test_a_json_webhook_gets_the_event_whole() -> None:
    event = RunEvent(EventKind.GAP, at=12.0, trial=3, epoch=7, value=0.21, threshold=0.15, action="told")
    with WebhookServer() as server:
        sender = notifier(server.url)
        sender.event(event)
        assert sender.close(120) == 0
        body = json.loads(server.bodies()[0])
    assert body["event"]["kind"] == "train_valid_gap"
    assert body["event"]["value"] == 0.21
    assert body["title"] == "Warning sign: train valid gap in trial 3, epoch 7"
    assert body["fields"] == {"Seen": "0.21", "Threshold": "0.15", "Done": "told"}


def test_discord_gets_an_embed_and_the_plot_as_an_attachment() -> None:
    with WebhookServer() as server:
        sender = notifier(server.url, discord=True)
        sender.event(RunEvent(EventKind.NEW_BEST, at=1.0, trial=2, value=0.9, message="rmse 0.9"))
        sender.finish("loss 0.81, rmse 0.90", PNG)
        assert sender.close(120) == 0
        (_, _, _, first), (_, _, headers, last) = server.requests
    embed = json.loads(first)["embeds"][0]
    assert embed["title"] == "New best in trial 2"
    assert embed["description"] == "rmse 0.9"
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert PNG in last
    assert b'"attachment://plot.png"' in last
    assert b"loss 0.81, rmse 0.90" in last


def test_a_chat_room_hears_of_a_sign_once_a_trial_and_a_program_every_time() -> None:
    with WebhookServer() as chat, WebhookServer() as program:
        sender = Notifier(
            [Webhook("chat", chat.url, discord=True), Webhook("hook", program.url)], pause_s=0.0
        )
        for trial, epoch in ((0, 1), (0, 2), (1, 1), (0, 3)):
            sender.event(RunEvent(EventKind.GRADIENT, at=1.0, trial=trial, epoch=epoch, value=20.0))
        sender.event(RunEvent(EventKind.NEW_BEST, at=1.0, trial=0))
        sender.event(RunEvent(EventKind.NEW_BEST, at=2.0, trial=0))
        assert sender.close(120) == 0
        assert len(chat.requests) == 4
        assert len(program.requests) == 6


@pytest.mark.parametrize("status", [500, 503, 408])
def test_a_failing_server_is_tried_again(status: int) -> None:
    with WebhookServer(lambda n: (status, {}) if n < 2 else (200, {})) as server:
        sender = notifier(server.url)
        sender.send(Message("hello"))
        assert sender.close(120) == 0
        assert len(server.requests) == 3


def test_retry_after_is_honoured() -> None:
    with WebhookServer(lambda n: (429, {"Retry-After": "0.4"}) if n == 0 else (200, {})) as server:
        sender = notifier(server.url)
        sender.send(Message("hello"))
        assert sender.close(120) == 0
        (first, *_), (second, *_) = server.requests
    assert second - first >= 0.4


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_final_refusal_is_not_repeated(status: int) -> None:
    with WebhookServer(lambda _: (status, {})) as server:
        sender = notifier(server.url)
        sender.send(Message("hello"))
        sender.close(120)
        assert len(server.requests) == 1


def test_a_server_that_says_nothing_never_holds_up_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.webhook.TIMEOUT_S", 30.0)
    with WebhookServer(lambda _: (SILENCE, {})) as server:
        sender = notifier(server.url)
        before = time.monotonic()
        for number in range(1000):
            sender.send(Message(f"message {number}"))
        assert time.monotonic() - before < 25.0  # a single post would be 30
        lost = sender.close(deadline_s=0.2)
        assert time.monotonic() - before < 25.0
    assert lost == 1000


def test_a_full_queue_keeps_what_is_important() -> None:
    with WebhookServer(lambda n: (SILENCE, {}) if n == 0 else (200, {})) as server:
        sender = Notifier([Webhook("hook", server.url)], pause_s=0.0)
        sender.send(Message("stuck"))
        wait_for(lambda: server.requests)
        sender.send(Message("start", important=True))
        for number in range(notifications.QUEUE * 2):
            sender.send(Message(f"chatter {number}"))
        waiting = [message.title for message in sender._senders[0]._queue]
        sender.close(deadline_s=0.0)
    assert len(waiting) == notifications.QUEUE
    assert waiting[1] == "start"
    assert waiting[-1] == f"chatter {notifications.QUEUE * 2 - 1}"


def test_one_dead_webhook_does_not_hold_up_the_other() -> None:
    with WebhookServer(lambda _: (SILENCE, {})) as dead, WebhookServer() as alive:
        sender = Notifier([Webhook("dead", dead.url), Webhook("alive", alive.url)], pause_s=0.0)
        for number in range(5):
            sender.send(Message(f"message {number}"))
        wait_for(lambda: len(alive.requests) == 5)
        assert sender.close(deadline_s=2.0) == 5


def test_nobody_listening_is_counted_and_said_without_the_url(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/hook/planted-secret-token"
        with caplog.at_level(logging.DEBUG):
            sender = notifier(url)
            sender.send(Message("hello"))
            assert sender.close(120) == 1
    assert "hook did not take the message 'hello' (ConnectionError)" in caplog.text
    assert "planted-secret-token" not in caplog.text


@pytest.mark.parametrize("status", [200, 404, 500])
def test_no_log_line_at_any_level_holds_the_url(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with WebhookServer(lambda _: (status, {})) as server, caplog.at_level(logging.DEBUG):
        sender = notifier(server.url)
        sender.send(Message("hello"))
        sender.close(120)
        assert server.requests
    assert "planted-secret-token" not in caplog.text
    assert "planted-secret-token" not in repr(sender._senders[0]._webhook)


@pytest.mark.parametrize(
    "text", ["nonsense-planted", "ftp://host/planted", "http://", "https:///planted", ""]
)
def test_what_is_no_url_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a URL|knows no such URL") as caught:
        Notifier.from_environment(text, environment={})
    assert "planted" not in str(caught.value)


def test_discord_comes_from_the_environment_alone() -> None:
    with pytest.raises(InputError, match="DISCORD_WEBHOOK_URL"):
        Notifier.from_environment(environment={"DISCORD_WEBHOOK_URL": "your_webhook_url"})
    assert Notifier.from_environment(environment={}).close() == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--notify", "https://h/secret", "--trials", "3"], ["--notify", "...", "--trials", "3"]),
        (["--notify=https://h/secret"], ["--notify=..."]),
        (["--trials", "3"], ["--trials", "3"]),
    ],
)
def test_a_webhook_is_left_out_of_a_command_line_that_is_kept(given: list[str], kept: list[str]) -> None:
    assert without_webhook(given) == kept
