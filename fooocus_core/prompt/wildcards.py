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
                sub-folders before their parent.
        """
        self._paths: dict[str, Path] = {}
        for folder in folders:
            for name in list_files(folder, [".txt"]):
                self._paths.setdefault(PurePosixPath(name).stem, folder / name)
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
        for _ in range(MAX_PASSES):
            names = _PLACEHOLDER.findall(text)
            if not names:
                break
            for name in names:
                lines = self._read(name)
                if not lines:
                    text = text.replace(f"__{name}__", name)
                    continue
                line = lines[image % len(lines)] if in_order else rng.choice(lines)
                text = text.replace(f"__{name}__", line, 1)
                if len(text) > MAX_CHARACTERS:
                    raise InvalidInputError(
                        f"The wildcard {name!r} lets the prompt grow beyond {MAX_CHARACTERS:,} "
                        "characters; a line may name no file that leads back to its own."
                    )
        return text

    def _read(self, name: str) -> list[str]:
        """The lines of a file that are not empty; none if it cannot be used."""
        if name not in self._lines:
            self._lines[name] = self._read_file(name)
        return self._lines[name]

    def _read_file(self, name: str) -> list[str]:
        if name not in self._paths:
            return []
        try:
            text = read_text(self._paths[name])
        except InvalidInputError as error:
            self.warnings.append(f"Wildcard left out: {error}")
            return []
        return [line for line in text.splitlines() if line]
