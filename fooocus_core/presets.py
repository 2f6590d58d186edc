"""Preset files: which exist, and what one says.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fooocus_core.errors import InvalidInputError
from fooocus_core.files import DATA_FOLDER, JsonFile, read_json

PRESETS_FOLDER = DATA_FOLDER / "presets"
DEFAULT_PRESET = "default"
TINY_PRESET = "tiny"


def find_presets(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The preset files by name, i.e. without ``.json``.

    Args:
        folders: Searched in order, without their sub-folders.

    Returns:
        Sorted names; of each, its files in the order of the folders.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in folder.glob("*.json"):
            found.setdefault(path.stem, []).append(path)
    return dict(sorted(found.items()))


def read_preset(path: Path) -> JsonFile:
    """Read a preset or configuration file; its value is a mapping of keys to values.

    Raises:
        InvalidInputError: It is unreadable or no JSON object; names the file, and the line where
            there is one.
    """
    file = read_json(path)
    if not isinstance(file.value, dict):
        raise InvalidInputError(f"{path}, line 1: this is not a JSON object.")
    return file
