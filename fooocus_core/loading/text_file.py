"""Reading the text files that belong to networks, such as vocabularies."""

from __future__ import annotations

from pathlib import Path

from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.files import read_text


def read_model_text(path: Path) -> str:
    """Read a UTF-8 text file of at most 10 MiB, without a byte order mark.

    Raises:
        ModelFileError: It is unreadable, too large, or not UTF-8 text; names the file.
    """
    try:
        return read_text(path)
    except InvalidInputError as error:
        raise ModelFileError(str(error)) from error
