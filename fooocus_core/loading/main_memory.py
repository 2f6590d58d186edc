"""How much main memory this process could still take.

Knows nothing of the memory of other devices.
"""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_bytes(meminfo: Path = _MEMINFO, group: Path = _CONTROL_GROUP) -> int | None:
    """Main memory that can be had without swapping: the machine's, or less if a limit is set.

    Args:
        meminfo: What the system tells of the machine.
        group: What it tells of the limits of this container.

    Returns:
        ``None`` where the system tells nothing, which is everywhere but on Linux.
    """
    amounts = [_machine(meminfo), _container(group)]
    return min((amount for amount in amounts if amount is not None), default=None)


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
