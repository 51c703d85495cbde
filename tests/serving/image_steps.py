"""The steps of serving/deployment/Dockerfile, read from the file: what a test can run without a daemon."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "serving" / "deployment" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) in order, continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(name, words) for name, words in pairs]


def copy_context(target: Path) -> None:
    """What the COPY instructions bring into the image."""
    target.mkdir(parents=True)
    for name, words in instructions():
        if name != "COPY":
            continue
        *sources, _ = words.split()
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, target / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, target / source)


def pip_arguments() -> list[str]:
    """The words of the RUN instruction after ``python -m pip``."""
    (words,) = [words for name, words in instructions() if name == "RUN" and "pip install" in words]
    return shlex.split(words)[3:]


def command() -> list[str]:
    """CMD's words."""
    (words,) = [words for name, words in instructions() if name == "CMD"]
    listed: list[str] = json.loads(words)
    return listed


def health_command() -> list[str]:
    """HEALTHCHECK's words."""
    (words,) = [words for name, words in instructions() if name == "HEALTHCHECK"]
    listed: list[str] = json.loads(words.split("CMD", 1)[1])
    return listed
