"""How much main memory is said to be there, and what becomes of memory that was freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fooocus_core.main_memory import available_bytes

MACHINE = "MemTotal:  4000 kB\nMemFree:  10 kB\nMemAvailable:  2000 kB\nHugePages_Total: 0\n"


def make_system(folder: Path, *, machine: str | None, **group: str) -> int | None:
    if machine is not None:
        (folder / "meminfo").write_text(machine, encoding="ascii")
    for name, text in group.items():
        (folder / f"memory.{name}").write_text(text, encoding="ascii")
    return available_bytes(folder / "meminfo", folder)


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert make_system(tmp_path, machine=MACHINE, max="max\n", current="77\n") == 2000 * 1024


def test_a_limit_counts_less_what_is_used_and_cannot_be_given_up(tmp_path: Path) -> None:
    group = {"max": "1000000\n", "current": "900000\n", "stat": "anon 5\ninactive_file 300000\n"}

    assert make_system(tmp_path, machine=MACHINE, **group) == 400_000


@pytest.mark.parametrize(("used", "expected"), [("999999", 1), ("1000001", 0)])
def test_a_limit_may_be_reached(used: str, expected: int, tmp_path: Path) -> None:
    assert make_system(tmp_path, machine=MACHINE, max="1000000", current=used) == expected


def test_a_limit_above_the_machine_does_not_count(tmp_path: Path) -> None:
    group = {"max": "9000000000", "current": "5"}

    assert make_system(tmp_path, machine=MACHINE, **group) == 2000 * 1024


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert make_system(tmp_path, machine=None) is None


# What another thread takes and frees, in MiB that the process then has more than before.
FREEING = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fooocus_core import main_memory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256


def take_and_free():
    for _ in range(3):
        parts = [np.ones(2**20) for _ in range(20)]
        del parts


def told(what):
    print(what, resident() - before)


main_memory.share_one_heap()
with ThreadPoolExecutor(1) as pool:
    before = resident()
    pool.submit(take_and_free).result()
    told("usual")
    with main_memory.keeping_freed_memory():
        pool.submit(take_and_free).result()
        told("kept")
        assert main_memory.available_bytes()
        told("asked")
        pool.submit(take_and_free).result()
    main_memory.give_freed_memory_back()
    told("returned")
    pool.submit(take_and_free).result()
    told("later")
"""
# What of address space, in MiB, stays with the process of parts that are never written to.
MORE_THAN_2_GIB = """
import ctypes

from fooocus_core import main_memory

library = ctypes.CDLL(None)
library.malloc.restype = library.sbrk.restype = ctypes.c_void_p
with main_memory.keeping_freed_memory():
    before = library.sbrk(0)
    parts = [library.malloc(ctypes.c_size_t(2**27)) for _ in range(20)]
    for part in parts:
        library.free(ctypes.c_void_p(part))
    print("kept", (library.sbrk(0) - before) >> 20)
"""
# No other C library is told to keep what is freed.
IS_GLIBC = platform.libc_ver()[0] == "glibc"


def run(script: str, **more: str) -> dict[str, int]:
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **more},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return dict(zip(told[::2], map(int, told[1::2]), strict=True))


def test_freed_memory_is_kept_for_a_while_until_it_is_given_back() -> None:
    amounts = run(FREEING)

    assert (amounts["kept"] > 150) == IS_GLIBC
    assert max(amounts[name] for name in ("usual", "asked", "returned", "later")) < 60


def test_what_the_environment_tells_the_library_counts() -> None:
    amounts = run(FREEING, MALLOC_MMAP_THRESHOLD_="131072")

    assert max(amounts.values()) < 60


def test_any_amount_is_kept() -> None:
    assert (run(MORE_THAN_2_GIB)["kept"] > 2500) == IS_GLIBC
