"""Two kinds of failure, which end a command with different exit codes.

`ClusterError` is bad input: nothing was started, exit code 2. `ClusterFailed` happened while running: exit
code 1, and its text says what is kept and how to go on. Both print as one message, never as a traceback.
"""

from __future__ import annotations


class ClusterError(ValueError):
    """Bad input: the message says what was got, what was expected and what to do. Nothing was started."""


class ClusterFailed(RuntimeError):
    """A failure while a cluster was starting, running or ending, with what remains of it."""


class SshFailed(ClusterFailed):
    """A command over SSH did not get through, or answered a status other than 0."""

    def __init__(self, message: str, *, status: int = 255, output: str = "") -> None:
        super().__init__(message)
        self.status = status  # 255 is ssh's own failure: the command may never have run
        self.output = output


class GpuNotSeen(ClusterFailed):
    """A rented machine's GPU is not seen by torch or by Ray."""
