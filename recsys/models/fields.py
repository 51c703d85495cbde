"""From plain JSON to a family's frozen config dataclass, with errors that name the field.

Lists become tuples, whole numbers pass as floats, a Literal refuses other words. Each config checks
how its own fields go together in ``__post_init__``.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from dataclasses import fields as fields_of
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from recsys.errors import InputError
from recsys.types import JsonObject

Config = TypeVar("Config")


def suggest_names(name: str, known: Iterable[str]) -> str:
    """ "did you mean x or y?" where something is near, else the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(names)}"


def parse_config(kind: type[Config], given: JsonObject, *, owner: str) -> Config:
    """A ``kind`` with ``given`` set. Raises InputError for unknown names and wrong values."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields_of(kind)]  # type: ignore[arg-type]
    values: JsonObject = {}
    for name, value in given.items():
        if name not in names:
            raise InputError(f"{owner} has no field {name!r}; {suggest_names(name, names)}")
        values[name] = _coerce(value, hints[name], where=f"{owner}.{name}")
    return kind(**values)


def _coerce(value: Any, wanted: Any, *, where: str) -> Any:
    """``value`` as the type ``wanted``. Raises InputError where it does not fit."""
    origin = get_origin(wanted)
    if origin is Literal:
        if value not in get_args(wanted):
            raise InputError(f"{where} is {value!r}, expected one of {', '.join(map(str, get_args(wanted)))}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(wanted):
            return None
        inner = next(kind for kind in get_args(wanted) if kind is not type(None))
        return _coerce(value, inner, where=where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} is {value!r}, expected a list")
        return tuple(_coerce(one, get_args(wanted)[0], where=where) for one in value)
    if wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise InputError(f"{where} is {value!r}, expected {getattr(wanted, '__name__', wanted)}")
    return value


def require(condition: bool, message: str) -> None:
    """Raises InputError with ``message`` unless ``condition``."""
    if not condition:
        raise InputError(message)
