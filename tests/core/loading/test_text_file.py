"""Text files beside networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.text_file import read_model_text


def test_a_text_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("one\ntwö\n", encoding="utf-8")

    assert read_model_text(path) == "one\ntwö\n"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
def test_a_file_that_is_no_text_is_an_error_naming_it(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelFileError, match=r"words\.txt"):
        read_model_text(path)
