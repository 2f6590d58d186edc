"""Reading what users put into folders: listings in a fixed order, and JSON with a clear complaint.

Knows nothing of what the files mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fooocus_core.errors import InvalidInputError

DATA_FOLDER = Path(__file__).parent / "data"
MAX_TEXT_BYTES = 10 * 1024 * 1024


def list_files(
    folder: Path,
    suffixes: Sequence[str] = ("",),
    *,
    on_unusable: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """List the files under a folder, sub-folders before their parent.

    Args:
        folder: Where to look; a folder that does not exist has no files.
        suffixes: Lower-case ends of file names that count, e.g. ``.safetensors``.
        on_unusable: Told the path, in ASCII, of each file left out because it is not UTF-8.

    Returns:
        Paths relative to ``folder`` with ``/`` between the parts; names sorted
        case-insensitively inside each folder.
    """
    groups = []
    for parent, subfolders, files in os.walk(folder):
        # Parents first with sub-folders in descending order, read backwards, is children first
        # with sub-folders in ascending order.
        subfolders.sort(key=str.casefold, reverse=True)
        relative = Path(parent).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        chosen = [name for name in files if name.lower().endswith(tuple(suffixes))]
        groups.append([prefix + name for name in sorted(chosen, key=str.casefold)])
    names = [name for group in reversed(groups) for name in group]
    # No answer and no log could hold them: what is not UTF-8 becomes halves of surrogate pairs.
    unusable = [name for name in names if not _is_utf8(name)]
    for name in unusable:
        on_unusable(repr(os.fsencode(folder / name))[2:-1])
    return [name for name in names if name not in unusable]


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What has to be equal for the content of a file to be what it was."""

    path: str
    size: int
    mtime_ns: int


def file_state(path: Path) -> FileState:
    """The state of a file now, by its path behind all links.

    Raises:
        OSError: It cannot be looked at.
    """
    status = path.stat()
    return FileState(path=str(path.resolve()), size=status.st_size, mtime_ns=status.st_mtime_ns)


def read_text(path: Path) -> str:
    """Read a UTF-8 text file of at most 10 MiB.

    Raises:
        InvalidInputError: It is unreadable, too large, or not plain UTF-8; names the file, and
            the line where there is one.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InvalidInputError(f"{path} is larger than {MAX_TEXT_BYTES // 2**20} MiB.")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path}, line {line}: this is not UTF-8 text.") from error
    if text.startswith("\ufeff"):
        raise InvalidInputError(f"{path}, line 1: save it as UTF-8 without a byte order mark.")
    return text


def read_json(path: Path) -> Any:
    """Read a JSON file of at most 10 MiB.

    Raises:
        InvalidInputError: It is unreadable or not JSON; names the file, and the line where there
            is one.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}, line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is not usable JSON: {error}.") from error
