"""An experiment as a YAML file: the model, its data and its seed.

``runs/experiments/NAME.yaml`` is the card, a person may edit it until it is run; what running it leaves
is the run folder ``runs/experiments/NAME`` beside it. The card holds every field of the family's config,
so that a later change of a default does not change what an experiment was.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.types import JsonObject

FOLDER = "experiments"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ExperimentSpec(BaseModel):
    """One experiment. ``config`` are fields of ``family``; ``modifications`` what was changed of the
    template; ``split_seed`` is apart from ``seed``, so that experiments stay comparable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str
    template: str
    about: str = ""
    family: str
    config: dict[str, Any]
    epochs: int = Field(ge=1)
    seed: int = Field(ge=0)
    modifications: dict[str, Any] = {}
    data: str = "ml-100k"
    split: str = "random"
    split_seed: int = Field(default=0, ge=0)
    created: str


def spec_path(home: Path, name: str) -> Path:
    """The path of an experiment's card. Raises InputError for a name that cannot be a file name."""
    if not NAME.fullmatch(name) or name.endswith(".yaml"):
        raise InputError(
            f"{name!r} is no name for an experiment: expected letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    return home / FOLDER / f"{name}.yaml"


def run_path(home: Path, name: str) -> Path:
    """Where running ``name`` leaves its results."""
    return home / FOLDER / name


def write_spec(home: Path, card: ExperimentSpec) -> Path:
    """Keep a new card. Raises InputError where there is one of that name already."""
    path = spec_path(home, card.name)
    if path.exists() or run_path(home, card.name).exists():
        raise InputError(
            f"there is an experiment {card.name!r} already ({path}): choose another name, or see it with "
            f"python search/experiment.py show {card.name}"
        )
    command = f"# python search/experiment.py run {card.name}\n"
    body = yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return write_atomic(path, (command + body).encode())


def read_spec(home: Path, name: str) -> ExperimentSpec:
    """The card of ``name``. Raises InputError where there is none or it is broken."""
    from recsys.errors import suggest_names

    path = spec_path(home, name)
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        names = [card.stem for card in spec_paths(home)]
        hint = suggest_names(name, names) if names else "make one with: python search/experiment.py create"
        raise InputError(f"there is no experiment {name!r} in {home / FOLDER}; {hint}") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    try:
        return ExperimentSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{path}: {location}: {first['msg']}") from None


def spec_paths(home: Path) -> list[Path]:
    """The files of all cards, by name."""
    return sorted((home / FOLDER).glob("*.yaml"))


def now_text() -> str:
    """The time as cards write it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def changed_fields(old: JsonObject, new: JsonObject) -> dict[str, tuple[Any, Any]]:
    """Field -> (old, new) where two configs differ."""
    names = sorted({*old, *new})
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
