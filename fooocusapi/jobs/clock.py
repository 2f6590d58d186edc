"""Time for job records."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since the epoch, never going backwards."""


def make_clock() -> Clock:
    """A clock that reads the wall once and then counts on, whatever the wall clock does."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: (offset_ns + time.monotonic_ns()) // 1_000_000
