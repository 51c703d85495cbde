"""YAML files that a person names: by path, or by the name of one that comes along."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recsys.errors import InputError, suggest_names
from recsys.types import JsonObject


class Loader(yaml.SafeLoader):
    """YAML that reads 1e-3 as the number it is (YAML 1.1 wants 1.0e-3)."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_value(text: str) -> Any:
    """A YAML value. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=Loader)


def named_file(name: str, folder: Path, *, kind: str) -> Path:
    """``name`` as a path, or as the stem of a YAML file in ``folder``. Raises InputError."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    files = {file.stem: file for file in folder.glob("*.yaml")}
    if name not in files:
        raise InputError(f"there is no {kind} {name!r}; {suggest_names(name, files)}")
    return files[name]


def read_mapping(path: Path, *, kind: str) -> JsonObject:
    """The YAML mapping in ``path``. Raises InputError with the line where it is not one."""
    try:
        content = read_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {kind} {path}; search/{kind}s holds those that come along") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a YAML file with a {kind}") from None
    except PermissionError:
        raise InputError(f"{kind} {path} may not be read: change its permissions") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{kind} {path} holds a {type(content).__name__}, expected 'name: value' lines")
    return content
