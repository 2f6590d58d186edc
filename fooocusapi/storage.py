"""Pictures on disk: ``files/<date>/<name>.<ext>`` in the output folder.

Writes, addresses, converts and removes them. Knows no jobs.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from PIL import Image as PillowImage

from fooocus_core.events import GeneratedImage
from fooocus_core.metadata.embed import ImageFormat, encode_image
from fooocusapi.exceptions import StorageError, StoredFileNotFoundError
from fooocusapi.schemas.vocabulary import SaveExtension

_FORMATS: Mapping[SaveExtension, ImageFormat] = {
    SaveExtension.PNG: "png",
    SaveExtension.JPG: "jpeg",
    SaveExtension.JPEG: "jpeg",
    SaveExtension.WEBP: "webp",
}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_PART = ".part"
_MAX_STEM_CHARACTERS, _MAX_STEM_BYTES = 120, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that is served."""

    path: Path
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a saved picture lies: folder (a date) and file name, and its size in bytes."""

    folder: str
    name: str
    size_bytes: int


def clean_name(name: str) -> str:
    """A file name stem made of what the caller asked for; empty if nothing of it can be used.

    Keeps letters and digits of any script, blanks, ``-``, ``_`` and ``.``; everything else,
    separators included, becomes ``_``.
    """
    kept = "".join(char if char.isalnum() or char in " -_." else "_" for char in name)
    kept = kept.strip().lstrip(". ")[:_MAX_STEM_CHARACTERS]
    return kept.encode()[:_MAX_STEM_BYTES].decode(errors="ignore").strip()


def media_type_of(name: str) -> str | None:
    """Content type by file ending; ``None`` for endings that are not served."""
    try:
        return f"image/{_FORMATS[SaveExtension(name.rpartition('.')[2].lower())]}"
    except ValueError:
        return None


class Storage:
    """The folder of finished pictures and their addresses.

    Args:
        outputs: The output folder.
        base_url: Prefix of addresses, without a trailing slash.
        today: The local date, by which folders are named.

    Attributes:
        root: Holds one folder of pictures per day.
    """

    def __init__(self, outputs: Path, base_url: str, today: Callable[[], date]) -> None:
        self.root = outputs / "files"
        self._base_url = base_url
        self._today = today
        self._lock = threading.Lock()

    def save(
        self,
        image: GeneratedImage,
        *,
        stem: str,
        index: int,
        extension: SaveExtension,
        warn: Callable[[str], None],
        announce: Callable[[Place], None] = lambda _: None,
    ) -> Place:
        """Write a picture under a name that no other file has.

        Args:
            stem: A name as :func:`clean_name` returns it.
            index: 0-based number of the picture in its job.
            warn: Told, in a sentence, if the record does not fit into the file.
            announce: Told the place before the picture gets its name there, so that whoever
                accounts for files knows of it even if the process ends right then.

        Raises:
            StorageError: It could not be written; no part of it is left.
        """
        folder = self.root / self._today().isoformat()
        encoded = encode_image(image.image, _FORMATS[extension], image.record)
        if encoded.record_left_out:
            warn("The metadata were left out of the picture: a JPEG holds 64 KiB of them at most.")
        temporary = folder / f".{uuid4().hex}{_PART}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(temporary, encoded.content)
            with self._lock:
                path = _free_path(folder, stem, f"-{index}.{extension}")
                size_bytes = len(encoded.content)
                place = Place(folder=folder.name, name=path.name, size_bytes=size_bytes)
                announce(place)
                temporary.rename(path)
        except OSError as error:
            raise StorageError(f"the picture could not be saved: {error.strerror}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return place

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed had begun to write."""
        for part in self.root.glob(f"*/.*{_PART}"):
            with suppress(OSError):
                part.unlink()

    def url(self, folder: str, name: str) -> str:
        """Absolute address of a stored picture."""
        return f"{self._base_url}/files/{folder}/{quote(name)}"

    def find(self, folder: str, name: str) -> StoredFile:
        """A file that may be served.

        Raises:
            StoredFileNotFoundError: There is none of that name, or it is not a picture of ours.
        """
        media_type = media_type_of(name)
        is_plain = not (set(name) & set("/\\\0")) and not name.startswith(".")
        if media_type is None or not is_plain or not _DATE.fullmatch(folder):
            raise StoredFileNotFoundError("no such file")
        try:
            path = (self.root / folder / name).resolve()
            if path.is_relative_to(self.root.resolve()) and path.is_file():
                return StoredFile(path=path, media_type=media_type)
        except OSError as error:
            raise StoredFileNotFoundError("no such file") from error
        raise StoredFileNotFoundError("no such file")

    def has(self, folder: str, name: str) -> bool:
        """Whether a picture that was saved is still there."""
        return (self.root / folder / name).is_file()

    def read(self, folder: str, name: str) -> bytes:
        """The bytes of a stored picture, as saved.

        Raises:
            StoredFileNotFoundError: It was removed.
        """
        return self.find(folder, name).path.read_bytes()

    def delete(self, folder: str, name: str) -> None:
        """Remove a picture that :meth:`save` stored; one that is gone already is no error.

        Raises:
            StorageError: It cannot be removed.
        """
        try:
            (self.root / folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"the picture could not be removed: {error.strerror}") from error


def convert(path: Path, media_type: str) -> bytes:
    """A stored picture in another format; transparency is flattened on white for JPEG."""
    target = media_type.partition("/")[2].upper()
    with PillowImage.open(path) as picture:
        if target == "JPEG" and picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            flat = PillowImage.new("RGBA", rgba.size, "white")
            converted = PillowImage.alpha_composite(flat, rgba).convert("RGB")
        else:
            converted = picture.convert("RGB") if target == "JPEG" else picture.copy()
    buffer = io.BytesIO()
    converted.save(buffer, target, **({} if target == "PNG" else {"quality": 95}))
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        # A name that points to bytes still on their way would be half a picture after a power cut.
        os.fsync(file.fileno())


def _free_path(folder: Path, stem: str, ending: str) -> Path:
    path, number = folder / f"{stem}{ending}", 0
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    return path
