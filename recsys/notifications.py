"""Notifications to Discord, to a JSON webhook and, by Apprise, to other messengers, sent in the background.

Each channel has a bounded queue and one thread, which pauses between posts, retries with exponential
back-off and honours Retry-After. A full queue drops its oldest unimportant message; nothing here blocks or
raises after construction.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

import requests

from recsys.apprise_channel import APPRISE_VARIABLE, AppriseChannel, is_apprise
from recsys.training.trial_types import EventKind, RunEvent
from recsys.webhook import DISCORD_VARIABLE, EVENT_STYLES, GREEN, Message, Webhook, event_message

log = logging.getLogger(__name__)

QUEUE = 100
TRIES = 5
BACKOFF_S = 1.0
LONGEST_WAIT_S = 60.0
THREAD_PREFIX = "notify-"
BETWEEN_POSTS_S = 0.5  # Discord allows 5 posts in 2 seconds for a webhook


def without_webhook(arguments: Sequence[str]) -> list[str]:
    """A command line without the URL of ``--notify``, which is a secret.

    Args:
        arguments: Of the command line.

    Returns:
        The same with "..." in place of the URL.
    """
    masked: list[str] = []
    for index, argument in enumerate(arguments):
        if argument.startswith("--notify="):
            masked.append("--notify=...")
        else:
            masked.append("..." if index and arguments[index - 1] == "--notify" else argument)
    return masked


Channel = Webhook | AppriseChannel


class Notifier:
    """Sends messages to every channel, each from its own thread, so that none delays the others."""

    def __init__(self, webhooks: Sequence[Channel], *, pause_s: float = BETWEEN_POSTS_S) -> None:
        logging.getLogger("urllib3.connectionpool").addFilter(_outside_senders)
        self._senders = [_Sender(webhook, pause_s=pause_s) for webhook in webhooks]
        self._announced: set[tuple[EventKind, int | None]] = set()

    @classmethod
    def from_environment(
        cls, url: str | None = None, *, environment: Mapping[str, str] | None = None
    ) -> Notifier:
        """The channels of DISCORD_WEBHOOK_URL, APPRISE_URLS (separated by blanks) and ``url``, if any.

        Args:
            url: Of ``--notify``.
            environment: Instead of the process's.

        Raises:
            InputError: Not a URL, or a messenger's URL without Apprise installed.
        """
        variables = environment if environment is not None else os.environ
        discord = variables.get(DISCORD_VARIABLE, "").strip()
        channels: list[Channel] = [Webhook("Discord", discord, discord=True)] if discord else []
        for number, messenger in enumerate(variables.get(APPRISE_VARIABLE, "").split(), start=1):
            channels.append(AppriseChannel(f"{APPRISE_VARIABLE} {number}", messenger))
        if url is not None:
            channels.append(AppriseChannel("--notify", url) if is_apprise(url) else Webhook("webhook", url))
        return cls(channels)

    def event(self, event: RunEvent) -> None:
        """Queues the message of an event; returns at once.

        The end of a run is sent by ``finish``. Chats get a repeated diagnostic once per trial,
        programs every time.

        Args:
            event: Of the run.
        """
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
        """Queues the result of a finished run.

        Args:
            text: Its summary.
            image: A plot, PNG.
        """
        event = {"kind": EventKind.FINISHED.value, "at": time.time(), "message": text}
        self.send(Message("Search finished", text, colour=GREEN, image=image, important=True, event=event))

    def send(self, message: Message) -> None:
        """Queues any other message (a roll-out's step, a drift alarm); returns at once.

        Args:
            message: To send.
        """
        for sender in self._senders:
            sender.enqueue(message)

    def close(self, deadline_s: float = 5.0) -> int:
        """Waits for the queues to empty, then stops.

        Args:
            deadline_s: At most so many seconds.

        Returns:
            The number of messages that were never delivered.
        """
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
