"""Changes to nested settings by name: the values of ``--set`` and ``--modifications``.

A name that is not there is refused with the near ones: a typo must not run for hours unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from recsys.errors import InputError, suggest_names
from recsys.types import JsonObject
from search.config.yaml_io import read_value


def parse_assignment(text: str) -> tuple[str, Any]:
    """``key=value`` as (dotted key, YAML value). Raises InputError where it is not that."""
    key, mark, value = text.partition("=")
    if not mark or not key.strip():
        raise InputError(f"--set takes key=value, got {text!r}; for example --set trials=8")
    try:
        return key.strip(), read_value(value)
    except yaml.YAMLError:
        raise InputError(
            f"--set {key}: {value!r} is not a YAML value; write it plainly or quote it"
        ) from None


def apply_changes(
    settings: JsonObject, changes: Mapping[str, Any], *, what: str = "the settings"
) -> JsonObject:
    """A copy of ``settings`` with ``changes`` (nested, or with dotted names) applied.

    Every name must already be in ``settings``; raises InputError naming the near ones.
    """
    result = dict(settings)
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in result:
            raise InputError(f"{what} has no field {head!r}; {suggest_names(head, result)}")
        if rest:
            value = {rest: value}
        inner = result[head]
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            result[head] = apply_changes(dict(inner), value, what=f"{what}: {head}")
        elif rest:
            raise InputError(f"{what}: {head} is one value ({inner!r}), so {name!r} names nothing inside it")
        else:
            result[head] = value
    return result
