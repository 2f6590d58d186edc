"""Weight files are read safely, and damage is named."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import read_torch_file, read_weights


class Executed:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_a_safetensors_file_gives_tensors_and_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a.b": torch.ones(2), "c": torch.zeros(1)}, path, metadata={"key": "value"})
    file = read_weights(path)
    assert file.metadata == {"key": "value"}
    assert set(file.section("a.")) == {"b"}


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_a_torch_file_gives_its_tensors(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / "a.pth"
    table = {"a": torch.ones(2), "note": "text"}
    torch.save(table if key is None else {key: table, "epoch": 1}, path)
    assert list(read_weights(path).tensors) == ["a"]


@pytest.mark.parametrize("length", [0, 5, 100, -1])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_b65_a_truncated_file_is_an_error_naming_it(
    tmp_path: Path, suffix: str, length: int
) -> None:
    path = tmp_path / f"model{suffix}"
    tensors = {"a": torch.ones(100)}
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match="model"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_b65_a_missing_file_or_one_of_another_format_is_an_error(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(ModelFileError, match="model"):
        read_weights(path)
    path.write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(ModelFileError, match="model"):
        read_weights(path)


def test_b65_nothing_in_a_torch_file_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.ones(1), "b": Executed()}, path)
    with pytest.raises(ModelFileError, match="more than tensors"):
        read_torch_file(path)
    assert capsys.readouterr().out == ""


def test_a_file_without_tensors_is_an_error(tmp_path: Path) -> None:
    torch.save({"note": "text"}, tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match="no tensors"):
        read_weights(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(ModelFileError, match="table"):
        read_weights(tmp_path / "b.pt")


def entry(start: int = 0, stop: int = 8, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, stop], **changes}


HEADERS: dict[str, tuple[dict[str, Any], int | None]] = {
    "length 2^63": ({"a": entry()}, 2**63),
    "length 2^64 - 1": ({"a": entry()}, 2**64 - 1),
    "length beyond the file": ({"a": entry()}, 10_000),
    "length 100 MB and more": ({"a": entry()}, 100_000_001),
    "overlapping offsets": ({"a": entry(), "b": entry(4, 12)}, None),
    "offsets beyond the file": ({"a": entry(0, 80, shape=[20])}, None),
    "offsets backwards": ({"a": entry(8, 0)}, None),
    "negative offsets": ({"a": entry(-8, 0)}, None),
    "a hole": ({"a": entry(), "b": entry(12, 20)}, None),
    "unknown dtype": ({"a": entry(dtype="F33")}, None),
    "shape of another size": ({"a": entry(shape=[3])}, None),
    "shape beyond all numbers": ({"a": entry(shape=[2**40, 2**40])}, None),
    "no object": ({"a": 5}, None),
}


@pytest.mark.parametrize("what", HEADERS)
def test_b65_a_header_that_makes_no_sense_is_an_error_naming_the_file(
    tmp_path: Path, what: str
) -> None:
    header, length = HEADERS[what]
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    stated = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", stated) + text + bytes(24))
    with pytest.raises(ModelFileError, match="model.safetensors"):
        read_weights(path)


def test_b65_a_link_to_itself_is_an_error_naming_it(tmp_path: Path) -> None:
    for name in ("loop.safetensors", "loop.ckpt"):
        (tmp_path / name).symlink_to(name)
        with pytest.raises(ModelFileError, match="loop"):
            read_weights(tmp_path / name)
