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
    told("freed")
    main_memory.keep_freed_memory()
    pool.submit(take_and_free).result()
    told("kept")
    with main_memory.giving_freed_memory_back():
        told("within")
    told("returned")
    pool.submit(take_and_free).result()
    assert main_memory.available_bytes()
    told("asked")
"""


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", FREEING], env=environ, capture_output=True, text=True, check=True
    ).stdout.split()

    amounts = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    assert max(amounts["freed"], amounts["returned"], amounts["asked"]) < 60
    # No other C library is told to keep it.
    is_kept = platform.libc_ver()[0] == "glibc"
    assert (amounts["kept"] > 150) == (amounts["within"] > 150) == is_kept
