"""Remembered content hashes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from fooocus_core.errors import ModelNotFoundError
from fooocus_core.hashes import HashCache
from tests.golden import load_json


def digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:10]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    return path


def test_the_hash_is_the_start_of_the_sha256(model: Path, tmp_path: Path) -> None:
    assert HashCache(tmp_path / "cache").short_hash(model) == digits(b"one")


def test_the_hash_of_a_recorded_file(weights: Path, tmp_path: Path) -> None:
    name = "embeddings/tiny_embed.safetensors"
    expected = load_json("weights_sha256")[name][:10]
    assert HashCache(tmp_path / "cache").short_hash(weights / name) == expected


def test_a_hash_is_remembered_by_path_size_and_time(model: Path, tmp_path: Path) -> None:
    cache_file = tmp_path / "cache"
    HashCache(cache_file).short_hash(model)
    status = model.stat()
    model.write_bytes(b"two")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert HashCache(cache_file).short_hash(model) == digits(b"one")


def test_a_changed_file_is_hashed_again(model: Path, tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "cache")
    cache.short_hash(model)
    model.write_bytes(b"three")
    assert cache.short_hash(model) == digits(b"three")


@pytest.mark.parametrize("line", ["{", "[]", '{"path": 1}', "\\xff", '{"/m": "abc"}'])
def test_lines_that_are_not_understood_are_passed_over(
    line: str, model: Path, tmp_path: Path
) -> None:
    cache_file = tmp_path / "cache"
    cache_file.write_text(line + "\n", encoding="utf-8")
    assert HashCache(cache_file).short_hash(model) == digits(b"one")
    assert json.loads(cache_file.read_text(encoding="utf-8").splitlines()[-1])["size"] == 3


def test_a_cache_that_cannot_be_written_is_no_failure(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = HashCache(tmp_path / "nowhere" / "cache")
    assert cache.short_hash(model) == digits(b"one")
    assert "cannot be written" in caplog.text


def test_a_rebuilt_cache_holds_the_files_that_are_there_as_they_are(
    model: Path, tmp_path: Path
) -> None:
    cache_file = tmp_path / "cache"
    gone = tmp_path / "gone.safetensors"
    gone.write_bytes(b"gone")
    for path in (model, gone):
        HashCache(cache_file).short_hash(path)
    status = model.stat()
    model.write_bytes(b"two")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    gone.unlink()
    assert HashCache(cache_file).rebuild([model], threads=2) == 1
    (line,) = cache_file.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["sha256"].startswith(digits(b"two"))
    assert HashCache(cache_file).short_hash(model) == digits(b"two")


def test_a_file_that_cannot_be_read_is_left_out_of_a_rebuilt_cache(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "missing.safetensors"
    assert HashCache(tmp_path / "cache").rebuild([missing, model]) == 1
    assert f"{missing} cannot be read" in caplog.text


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nope\.safetensors"):
        HashCache(tmp_path / "cache").short_hash(tmp_path / "nope.safetensors")
