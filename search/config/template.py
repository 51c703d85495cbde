"""Templates: a model and how to train it, as a YAML file with the sections ``model`` and ``training``.

``training`` also takes ``epochs`` and ``seed``; every other name in either section is a field of the
family's config. Modifications come in the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import InputError, suggest_names
from recsys.models.registry import family_named, make_config
from recsys.types import JsonObject
from search.config.yaml_io import named_file, read_mapping

FOLDER = Path(__file__).resolve().parents[1] / "templates"
PARTS = ("about", "family", "model", "training")
SECTIONS = ("model", "training")


@dataclass(frozen=True)
class Template:
    """``config`` are the fields that it sets of the family's config; the rest are the family's own."""

    name: str
    about: str
    family: str
    config: JsonObject
    epochs: int
    seed: int


def load_template(name: str, modifications: Mapping[str, Any] | None = None) -> Template:
    """A template by name or path, with modifications such as ``{"training": {"seed": 42}}``.

    Raises InputError for a broken file, an unknown field (with near names) or a wrong value.
    """
    path = named_file(name, FOLDER, kind="template")
    content = read_mapping(path, kind="template")
    _refuse_others(content, PARTS, where=f"template {path}")
    if "family" not in content:
        raise InputError(f"template {path} names no family; expected a line such as 'family: hybrid_vae'")
    changes = dict(modifications or {})
    _refuse_others(changes, SECTIONS, where="the modifications")
    settings: JsonObject = {}
    for source, where in ((content, f"template {path}"), (changes, "the modifications")):
        for section in SECTIONS:
            settings |= _section(source, section, family=content["family"], where=where)
    epochs, seed = settings.pop("epochs", 99), settings.pop("seed", 0)
    for field, value, least in (("epochs", epochs, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"training.{field} is {value!r}, expected a whole number of {least} or more")
    make_config(content["family"], settings)
    return Template(
        name=path.stem,
        about=str(content.get("about", "")),
        family=content["family"],
        config=settings,
        epochs=epochs,
        seed=seed,
    )


def _section(source: Mapping[str, Any], section: str, *, family: str, where: str) -> JsonObject:
    """The fields in one section, every name known."""
    fields = source.get(section) or {}
    if not isinstance(fields, Mapping):
        raise InputError(f"{where}: {section} is {fields!r}, expected fields with values")
    allowed = set(family_named(family).config_type.__dataclass_fields__)
    if section == "training":
        allowed |= {"epochs", "seed"}
    for name in fields:
        if name not in allowed:
            raise InputError(f"{where}: {section} has no field {name!r}; {suggest_names(name, allowed)}")
    return dict(fields)


def _refuse_others(content: Mapping[str, Any], fields: tuple[str, ...], *, where: str) -> None:
    for name in content:
        if name not in fields:
            raise InputError(f"{where}: there is no {name!r}; {suggest_names(name, fields)}")
