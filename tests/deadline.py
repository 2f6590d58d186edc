"""Waiting for what another thread or process is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 20.0


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return as soon as it is so, or fail."""
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
