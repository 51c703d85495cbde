"""Messages of a run's events, and webhooks (Discord's or JSON) that they are posted to.

A webhook's URL is a secret: logs, messages and exceptions name only the webhook ("Discord", "webhook") and
the type of the error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from recsys.errors import InputError
from recsys.training.serialization import plain
from recsys.training.trial_types import EventKind, RunEvent

DISCORD_VARIABLE = "DISCORD_WEBHOOK_URL"
TIMEOUT_S = 5.0

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


@dataclass(frozen=True)
class Message:
    """A notification.

    Attributes:
        title: One line.
        text: Below it.
        fields: Shown as a small table.
        colour: Of Discord's embed, RGB.
        image: A PNG or None.
        important: Whether a full queue keeps it.
        event: The same for programs.
    """

    title: str
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    colour: int = BLUE
    image: bytes | None = None
    important: bool = False
    event: Mapping[str, object] | None = None


def event_message(event: RunEvent) -> Message:
    """The notification of a run's event.

    Args:
        event: Of the run; also sent as it is, for programs.
    """
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
        event=plain(event),
    )


@dataclass(frozen=True)
class Webhook:
    """A URL to post to; ``name`` stands for it in logs, its ``repr`` leaves it out."""

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
        """Posts once. The text of a requests exception contains the URL: never log it.

        Args:
            message: To send.

        Returns:
            The server's answer.

        Raises:
            requests.RequestException: No answer.
        """
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
