"""Notifications to Discord, to a JSON webhook and, by Apprise, to other messengers, sent in the background.

Each webhook has a bounded queue and one thread, which pauses between posts, retries with exponential
back-off and honours Retry-After. A full queue drops its oldest unimportant message; nothing here blocks or
raises after construction. A webhook's URL is a secret: logs, messages and exceptions name only the webhook
("Discord", "webhook") and the type of the error.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from recsys.apprise_channel import APPRISE_VARIABLE, AppriseChannel, is_apprise
from recsys.errors import InputError
from recsys.training.trial_types import EventKind, RunEvent

log = logging.getLogger(__name__)

DISCORD_VARIABLE = "DISCORD_WEBHOOK_URL"
QUEUE = 100
TRIES = 5
TIMEOUT_S = 5.0
BACKOFF_S = 1.0
LONGEST_WAIT_S = 60.0
THREAD_PREFIX = "notify-"
BETWEEN_POSTS_S = 0.5  # Discord allows 5 posts in 2 seconds for a webhook

# Embed colours, and what may not be dropped when the queue is full.
GREEN, BLUE, AMBER, RED = 0x2E7D32, 0x1565C0, 0xB26A00, 0xB3261E
EVENT_STYLES: dict[EventKind, tuple[str, int]] = {
    EventKind.STARTED: ("Search started", BLUE),
    EventKind.NEW_BEST: ("New best", GREEN),
    EventKind.BUDGET: ("Budget", AMBER),
    EventKind.CONTINGENCY: ("Contingency", AMBER),
    EventKind.TRIAL_FAILED: ("Trial failed", RED),
    EventKind.DIVERGED: ("Training diverged", RED),
    EventKind.OUT_OF_MEMORY: ("Out of memory", RED),
    EventKind.UNRESPONSIVE: ("A trial hangs", RED),
}
IMPORTANT = frozenset({EventKind.STARTED, EventKind.BUDGET, EventKind.TRIAL_FAILED})


def without_webhook(arguments: Sequence[str]) -> list[str]:
    """A command line to be kept and shown: ``--notify``'s URL, which is a secret, as "..."."""
    masked: list[str] = []
    for index, argument in enumerate(arguments):
        if argument.startswith("--notify="):
            masked.append("--notify=...")
        else:
            masked.append("..." if index and arguments[index - 1] == "--notify" else argument)
    return masked


@dataclass(frozen=True)
class Message:
    """One notification. ``fields`` are shown as a small table; ``image`` is a PNG or None."""

    title: str
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    colour: int = BLUE
    image: bytes | None = None
    important: bool = False
    event: Mapping[str, object] | None = None


def event_message(event: RunEvent) -> Message:
    """What a person reads of a run's event, and a program under ``event``."""
    title, colour = EVENT_STYLES.get(
        event.kind, (f"Warning sign: {event.kind.value.replace('_', ' ')}", AMBER)
    )
    if event.trial is not None:
        title += f" in trial {event.trial}" + (f", epoch {event.epoch}" if event.epoch is not None else "")
    rows = {
        "Seen": "" if event.value is None else f"{event.value:.4g}",
        "Threshold": "" if event.threshold is None else f"{event.threshold:.4g}",
        "Done": event.action,
        "Outcome": event.outcome,
    }
    return Message(
        title=title,
        text=event.message,
        fields={name: text for name, text in rows.items() if text},
        colour=colour,
        important=event.kind in IMPORTANT,
        event={
            "kind": event.kind.value,
            "at": event.at,
            "trial": event.trial,
            "epoch": event.epoch,
            "value": event.value,
            "threshold": event.threshold,
            "message": event.message,
            "action": event.action,
            "outcome": event.outcome,
        },
    )


@dataclass(frozen=True)
class Webhook:
    """Where to post. ``name`` is what logs call it; the URL is in no representation of it."""

    name: str
    url: str = field(repr=False)
    discord: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"{self.name}: the webhook is not a URL (its text is kept out of this message): "
                "expected https://host/path, "
                + (f"in the environment variable {DISCORD_VARIABLE}" if self.discord else "after --notify")
            )

    def post(self, message: Message) -> requests.Response:
        """One try. A requests exception's text holds the URL: never log it."""
        if not self.discord:
            body = {"title": message.title, "text": message.text, "fields": dict(message.fields)}
            return requests.post(
                self.url, json={**body, "event": message.event}, timeout=TIMEOUT_S, allow_redirects=False
            )
        embed: dict[str, object] = {
            "title": message.title[:256],
            "description": message.text[:2000],
            "color": message.colour,
            "fields": [
                {"name": name[:256], "value": value[:1000], "inline": True}
                for name, value in list(message.fields.items())[:20]
            ],
        }
        if message.image is None:
            return requests.post(self.url, json={"embeds": [embed]}, timeout=TIMEOUT_S, allow_redirects=False)
        embed["image"] = {"url": "attachment://plot.png"}
        return requests.post(
            self.url,
            data={"payload_json": json.dumps({"embeds": [embed]})},
            files={"files[0]": ("plot.png", message.image, "image/png")},
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )


Channel = Webhook | AppriseChannel


class Notifier:
    """Tells every webhook, each from its own thread, so that a dead one does not hold up the others."""

    def __init__(self, webhooks: Sequence[Channel], *, pause_s: float = BETWEEN_POSTS_S) -> None:
        logging.getLogger("urllib3.connectionpool").addFilter(_outside_senders)
        self._senders = [_Sender(webhook, pause_s=pause_s) for webhook in webhooks]
        self._announced: set[tuple[EventKind, int | None]] = set()

    @classmethod
    def from_environment(
        cls, url: str | None = None, *, environment: Mapping[str, str] | None = None
    ) -> Notifier:
        """The channels of DISCORD_WEBHOOK_URL, APPRISE_URLS (separated by blanks) and ``url``; none is fine.

        Raises InputError for what is no URL, and for a messenger's without Apprise."""
        variables = environment if environment is not None else os.environ
        discord = variables.get(DISCORD_VARIABLE, "").strip()
        channels: list[Channel] = [Webhook("Discord", discord, discord=True)] if discord else []
        for number, messenger in enumerate(variables.get(APPRISE_VARIABLE, "").split(), start=1):
            channels.append(AppriseChannel(f"{APPRISE_VARIABLE} {number}", messenger))
        if url is not None:
            channels.append(AppriseChannel("--notify", url) if is_apprise(url) else Webhook("webhook", url))
        return cls(channels)

    def event(self, event: RunEvent) -> None:
        """Queue an event's notification; returns at once. ``finish`` sends the end, once; a chat room gets
        of a warning sign once for each trial, a program every time."""
        if event.kind is EventKind.FINISHED:
            return
        key = (event.kind, event.trial)
        repeated = event.kind not in EVENT_STYLES and key in self._announced
        self._announced.add(key)
        message = event_message(event)
        for sender in self._senders:
            if not (repeated and sender.discord):
                sender.enqueue(message)

    def finish(self, text: str, image: bytes | None = None) -> None:
        """The run's end: its result and a plot (PNG)."""
        event = {"kind": EventKind.FINISHED.value, "at": time.time(), "message": text}
        self.send(Message("Search finished", text, colour=GREEN, image=image, important=True, event=event))

    def send(self, message: Message) -> None:
        """Tell of anything (a roll-out's step, a drift alarm); returns at once."""
        for sender in self._senders:
            sender.enqueue(message)

    def close(self, deadline_s: float = 5.0) -> int:
        """Wait at most ``deadline_s`` for what is queued, then stop. Returns the number never delivered."""
        deadline = time.monotonic() + deadline_s
        for sender in self._senders:
            sender.stop()
        return sum(sender.join(deadline) for sender in self._senders)


class _Sender:
    """One webhook's queue and thread."""

    def __init__(self, webhook: Channel, *, pause_s: float) -> None:
        self._webhook = webhook
        self.discord = webhook.discord
        self._pause_s = pause_s
        self._queue: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._expired = threading.Event()  # the deadline passed: stop waiting between tries
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name=f"{THREAD_PREFIX}{webhook.name}", daemon=True)
        self._thread.start()

    def enqueue(self, message: Message) -> None:
        with self._changed:
            if self._closing:
                return
            if len(self._queue) >= QUEUE:
                waiting = range(1, len(self._queue))  # the first is being sent
                droppable = next((index for index in waiting if not self._queue[index].important), 1)
                del self._queue[droppable]
                self._lost += 1
            self._queue.append(message)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, deadline: float) -> int:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._expired.set()
        with self._changed:
            return self._lost + len(self._queue)

    def _run(self) -> None:
        while not self._expired.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                message = self._queue[0]  # stays in the queue, and so is counted, until it is delivered
            delivered = self._deliver(message)
            with self._changed:
                if self._queue and self._queue[0] is message:
                    self._queue.popleft()
                    self._lost += not delivered
            self._expired.wait(self._pause_s)

    def _deliver(self, message: Message) -> bool:
        """Whether it arrived. 4xx other than 408 and 429 is final: the same post would fail again."""
        problem = "no answer"
        for attempt in range(TRIES):
            wait_s = BACKOFF_S * 2**attempt
            try:
                response = self._webhook.post(message)
            except Exception as error:  # whatever it is, the search goes on; its text may hold the URL
                problem = type(error).__name__
            else:
                if (
                    200 <= response.status_code < 300
                ):  # a redirect is not followed: it would carry the message off
                    return True
                problem = f"HTTP {response.status_code}"
                if response.status_code < 500 and response.status_code not in (408, 429):
                    break
                wait_s = max(wait_s, _retry_after_s(response))
            if attempt + 1 < TRIES and self._expired.wait(min(wait_s, LONGEST_WAIT_S)):
                break
        log.warning("%s did not take the message %r (%s)", self._webhook.name, message.title, problem)
        return False


def _outside_senders(record: logging.LogRecord) -> bool:
    """Keeps urllib3's debug lines, which hold the URL's path, out of the log for our posts."""
    return not (record.threadName or "").startswith(THREAD_PREFIX)


def _retry_after_s(response: requests.Response) -> float:
    """Seconds that the server asks for: the header (Discord's may be a fraction), or 0."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:  # an HTTP date: back-off will do
        return 0.0
