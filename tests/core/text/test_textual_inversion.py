"""Embedding files are found by name, inside their folders only, in every known layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fooocus_core.errors import ModelFileError
from fooocus_core.text.textual_inversion import TextualInversions

WIDTH = 4
ROWS = torch.arange(8.0).reshape(2, WIDTH)


class Warnings(list[str]):
    """Collects what is told."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "embeddings" / "sub").mkdir(parents=True)
    return tmp_path / "embeddings"


@pytest.fixture
def inversions(folder: Path, warnings: Warnings) -> TextualInversions:
    return TextualInversions([folder], warnings)


def find(inversions: TextualInversions, text: str, encoder: str = "clip_l") -> tuple[Any, str]:
    rows, following = inversions.split_off(text, encoder=encoder, width=WIDTH)
    return [row.tolist() for row in rows], following


@pytest.mark.parametrize(
    "content",
    [
        {"string_to_param": {"*": ROWS}, "name": "x"},
        {"clip_l": ROWS, "clip_g": ROWS[:, :3]},
        {"emb_params": ROWS},
        [{"a": ROWS[:1], "b": ROWS[:, :3]}, {"c": ROWS[1:]}],
        ROWS,
    ],
    ids=["string_to_param", "clip_l", "first-value", "list", "bare"],
)
@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_torch_files_of_every_layout_give_their_rows(
    inversions: TextualInversions, folder: Path, content: object, suffix: str
) -> None:
    torch.save(content, folder / f"name{suffix}")
    assert find(inversions, "name") == (ROWS.tolist(), "")


def test_one_dimension_is_one_row(inversions: TextualInversions, folder: Path) -> None:
    save_file({"x": ROWS[0].clone()}, folder / "name.safetensors")
    assert find(inversions, "name") == ([ROWS[0].tolist()], "")


@pytest.mark.parametrize("text", ["deep", "deep.safetensors", "sub/deep"])
def test_sub_folders_are_searched(inversions: TextualInversions, folder: Path, text: str) -> None:
    save_file({"clip_l": ROWS}, folder / "sub" / "deep.safetensors")
    assert find(inversions, text)[0] == ROWS.tolist()


@pytest.mark.parametrize(
    ("text", "following"), [("name,", ","), ("name,,,", ",,,"), (",name", ""), ("name", "")]
)
def test_commas_around_a_name_are_text(
    inversions: TextualInversions, folder: Path, text: str, following: str
) -> None:
    save_file({"clip_l": ROWS}, folder / "name.safetensors")
    assert find(inversions, text) == (ROWS.tolist(), following)


@pytest.mark.parametrize(
    "name",
    ["../outside", "sub/../../outside", "{absolute}", "", "notes", "x" * 5000, "a\0b", "."],
    ids=["above", "above-through-sub", "absolute", "empty", "other-file", "long", "nul", "folder"],
)
def test_what_is_not_an_embedding_in_the_folder_vanishes_with_a_warning(
    inversions: TextualInversions, folder: Path, warnings: Warnings, name: str
) -> None:
    outside = folder.parent / "outside.safetensors"
    save_file({"clip_l": ROWS}, outside)
    (folder / "notes").write_text("text", encoding="utf-8")
    name = name.format(absolute=outside)
    assert find(inversions, name) == ([], "")
    assert find(inversions, name, "clip_g") == ([], "")
    assert len(warnings) == 1


def test_rows_that_do_not_fit_are_given_with_a_warning(
    inversions: TextualInversions, folder: Path, warnings: Warnings
) -> None:
    save_file({"clip_l": ROWS, "clip_g": torch.zeros(2, 7)}, folder / "name.safetensors")
    assert find(inversions, "name")[0] == ROWS.tolist()
    assert warnings == []
    assert [len(row) for row in find(inversions, "name", "clip_g")[0]] == [7, 7]
    assert "does not fit clip_g" in warnings[0]


def test_a_damaged_file_is_an_error_naming_it(inversions: TextualInversions, folder: Path) -> None:
    (folder / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="broken"):
        find(inversions, "broken")
