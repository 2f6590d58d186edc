"""Preset files: which exist, and what one says.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fooocus_core.errors import InvalidInputError
from fooocus_core.files import DATA_FOLDER, read_json

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


def read_preset(path: Path) -> dict[str, Any]:
    """The keys and values of a preset or configuration file.

    Raises:
        InvalidInputError: It is unreadable or no JSON object; names the file.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path} is not a JSON object.")
    return values
