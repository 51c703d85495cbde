"""Load a release: every file and hash checked, arrays opened, its golden lists computed again.

Refuses, in one line, a folder that is not a release, is unfinished, holds anything that its manifest does not
name, was changed after it was made, or has a schema that this version cannot read. A release is the only
thing that search hands to serving.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from recsys.errors import InputError
from recsys.release import files
from recsys.release.golden_check import check_golden
from recsys.release.loaded_release import Release, mmap_release
from recsys.release.manifest import READ_VERSIONS, SCHEMA_VERSION, Manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a release, with its id checked.

    Args:
        folder: Of the release.

    Raises:
        InputError: It is missing, damaged, changed or of a newer version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is no release: there is no manifest.json in it. `python search/breakthrough.py` makes "
            "one under runs/NAME/release"
        )
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): copy the release again, whole") from None
    version = text.get("schema_version") if isinstance(text, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema_version {version}, this version reads up to {SCHEMA_VERSION}: update this "
            "installation, or make the release again with it"
        )
    if version not in READ_VERSIONS:
        raise InputError(
            f"{path} has schema_version {version!r}, expected one of {', '.join(map(str, READ_VERSIONS))}: "
            "make the release again"
        )
    if text.get("complete") is not True:
        raise InputError(f"{folder} is unfinished: whatever made it stopped before the end; make it again")
    try:
        manifest = Manifest.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} does not fit the schema at {where}: {first['msg']}") from None
    try:
        computed = manifest.computed_id()
    except UnicodeEncodeError as error:
        raise InputError(f"{path} holds text that is not Unicode ({error.reason}): make it again") from None
    if computed != manifest.release_id:
        raise InputError(
            f"{path} was changed after the release was made: its release_id does not fit what it says; copy "
            "the release again or make a new one"
        )
    return manifest


def load_release(folder: Path | str, *, verify: bool = True) -> Release:
    """Loads and checks a release.

    Args:
        folder: Of the release.
        verify: Whether to check hashes and golden lists; the caller may have just done both.

    Raises:
        InputError: It names the first thing that is wrong.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    files.check(folder, manifest.files, hashes=verify)
    release = mmap_release(folder, manifest)
    if verify:
        check_golden(release)
    return release
