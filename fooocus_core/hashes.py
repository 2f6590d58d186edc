"""Content hashes of model files, remembered as long as a file stays what it was.

Knows nothing of what the files are.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from fooocus_core.errors import ModelNotFoundError
from fooocus_core.files import FileState, file_state

SHOWN_DIGITS = 10
HASH_CACHE_FILE = "hash_cache.txt"

_log = logging.getLogger(__name__)


class HashCache:
    """Hashes files, each once until its size or time of change differs.

    The cache file holds one JSON object per line and is only ever appended to; a later line wins.
    Lines that are not understood are passed over. May be used from several threads.
    """

    def __init__(self, cache_file: Path) -> None:
        """Use a cache file, which is read at the first question and may be missing."""
        self._cache_file = cache_file
        self._known: dict[FileState, str] | None = None
        self._lock = Lock()

    def short_hash(self, path: Path) -> str:
        """The first 10 hexadecimal digits of the SHA-256 of a file's content.

        Raises:
            ModelNotFoundError: The file cannot be read.
        """
        with self._lock:
            if self._known is None:
                self._known = self._read()
            try:
                state = file_state(path)
                if state not in self._known:
                    self._known[state] = _hash_content(path)
                    self._append(state, self._known[state])
            except OSError as error:
                raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
            return self._known[state][:SHOWN_DIGITS]

    def rebuild(self, paths: Iterable[Path], *, threads: int | None = None) -> int:
        """Hash files whatever is known of them, and forget all others.

        Args:
            threads: How many files are read at a time; ``None`` = as many as seems good.

        Returns:
            How many there are; one that cannot be read leaves a warning in the log.
        """
        with ThreadPoolExecutor(threads) as pool:
            found = [entry for entry in pool.map(_hash_or_warn, paths) if entry is not None]
        with self._lock:
            self._known = {}
            try:
                self._cache_file.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("%s cannot be removed: %s", self._cache_file, error.strerror)
            for state, sha256 in found:
                self._known[state] = sha256
                self._append(state, sha256)
        return len(found)

    def _read(self) -> dict[FileState, str]:
        try:
            lines = self._cache_file.read_bytes().splitlines()
        except OSError:
            return {}
        known = {}
        for line in lines:
            try:
                entry = json.loads(line)
                state = FileState(
                    path=entry["path"], size=entry["size"], mtime_ns=entry["mtime_ns"]
                )
                known[state] = str(entry["sha256"])
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return known

    def _append(self, state: FileState, sha256: str) -> None:
        entry = {
            "path": state.path,
            "size": state.size,
            "mtime_ns": state.mtime_ns,
            "sha256": sha256,
        }
        try:
            with self._cache_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._cache_file, error.strerror)


def _hash_or_warn(path: Path) -> tuple[FileState, str] | None:
    try:
        return file_state(path), _hash_content(path)
    except OSError as error:
        _log.warning("%s cannot be read: %s", path, error.strerror)
        return None


def _hash_content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
