"""How far a file on its way is: in words, and not too often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_LOG_EVERY_S = 10.0
_UNITS = ("B", "kB", "MB", "GB", "TB")

_log = logging.getLogger(__name__)

OnBytes = Callable[[int, int | None], None]
"""Told how many bytes of a file are there, and how many it has if that is known."""


def shown_size(size: int | None) -> str:
    """A number of bytes in the largest decimal unit that leaves a whole number of them."""
    if size is None:
        return "unknown size"
    number, unit = float(size), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit > 2 else f"{number:.0f} {_UNITS[unit]}"


def shown_transfer(done: int, total: int | None) -> str:
    """How much of how much."""
    return shown_size(done) if total is None else f"{shown_size(done)} of {shown_size(total)}"


def logged(name: str) -> OnBytes:
    """Log lines of a file on its way, one every ten seconds."""
    return at_intervals(
        lambda done, total: _log.info("%s: %s", name, shown_transfer(done, total)), _LOG_EVERY_S
    )


def at_intervals(
    tell: OnBytes, every_s: float, clock: Callable[[], float] = time.monotonic
) -> OnBytes:
    """Pass on the first number, then one every so many seconds, and the one that is complete."""
    last: float | None = None

    def told(done: int, total: int | None) -> None:
        nonlocal last
        now = clock()
        if last is None or now - last >= every_s or done == total:
            last = now
            tell(done, total)

    return told
