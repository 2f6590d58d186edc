"""Wildcards: ``__name__`` in a prompt becomes a line of the file ``name.txt``.

Knows nothing of the rest of the prompt syntax.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from random import Random

from fooocus_core.errors import InvalidInputError
from fooocus_core.files import list_files, read_text

MAX_PASSES = 64
MAX_CHARACTERS = 1_000_000
MAX_WORK = 300_000_000  # characters gone through for placeholders that lie inside each other

_PLACEHOLDER = re.compile(r"__([\w-]+)__")


class Wildcards:
    """The wildcard files of some folders; made for one job, and remembers what it read.

    Attributes:
        warnings: Files that were asked for and could not be read, one sentence each.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Look for ``*.txt`` in the folders and their sub-folders.

        Args:
            folders: Of two files with one base name, the first one counts: folder after folder,
                sub-folders before their parent. One that cannot be read does not count.
        """
        self._paths: dict[str, list[Path]] = {}
        for folder in folders:
            for name in list_files(folder, [".txt"]):
                self._paths.setdefault(PurePosixPath(name).stem, []).append(folder / name)
        self._lines: dict[str, list[str]] = {}
        self.warnings: list[str] = []

    def fill(self, text: str, rng: Random, *, image: int, in_order: bool) -> str:
        """Replace every placeholder, also those that come with a chosen line.

        Placeholders are taken from left to right in up to 64 passes. The name of a missing or
        empty file stays without its underscores, and draws no random number. Because names may
        contain underscores, two placeholders glued together are one unknown name.

        Args:
            text: One line of a prompt.
            rng: Draws one number per replaced placeholder unless ``in_order``.
            image: 0-based number of the picture, which chooses the line if ``in_order``.
            in_order: Take line ``image`` of each file, starting over at its end.

        Raises:
            InvalidInputError: The text grows without end.

        Source:
            Behaviour of lllyasviel/Fooocus, modules/util.py.
        """
        work = 0
        for _ in range(MAX_PASSES):
            names = _PLACEHOLDER.findall(text)
            if not names:
                break
            lines = [self._choose(name, rng, image=image, in_order=in_order) for name in names]
            if _can_be_joined(names, lines):
                text = _replace_at_once(text, names, lines)
                continue
            for name, line in zip(names, lines, strict=True):
                text = _replace_one(text, name, line)
                work += len(text)
                if len(text) > MAX_CHARACTERS or work > MAX_WORK:
                    raise _too_much(name)
        return text

    def _choose(self, name: str, rng: Random, *, image: int, in_order: bool) -> str | None:
        """A line of a file; ``None`` if there is none."""
        lines = self._read(name)
        if not lines:
            return None
        return lines[image % len(lines)] if in_order else rng.choice(lines)

    def _read(self, name: str) -> list[str]:
        """The lines of a file that are not empty; none if it cannot be used."""
        if name not in self._lines:
            self._lines[name] = self._read_file(name)
        return self._lines[name]

    def _read_file(self, name: str) -> list[str]:
        for path in self._paths.get(name, ()):
            try:
                text = read_text(path)
            except InvalidInputError as error:
                self.warnings.append(f"Wildcard left out: {error}")
                continue
            return [line for line in text.splitlines() if line]
        return []


def _can_be_joined(names: Sequence[str], lines: Sequence[str | None]) -> bool:
    """Whether no placeholder of a pass can be found anywhere but at its own place.

    A word character run holds one match, so a placeholder inside another one needs ``__`` in its
    name, or ``_`` at an end of it; and one inside or across a chosen line needs the same of that.
    """
    return not any("__" in f"_{text}_" for text in {*names, *lines} if text)


def _replace_at_once(text: str, names: Sequence[str], lines: Sequence[str | None]) -> str:
    """Do :func:`_replace_one` for all placeholders, in time linear in the text."""
    pieces, position, length = [], 0, len(text)
    for match, name, line in zip(_PLACEHOLDER.finditer(text), names, lines, strict=True):
        new = name if line is None else line
        length += len(new) - len(match[0])
        if line is not None and length > MAX_CHARACTERS:
            raise _too_much(name)
        pieces += [text[position : match.start()], new]
        position = match.end()
    return "".join([*pieces, text[position:]])


def _replace_one(text: str, name: str, line: str | None) -> str:
    placeholder = f"__{name}__"
    return text.replace(placeholder, name) if line is None else text.replace(placeholder, line, 1)


def _too_much(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"The wildcard {name!r} lets the prompt grow beyond {MAX_CHARACTERS:,} characters, or it "
        "lies among too many inside each other; a line may name no file that leads back to its own."
    )
