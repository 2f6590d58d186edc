"""docs/bad-input.md names the tests of every bad input, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs" / "bad-input.md").read_text(encoding="utf-8")
ROWS = {
    number: set(re.findall(r"`([\w/]+\.py)`", files))
    for number, files in re.findall(r"^\| (B\d\d\w?) \|.*\| ([^|]*) \|$", TABLE, re.MULTILINE)
}
# Inputs of routes that are not part of this, each with its reason in the table and the README.
ELSEWHERE = {"B62"}
NUMBER = re.compile(r"^def test_b(\d\da?)_", re.MULTILINE)


def find_tests() -> dict[str, set[str]]:
    """The files with tests of each number."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for number in NUMBER.findall(path.read_text(encoding="utf-8")):
            found.setdefault(f"B{number}", set()).add(path.relative_to(TESTS).as_posix())
    return found


def test_the_table_has_every_number() -> None:
    assert set(ROWS) == {*(f"B{number:02}" for number in range(1, 67)), "B17a"}


def test_the_table_names_the_files_of_all_tests() -> None:
    found = find_tests()
    assert set(found) <= set(ROWS)
    wanted = {number: found.get(number) for number in ROWS if number not in ELSEWHERE}
    assert wanted == {number: ROWS[number] for number in wanted}
    assert all(wanted.values())
