"""Time for job records."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since the epoch, never going backwards."""


def make_clock(not_before_ms: int = 0) -> Clock:
    """A clock that reads the wall once and then counts on, whatever the wall clock does.

    Args:
        not_before_ms: Time that it was already by an earlier clock.
    """
    begin_ns = max(time.time_ns(), not_before_ms * 1_000_000)
    offset_ns = begin_ns - time.monotonic_ns()
    return lambda: (offset_ns + time.monotonic_ns()) // 1_000_000
