"""Making sure at the start that the folders a server writes to can be written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fooocus_core.config import CoreConfig
from fooocus_core.config_layers import BUILTIN


class StartError(Exception):
    """The server cannot start; the message is one line that says why."""


def prepare_folders(core: CoreConfig) -> None:
    """Make the folders of results and caches, and that of temporary files if one was chosen.

    Uploads lie in that from here on, in the whole process.

    Raises:
        StartError: One cannot be made or written.
    """
    _prepare(core.folders.outputs, "output")
    _prepare(core.folders.cache, "cache")
    # The usual one may belong to another user of the host, and is needed for downloads alone.
    if core.sources["temp_path"] != BUILTIN:
        _prepare(core.folders.temp, "temporary")
        tempfile.tempdir = str(core.folders.temp)


def _prepare(folder: Path, kind: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StartError(f"cannot write to the {kind} folder {folder}: {error.strerror}") from error
