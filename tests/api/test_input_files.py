"""Pictures of unfinished jobs on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocusapi.exceptions import InputsGoneError, StoreError
from fooocusapi.input_files import InputFiles

PICTURES = [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    np.zeros((1, 1, 3), np.uint8),
]


def test_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    files = InputFiles(tmp_path)
    files.save("job", PICTURES)
    for number, picture in enumerate(PICTURES):
        again = files.load("job", number)
        assert again.dtype == np.uint8
        assert np.array_equal(again, picture)


def test_a_job_without_pictures_makes_no_folder(tmp_path: Path) -> None:
    InputFiles(tmp_path).save("job", [])
    assert list(tmp_path.iterdir()) == []


def test_removed_pictures_are_gone(tmp_path: Path) -> None:
    files = InputFiles(tmp_path)
    files.save("job", PICTURES)
    files.remove("job")
    files.remove("job")
    with pytest.raises(InputsGoneError):
        files.load("job", 0)


@pytest.mark.parametrize("content", [b"", b"cut", b"\x93NUMPY\x01\x00"])
def test_a_damaged_picture_is_told_of(tmp_path: Path, content: bytes) -> None:
    files = InputFiles(tmp_path)
    files.save("job", PICTURES)
    (tmp_path / "inputs" / "job" / "0.npy").write_bytes(content)
    with pytest.raises(InputsGoneError):
        files.load("job", 0)


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "inputs").touch()
    with pytest.raises(StoreError, match="could not be kept"):
        InputFiles(tmp_path).save("job", PICTURES)


def test_only_pictures_of_the_jobs_named_stay(tmp_path: Path) -> None:
    files = InputFiles(tmp_path)
    files.keep_only({"a"})
    for job_id in ("a", "b", "c"):
        files.save(job_id, PICTURES)
    files.keep_only({"a", "c"})
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == ["a", "c"]
