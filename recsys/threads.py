"""BLAS on one thread, for many small products: more threads would mostly wait for each other, and on shared
cores a product of microseconds then takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits BLAS to one thread in this process until the block ends. Also a decorator."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    """Looks for the loaded libraries once: that takes milliseconds, setting their threads microseconds."""
    return ThreadpoolController()
