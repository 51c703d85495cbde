"""``InputError`` for bad input, and the commands' exit codes.

Every entry script ends through ``exit_code``: 0 done, 1 failed while running, 2 bad input (nothing was
started), 130 interrupted. Foreseen errors print one line, never a traceback.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from recsys.user_home import ensure_home

# Package -> the extra of pyproject.toml that installs it.
EXTRA_OF = {
    **dict.fromkeys(("torch", "optuna", "mlflow", "jinja2", "matplotlib"), "search"),
    **dict.fromkeys(("fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client"), "serve"),
    "ray": "all",
    "psycopg": "postgres",
    "myfm": "myfm",
}
EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class InputError(ValueError):
    """Bad input. The message says what was got, what was expected and what to do."""


def suggest_names(name: str, choices: Iterable[str]) -> str:
    """The end of an error message about an unknown name.

    Args:
        name: As it was written.
        choices: Valid names.

    Returns:
        "did you mean x or y?" where some are similar, else the whole list.
    """
    names = sorted(choices)
    matches = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"there are: {', '.join(names)}"


def print_anything() -> None:
    """Lets a terminal that is not UTF-8 print any text: characters that it lacks appear as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def check_encoding(arguments: Sequence[str]) -> None:
    """Refuses arguments and a working folder that are not valid text: a run's files would contain them.

    Args:
        arguments: Of the command line.

    Raises:
        InputError: The first such name, and what to set.
    """
    for argument in (*arguments, os.getcwd()):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(
                f"{argument!r} is not text in this terminal's encoding ({sys.getfilesystemencoding()}); "
                "set PYTHONUTF8=1, or rename it"
            ) from None


def exit_code(command: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """Run ``command`` and turn how it ends into an exit code and at most one line on stderr.

    Args:
        command: Gives its own exit code.
        interrupted: The line for Ctrl-C.

    Returns:
        What ``command`` gives; 2 for an InputError or a package of an extra that is not installed, 1 for an
        OSError, 130 for Ctrl-C. Any other exception is a fault of ours and passes through.
    """
    print_anything()
    ensure_home()
    try:
        return command()
    except InputError as error:
        line, code = f"error: {error}", EXIT_BAD_INPUT
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRA_OF:
            raise
        install = f"python -m pip install -c constraints.txt -e '.[{EXTRA_OF[package]}]'"
        line, code = (
            f"error: {package} is not installed, and this command needs it: {install}",
            EXIT_BAD_INPUT,
        )
    except OSError as error:  # a missing permission, a full disk, an address in use
        where = f"{error.filename}: " if error.filename else ""
        line, code = f"failed: {where}{error.strerror or error}", EXIT_FAILED
    except KeyboardInterrupt:
        line, code = interrupted, EXIT_INTERRUPTED
    print(line, file=sys.stderr)
    return code
