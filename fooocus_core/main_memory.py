"""How much main memory this process could still take, and when it gives back what it freed.

Knows nothing of the memory of other devices. By itself the C library of most Linux systems (glibc)
gives the memory of every large tensor back, and gets it anew, cleared page by page, for the next
layer. Nothing is changed here of another library, nor of one that the environment tells what to do.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")
# Of glibc's mallopt, and what it does by itself.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 2**17, 2**16
_SET_OUTSIDE = ("MALLOC_", "GLIBC_TUNABLES")


def available_bytes(meminfo: Path = _MEMINFO, group: Path = _CONTROL_GROUP) -> int | None:
    """Main memory that can be had without swapping: the machine's, or less if a limit is set.

    What this process freed counts: it is given back first.

    Args:
        meminfo: What the system tells of the machine.
        group: What it tells of the limits of this container.

    Returns:
        ``None`` where the system tells nothing, which is everywhere but on Linux.
    """
    give_freed_memory_back()
    amounts = [_machine(meminfo), _container(group)]
    return min((amount for amount in amounts if amount is not None), default=None)


def share_one_heap() -> None:
    """Have threads that come use the heap of the first one: only that can keep what is freed.

    To be called before there are other threads.
    """
    _set(_ARENA_MAX, 1)


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Keep what is freed for what comes next; not within another one.

    At the end it stays until :func:`give_freed_memory_back`, and nothing more is kept.
    """
    _set(_MMAP_MAX, 0)
    _set(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        _set(_MMAP_MAX, _USUAL_MMAP_MAX)
        _set(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)


def give_freed_memory_back() -> None:
    """Give the system back what nothing uses."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(ctypes.c_size_t(0))


def _set(option: int, value: int) -> None:
    library = _glibc()
    if library is not None and not any(name.startswith(_SET_OUTSIDE) for name in os.environ):
        library.mallopt(option, value)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
    except OSError:  # an interpreter that loads no libraries
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None


def _machine(path: Path) -> int | None:
    kibibytes = _table(path).get("MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _container(folder: Path) -> int | None:
    limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or used is None:
        return None
    # Pages of files are counted as used, but are given up when memory is needed.
    reclaimable = _table(folder / "memory.stat").get("inactive_file", 0)
    return max(limit - used + reclaimable, 0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max" = no limit


def _table(path: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
