"""Pseudonyms of users in logs and journals: a keyed hash of the id, which a list of ids cannot reverse.

The key is ``RECSYS_HASH_KEY``, or a random one in a file beside the event store that only its owner can read
(``events.db.key``; ``runs/events.key`` for a remote database). Processes on several machines need the
variable.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from functools import lru_cache
from pathlib import Path

log = logging.getLogger(__name__)
KEY_VARIABLE = "RECSYS_HASH_KEY"
KEY_BYTES = 32


def key_path(events: str) -> Path:
    """The key file of an event store.

    Args:
        events: The store's file or URL.
    """
    file = events.removeprefix("sqlite:///")
    return Path("runs/events.key").absolute() if "://" in file else Path(f"{file}.key").absolute()


def pseudonym_key(events: str) -> bytes:
    """The key of an event store, generated where there is none.

    Args:
        events: The store's file or URL.

    Returns:
        ``KEY_BYTES`` bytes; for this process alone where they cannot be saved.
    """
    passphrase = os.environ.get(KEY_VARIABLE, "")
    if passphrase:
        return hashlib.blake2b(passphrase.encode(), digest_size=KEY_BYTES).digest()
    return _kept_key(key_path(events))


@lru_cache(maxsize=64)
def _kept_key(path: Path) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    key = secrets.token_bytes(KEY_BYTES)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(file, key.hex().encode())
        finally:
            os.close(file)
        try:
            os.link(part, path)  # fails where another process was first
        except FileExistsError:
            return _read(path)
    except OSError as error:
        log.error("the key for names in logs cannot be kept at %s: %s", path, error.strerror)
    finally:
        part.unlink(missing_ok=True)
    return key


def _read(path: Path) -> bytes:
    key = bytes.fromhex(path.read_text().strip())
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes, expected a key of {KEY_BYTES} as hexadecimal")
    return key


def pseudonym(user_id: str, key: bytes) -> str:
    """A user's name in a journal.

    Args:
        user_id: Of the user.
        key: Of the event store.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=key, digest_size=32).hexdigest()


def fingerprint(key: bytes) -> str:
    """Identifies a key without revealing it.

    Args:
        key: Of the event store.

    Returns:
        8 hexadecimal digits.
    """
    return hashlib.blake2b(b"fingerprint", key=key, digest_size=4).hexdigest()
