"""How many connections the operating system lets a server have. Knows nothing of what they are for.

A server that takes more than it has file descriptors for could open neither pictures nor its store.
"""

from __future__ import annotations

import sys
from contextlib import suppress

_WANTED = 16_384
_RESERVED = 100


def connection_limit() -> int | None:
    """Have the process open as many files as it may, and tell how many may be connections.

    Returns:
        ``None`` where there is no such limit.
    """
    if sys.platform == "win32":
        return None
    # Not there on every system.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _WANTED if hard == unlimited else min(hard, _WANTED)
    if soft != unlimited and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == unlimited else max(soft - _RESERVED, soft // 2)
