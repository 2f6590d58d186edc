"""What docs/migrating.md says, and what flags it and docs/api.md name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fooocusapi.flag_values import read_flags
from fooocusapi.flags import FLAGS

DOCS = Path(__file__).parents[2] / "docs"
MIGRATING = (DOCS / "migrating.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["api", "migrating"])
def test_every_flag_in_the_documents_for_callers_exists(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    # Commands of others aside, of which those for callers are full.
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert set(re.findall(r"`--([a-z][a-z0-9-]+)", prose)) <= {known.name for known in FLAGS}


def test_the_start_line_for_those_who_move_is_understood() -> None:
    line = re.search(r"^python main.py (.*)$", MIGRATING, re.MULTILINE)
    assert line is not None
    assert read_flags(line[1].split(), {}).values["port"] == 8888


@pytest.mark.parametrize(("letter", "count"), [("B", 28), ("D", 24)])
def test_every_difference_has_a_row_with_what_is_here(letter: str, count: int) -> None:
    rows = re.findall(rf"^\| {letter}(\d+) \| (.+) \| (.+) \|$", MIGRATING, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, count + 1))
