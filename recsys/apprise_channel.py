"""Every other messenger (Slack, Telegram, e-mail, ...) through the library Apprise, an extra: ``notify``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests

from recsys.errors import InputError

APPRISE_VARIABLE = "APPRISE_URLS"


class TextMessage(Protocol):
    """What is sent: a title, a text and rows."""

    @property
    def title(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class AppriseChannel:
    """One messenger. ``name`` is what logs call it; ``url`` (``slack://...``) is a secret and never shown."""

    name: str
    url: str = field(repr=False)
    discord: bool = False
    _service: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            import apprise
        except ImportError:
            raise InputError(
                f"{self.name}: a URL that is not http(s) goes through Apprise, which is not installed: "
                "python -m pip install 'movielens-breakthrough[notify]'"
            ) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may hold the URL
        service = apprise.Apprise()
        if not service.add(self.url):
            raise InputError(
                f"{self.name}: Apprise knows no such URL (it is kept out of this message): expected one "
                f"like slack://TOKENS or tgram://TOKEN/CHAT, after --notify or in {APPRISE_VARIABLE}"
            )
        object.__setattr__(self, "_service", service)

    def post(self, message: TextMessage) -> requests.Response:
        """One try; 502 where the messenger did not take it."""
        rows = [f"{name}: {value}" for name, value in message.fields.items()]
        body = "\n".join([message.text, *rows]).strip() or message.title
        response = requests.Response()
        response.status_code = 200 if self._service.notify(body=body, title=message.title) else 502
        return response


def is_apprise(url: str) -> bool:
    """Whether ``url`` names a messenger rather than a webhook."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() not in ("http", "https")
