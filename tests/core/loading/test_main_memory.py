"""How much main memory is said to be there, by what the system tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_core.loading.main_memory import available_bytes

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
