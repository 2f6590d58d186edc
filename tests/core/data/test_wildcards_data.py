from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from fooocus_core.files import DATA_FOLDER
from fooocus_core.prompt.wildcards import Wildcards

FOLDER = DATA_FOLDER / "wildcards"
SUBJECTS = (
    "animal",
    "artist",
    "color",
    "color_flower",
    "extended-color",
    "flower",
    "nationality",
)
PLACEHOLDER = re.compile(r"__([\w-]+)__")


def read_lines(subject: str) -> list[str]:
    return (FOLDER / f"{subject}.txt").read_text(encoding="utf-8").splitlines()


def files() -> list[Path]:
    return sorted(FOLDER.rglob("*.txt"))


def test_there_is_a_list_for_every_subject_of_the_reference() -> None:
    assert {file.stem for file in files()} >= set(SUBJECTS)


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_a_list_has_a_hundred_different_trimmed_lines(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 100
    assert len({line.casefold() for line in lines}) == len(lines)
    assert all(line and line == line.strip() for line in lines)


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_a_list_can_be_referred_to_by_its_name(file: Path) -> None:
    assert PLACEHOLDER.fullmatch(f"__{file.stem}__")


def test_the_placeholders_in_lines_name_lists_that_hold_no_placeholders() -> None:
    named = {
        name for subject in SUBJECTS for name in PLACEHOLDER.findall("\n".join(read_lines(subject)))
    }
    assert named == {"color", "extended-color", "flower"}
    assert not any(PLACEHOLDER.search("\n".join(read_lines(name))) for name in named)


def test_no_line_is_read_as_prompt_syntax() -> None:
    for subject in SUBJECTS:
        assert not re.search(r"[()\[\]<>,|\\]", "\n".join(read_lines(subject))), subject


def test_a_colored_flower_is_filled_to_the_end() -> None:
    wildcards = Wildcards([FOLDER])
    for image in range(len(read_lines("color_flower"))):
        text = wildcards.fill("a __color_flower__", Random(image), image=image, in_order=True)
        assert text.startswith("a ")
        assert "_" not in text
    assert wildcards.warnings == []
