"""Bad input, as one line a person can act on.

Entry scripts print it without a traceback and exit with code 2 (nothing was started).
"""

from __future__ import annotations


class InputError(ValueError):
    """What was got, what was expected, what to do: in the message, in that order."""
