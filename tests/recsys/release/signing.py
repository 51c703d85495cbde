"""Manifests changed after a release was made, signed anew or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys.release.manifest import Manifest


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, sign: bool = False) -> None:
    """Change the manifest; ``sign`` makes its release_id fit again, as a careful forger would."""
    path = folder / "manifest.json"
    text = json.loads(path.read_text())
    change(text)
    if sign:
        text["release_id"] = Manifest.model_validate(text).computed_id()
    path.write_text(json.dumps(text))


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Change manifest and hashes as somebody would who knows how a release is signed; the new release_id."""
    path = folder / "manifest.json"
    text = json.loads(path.read_text())
    for name, card in text["files"].items():
        file = folder / name
        if file.is_file():
            card |= {
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "bytes": file.stat().st_size,
            }
    change(text)
    del text["release_id"]
    signed = json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    release_id = hashlib.sha256(signed).hexdigest()
    path.write_text(json.dumps(text | {"release_id": release_id}))
    return release_id
