"""Listings and the reading of users' files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fooocus_core.errors import InvalidInputError
from fooocus_core.files import MAX_TEXT_BYTES, list_files, read_json, read_text
from tests.malformed import TEXT_FAULTS, Fault, json_faults


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_sub_folders_come_before_their_parent_and_names_are_sorted_without_case(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, "b.txt", "A.txt", "y/2.txt", "X/1.txt", "X/deep/0.txt", "c.md")
    expected = ["X/deep/0.txt", "X/1.txt", "y/2.txt", "A.txt", "b.txt"]
    assert list_files(folder, [".txt"]) == expected


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert list_files(tmp_path / "nowhere") == []


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.txt")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert list_files(folder) == ["a.txt"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(InvalidInputError, match=r"large\.txt is larger than 10 MiB"):
        read_text(path)


def test_a_number_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "number.json"
    path.write_text("9" * 100_000, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"number\.json"):
        read_json(path)


def test_names_that_are_not_utf8_are_left_out_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.txt", os.fsdecode(b"\xff.txt"), os.fsdecode(b"sub\xff/b.txt"))
    told: list[str] = []
    assert list_files(folder, on_unusable=told.append) == ["a.txt"]
    assert len(told) == 2
    assert all(text.isascii() and "\\xff" in text for text in told)


@pytest.mark.parametrize("fault", TEXT_FAULTS, ids=lambda fault: fault.name)
def test_a_file_that_is_no_text_is_refused_naming_file_and_line(
    fault: Fault, tmp_path: Path
) -> None:
    path = fault.write(tmp_path / "words.txt")
    with pytest.raises(InvalidInputError) as refused:
        read_text(path)
    assert fault.place(path) in str(refused.value)


@pytest.mark.parametrize("fault", json_faults('[\n"é"\n]', []), ids=lambda fault: fault.name)
def test_a_file_that_is_no_json_is_refused_naming_file_and_line(
    fault: Fault, tmp_path: Path
) -> None:
    path = fault.write(tmp_path / "values.json")
    with pytest.raises(InvalidInputError) as refused:
        read_json(path)
    assert fault.place(path) in str(refused.value)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "endless.txt").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe.txt", tmp_path / "endless.txt"):
        with pytest.raises(InvalidInputError, match="is not a file"):
            read_text(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_text(tmp_path / "none.txt")


def test_members_of_a_json_file_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text(
        '{"a": [1,\n2], "b"\n:\r\n{"c": NaN},\n\n"a\\"\\n": "}\\n", "b": 1e5 }\n', encoding="utf-8"
    )
    file = read_json(path)
    lines = {key: file.place_of(key).removeprefix(f"{path}, line ") for key in file.value}
    assert lines == {"a": "1", "b": "6", 'a"\n': "6"}
    path.write_text(' [\n{"a":\n1}, [],\n"x"\n]', encoding="utf-8")
    file = read_json(path)
    assert [file.place_of(index)[-1] for index in range(3)] == ["2", "3", "4"]
