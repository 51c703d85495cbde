"""Bad input, as one line a person can act on, and how a command ends.

Every entry script ends through ``exit_code``: 0 done, 1 failed while running, 2 bad input (nothing was
started), 130 interrupted; no traceback at a person for what was foreseen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class InputError(ValueError):
    """What was got, what was expected, what to do: in the message, in that order."""


def exit_code(command: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """What ``command()`` gives, or the code of how it ended, told in one line on stderr."""
    try:
        return command()
    except InputError as error:
        line, code = f"error: {error}", EXIT_BAD_INPUT
    except OSError as error:  # a missing permission, a full disk, an address in use
        where = f"{error.filename}: " if error.filename else ""
        line, code = f"failed: {where}{error.strerror or error}", EXIT_FAILED
    except KeyboardInterrupt:
        line, code = interrupted, EXIT_INTERRUPTED
    print(line, file=sys.stderr)
    return code
