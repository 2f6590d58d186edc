"""How many requests each caller may send in a minute. Knows neither keys nor answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 60
_MAX_CALLERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a caller has left.

    Attributes:
        is_exceeded: This request is one too many.
        limit: Requests that are allowed in a window.
        left: Requests that are still allowed in this one.
        reset_s: Seconds until the next one begins, rounded up.
    """

    is_exceeded: bool
    limit: int
    left: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """The same for callers: in the form of the IETF's draft, and in the older one."""
        headers = {
            "RateLimit-Policy": f'"default";q={self.limit};w={_WINDOW_S}',
            "RateLimit": f'"default";r={self.left};t={self.reset_s}',
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.left),
            "X-RateLimit-Reset": str(self.reset_s),
        }
        return {**headers, "Retry-After": str(self.reset_s)} if self.is_exceeded else headers


class RateLimiter:
    """Counts the requests of each caller, in windows of a minute that begin with its first one.

    To be used on one thread.

    Args:
        limit: Requests per minute; 0 = any number.
        clock: Seconds that never go back.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        # By caller: when the window ends, and the requests in it.
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, caller: str) -> Allowance | None:
        """Count a request; ``None`` = there is no limit. Refused requests do not count."""
        if not self._limit:
            return None
        now = self._clock()
        end, used = self._windows.get(caller, (0.0, 0))
        if end <= now:
            self._forget_past(now)
            end, used = now + _WINDOW_S, 0
        is_exceeded = used >= self._limit
        used += not is_exceeded
        self._windows[caller] = (end, used)
        return Allowance(
            is_exceeded=is_exceeded,
            limit=self._limit,
            left=self._limit - used,
            reset_s=max(1, math.ceil(end - now)),
        )

    def _forget_past(self, now: float) -> None:
        if len(self._windows) >= _MAX_CALLERS:
            kept = {name: window for name, window in self._windows.items() if window[0] > now}
            # So many at once are not kept apart any more.
            self._windows = kept if len(kept) < _MAX_CALLERS else {}
