"""What a split protocol's name means: ``NAME[:PART][,gate=on|off][,valid=SHARE]``.

``random`` and ``temporal`` and ``future-holdout`` keep a gate by default; ``folds:...``,
``per-user``, ``leave-last`` and ``strong:USERS`` are published protocols, whose peers train on the whole
training part, and keep none. The part of ``folds`` is a fold of ML-100K, that of ``strong`` how many people
are held out.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from recsys.errors import InputError

FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")
# Name -> whether it keeps a gate by default.
PROTOCOLS = {
    "random": True,
    "future-holdout": True,
    "temporal": True,
    "per-user": False,
    "leave-last": False,
    "strong": False,
    "folds": False,
}
WITH_PART = ("folds", "strong")
VALID_SHARE = 0.1


@dataclass(frozen=True)
class Protocol:
    """``valid_share`` is of what is left after future, gate and test are taken out; ``part`` follows a
    colon."""

    name: str
    part: str = ""
    gate: bool = True
    valid_share: float = VALID_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.valid_share < 1:
            raise InputError(f"valid={self.valid_share:g}: expected a share between 0 and 1, e.g. valid=0.1")
        if self.name == "future-holdout" and self.valid_share != VALID_SHARE:
            raise InputError("future-holdout has the owner's own validation share; leave out valid=...")
        if self.name == "leave-last" and self.valid_share != VALID_SHARE:
            raise InputError("leave-last keeps one rating a person for valid; leave out valid=...")
        if self.name == "folds" and self.gate:
            raise InputError("folds:... are published splits and keep no gate; leave out gate=on")

    def __str__(self) -> str:
        """The shortest spelling, which parses to the same."""
        text = f"{self.name}:{self.part}" if self.part else self.name
        if self.gate != PROTOCOLS[self.name]:
            text += f",gate={'on' if self.gate else 'off'}"
        if self.valid_share != VALID_SHARE:
            text += f",valid={self.valid_share:g}"
        return text


def parse_protocol(text: str, *, valid_share: float | None = None, gate: bool | None = None) -> Protocol:
    """The protocol that ``text`` names; arguments that are not None have the last word."""
    head, *options = (part.strip() for part in text.split(","))
    name, _, part = head.partition(":")
    if name == "strong" and not (part.isdecimal() and int(part)):
        raise InputError(
            f"split {text!r}: expected strong:USERS, how many people to hold out, e.g. strong:1000"
        )
    if name not in PROTOCOLS or (name in WITH_PART) != bool(part) or (name == "folds" and part not in FOLDS):
        names = [
            *(name for name in PROTOCOLS if name not in WITH_PART),
            "strong:USERS",
            *(f"folds:{fold}" for fold in FOLDS),
        ]
        near = difflib.get_close_matches(head, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"split {text!r}: no protocol of that name; there are {', '.join(names)}{hint}")
    for option in options:
        key, _, value = option.partition("=")
        if key == "gate" and value in ("on", "off"):
            gate = value == "on" if gate is None else gate
        elif key == "valid" and is_number(value):
            valid_share = float(value) if valid_share is None else valid_share
        else:
            raise InputError(
                f"split {text!r}: cannot read {option!r}; expected gate=on, gate=off or valid=0.1"
            )
    return Protocol(
        name=name,
        part=str(int(part)) if name == "strong" else part,
        gate=PROTOCOLS[name] if gate is None else gate,
        valid_share=VALID_SHARE if valid_share is None else valid_share,
    )


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
