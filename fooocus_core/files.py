"""Reading what users put into folders: listings in a fixed order, and JSON with a clear complaint.

Knows nothing of what the files mean.
"""

from __future__ import annotations

import codecs
import json
import os
import stat
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
    groups, ends = [], tuple(suffixes)
    for parent, subfolders, files in os.walk(folder):
        # Parents first with sub-folders in descending order, read backwards, is children first
        # with sub-folders in ascending order.
        subfolders.sort(key=str.casefold, reverse=True)
        relative = Path(parent).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        chosen = [name for name in files if name.lower().endswith(ends)]
        groups.append([prefix + name for name in sorted(chosen, key=str.casefold)])
    names = [name for group in reversed(groups) for name in group]
    # All at once, as that is many times faster, and usually all that is needed.
    if _is_utf8("".join(names)):
        return names
    # No answer and no log could hold them: what is not UTF-8 becomes halves of surrogate pairs.
    usable = []
    for name in names:
        if _is_utf8(name):
            usable.append(name)
        else:
            on_unusable(repr(os.fsencode(folder / name))[2:-1])
    return usable


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or what it would be made in: the nearest one above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


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


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFile:
    """A JSON file that was read.

    Attributes:
        text: Its content.
        value: What the content says.
    """

    path: Path
    text: str
    value: Any

    def place_of(self, member: str | int) -> str:
        """File and line of a member of the outermost object or list, by its key or index."""
        return f"{self.path}, line {_member_lines(self.text)[member]}"


def read_text(path: Path) -> str:
    """Read a UTF-8 text file of at most 10 MiB, without a byte order mark.

    Raises:
        InvalidInputError: It is unreadable, too large, or not UTF-8 text; names the file, and the
            line where there is one.
    """
    try:
        status = path.stat()
        # Anything else, such as a pipe, may have no end or keep the reader waiting for ever.
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"{path} is not a file.")
        if status.st_size > MAX_TEXT_BYTES:
            raise InvalidInputError(f"{path} is larger than {MAX_TEXT_BYTES // 2**20} MiB.")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if data.startswith(codecs.BOM_UTF8):
        raise InvalidInputError(
            f"{path}, line 1: the file begins with a byte order mark; save it as UTF-8 without one."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(path, error.object[: error.start]) from error
    # UTF-16 without its mark decodes without an error.
    if "\0" in text:
        raise _not_text(path, data[: data.index(b"\0")])
    return text


def _not_text(path: Path, before: bytes) -> InvalidInputError:
    line = before.count(b"\n") + 1
    return InvalidInputError(f"{path}, line {line}: this is not UTF-8 text.")


def read_json(path: Path) -> JsonFile:
    """Read a JSON file of at most 10 MiB.

    Raises:
        InvalidInputError: It is unreadable or not JSON; names the file, and the line where there
            is one.
    """
    text = read_text(path)
    try:
        return JsonFile(path=path, text=text, value=json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}, line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is not usable JSON: {error}.") from error


def _member_lines(text: str) -> dict[str | int, int]:
    """Line of each member of a JSON object or list; of a key twice, the later one counts."""
    decoder = json.JSONDecoder()
    lines: dict[str | int, int] = {}
    line, counted = 1, 0
    position = _skip_blanks(text, 0)
    closing = {"{": "}", "[": "]"}[text[position]]
    position = _skip_blanks(text, position + 1)
    while text[position] != closing:
        line += text.count("\n", counted, position)
        counted = position
        key: str | int = len(lines)
        if closing == "}":
            key, position = decoder.raw_decode(text, position)
            position = _skip_blanks(text, _skip_blanks(text, position) + 1)
        lines[key] = line
        position = _skip_blanks(text, decoder.raw_decode(text, position)[1])
        if text[position] == ",":
            position = _skip_blanks(text, position + 1)
    return lines


def _skip_blanks(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position
