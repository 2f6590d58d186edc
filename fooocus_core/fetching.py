"""Fetches published files: resumes, checks size and hash, and puts each in its place in one step.

Knows where files belong, not what they are needed for. Nothing here runs unless it is called.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Protocol

import httpx
from filelock import FileLock, Timeout

from fooocus_core.catalog import ModelKind
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import ModelFile, find_address, published_files
from fooocus_core.errors import DownloadError
from fooocus_core.files import nearest_folder
from fooocus_core.performance import MODES
from fooocus_core.remote_files import (
    HUB,
    RemoteFile,
    TransientError,
    check_status,
    look_up,
    make_client,
    reaching,
    shown_address,
)
from fooocus_core.transfer_progress import OnBytes, shown_size

# What presets and configuration choose, and what is of that kind but belongs to a performance mode.
_OF_PRESETS = frozenset({ModelKind.CHECKPOINT, ModelKind.LORA, ModelKind.EMBEDDING, ModelKind.VAE})
_OF_MODES = frozenset(
    ModelFile(kind=ModelKind.LORA, name=mode.lora.name) for mode in MODES.values() if mode.lora
)
_BLOCK = 1024 * 1024
_POLL_S = 0.05

_log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Called at least every few seconds; what it raises ends the fetching, which can be resumed."""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Where a file can be had, and what has to be true of it.

    Attributes:
        size: In bytes, if a file of another size is certainly another file.
        rough_size: For showing; ``None`` = unknown.
        licence: ``None`` = not stated where the file is offered.
    """

    file: ModelFile
    address: str
    target: Path
    size: int | None
    rough_size: int | None
    md5: str | None
    licence: str | None

    @property
    def source(self) -> str:
        """The address as it may be shown."""
        return shown_address(self.address)


def find_offer(file: ModelFile, config: CoreConfig) -> Offer | None:
    """Where a file can be had; ``None`` = nobody names an address for a file of that name.

    Whether anything may be fetched at all makes no difference.
    """
    address = find_address(file, config.downloads)
    if address is None or not _stays_inside(file.name):
        return None
    published = published_files().get(file)
    # Of the same name at another address may be another file.
    known = published if published and published.address == address else None
    return Offer(
        file=file,
        address=address,
        target=getattr(config.folders, file.kind.value)[0] / file.name,
        size=known.size if known and known.size_is_exact else None,
        rough_size=known.size if known else None,
        md5=known.md5 if known else None,
        licence=known.licence if known else None,
    )


def usable_offer(file: ModelFile, config: CoreConfig) -> Offer | None:
    """Where a missing file may be fetched from when it is needed; asks nobody."""
    rules = config.fetching
    is_skipped = rules.skips_presets and file.kind in _OF_PRESETS and file not in _OF_MODES
    return None if is_skipped or not rules.is_allowed else find_offer(file, config)


def tell_nobody(done: int, total: int | None) -> None:
    """Take no notice of how far a file is."""


def fetch(
    offer: Offer,
    config: CoreConfig,
    *,
    on_bytes: OnBytes = tell_nobody,
    check: Check = lambda: None,
) -> Path:
    """Fetch a file into the first folder of its kind, unless it is there meanwhile.

    What was fetched before a failure stays beside the file's place under another name, and the next
    call goes on from there; under its final name the file is complete or absent. Two processes do
    not fetch the same file at the same time.

    Args:
        offer: Of :func:`find_offer`.
        config: Rules, and the folder of temporary files.
        on_bytes: Told of every block.
        check: May stop the fetching by an exception.

    Returns:
        The path of the file.

    Raises:
        DownloadError: It may not be fetched, cannot be had, is not what was published, or there is
            no room for it; names file, folder, address and cause.
    """
    target = offer.target
    try:
        if not config.fetching.is_allowed:
            raise DownloadError("fetching is switched off")
        with _lock(target, config.folders.temp, check):
            if not target.is_file():
                _fetch_missing(offer, config, on_bytes, check)
    except (DownloadError, OSError) as error:
        text = f"{offer.file.name} could not be fetched into {target.parent}: {error}."
        raise DownloadError(text) from error
    return target


def _fetch_missing(offer: Offer, config: CoreConfig, on_bytes: OnBytes, check: Check) -> None:
    licence = offer.licence or "not stated where it is offered"
    source = offer.source.replace(HUB, config.fetching.mirror or HUB, 1)
    _log.info("fetching %s from %s; its licence: %s", offer.file.name, source, licence)
    offer.target.parent.mkdir(parents=True, exist_ok=True)
    with make_client(config.fetching.silence_s) as client:
        _Fetching(offer, config, client, on_bytes, check).run()
    _log.info("fetched %s", offer.target)


def check_room(offers: list[Offer]) -> None:
    """Make sure that files of known size have room together, as far as that can be told.

    Raises:
        DownloadError: They have not; names the folder, what is needed and what is free.
    """
    needed: dict[int, int] = {}
    for offer in offers:
        folder = nearest_folder(offer.target.parent)
        device = folder.stat().st_dev
        present = max((part.stat().st_size for part in _parts_of(offer.target)), default=0)
        needed[device] = needed.get(device, 0) + max((offer.rough_size or 0) - present, 0)
        _check_free(folder, needed[device])


class _Fetching:
    """One file on its way."""

    def __init__(
        self,
        offer: Offer,
        config: CoreConfig,
        client: httpx.Client,
        on_bytes: OnBytes,
        check: Check,
    ) -> None:
        self._offer = offer
        self._rules = config.fetching
        self._client = client
        self._on_bytes = on_bytes
        self._check = check
        self._furthest = 0

    def run(self) -> None:
        """Try until the file is in its place or further attempts make no sense."""
        pauses = list(self._rules.pauses_s)
        while True:
            before = self._furthest
            try:
                return self._attempt()
            except TransientError as error:
                if self._furthest > before:
                    pauses = list(self._rules.pauses_s)
                if not pauses:
                    raise DownloadError(str(error)) from error
                _log.warning("%s; trying again in %g s", error, pauses[0])
                self._wait(pauses.pop(0))

    def _attempt(self) -> None:
        remote = look_up(self._client, self._offer.address, self._rules.mirror)
        expected = self._offer.size
        if expected is not None and remote.size not in (None, expected):
            raise DownloadError(
                f"{shown_address(remote.address)} has {remote.size} bytes, and the file that was "
                f"published {expected}"
            )
        size = remote.size if expected is None else expected
        part = _part_of(self._offer.target, remote)
        with part.open("ab") as file:
            if not (remote.version or self._offer.md5):
                # Nothing would tell whether the rest belongs to the same content.
                _empty(file)
            present = file.tell()
            _check_free(part.parent, (size or 0) - present)
            sums = _Sums(self._offer.md5, remote.sha256)
            if present:
                sums.read(part, self._check)
            if present != size:
                self._receive(remote, file, sums, size)
            file.flush()
            os.fsync(file.fileno())
            received = file.tell()
        self._accept(part, sums, received, size, was_resumed=present > 0)

    def _receive(self, remote: RemoteFile, file: BinaryIO, sums: _Sums, size: int | None) -> None:
        """Append what is missing of the content, or all of it if the server begins anew."""
        headers = dict(remote.headers)
        if file.tell():
            headers["Range"] = f"bytes={file.tell()}-"
        address = remote.address
        with reaching(address), self._client.stream("GET", address, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                _empty(file)
                raise TransientError(f"{shown_address(address)} has less than was fetched before")
            check_status(response.status_code, address)
            _check_kind(response)
            if file.tell() and not _continues(response, file.tell()):
                _empty(file)
                sums.restart()
            for block in response.iter_raw():
                self._check()
                file.write(block)
                sums.update(block)
                self._furthest = max(self._furthest, file.tell())
                self._on_bytes(file.tell(), size)

    def _accept(
        self, part: Path, sums: _Sums, received: int, size: int | None, *, was_resumed: bool
    ) -> None:
        """Give the file its name, if it is what it should be."""
        if size is not None and received < size:
            raise TransientError(f"the connection ended after {received} of {size} bytes")
        if size is not None and received > size:
            part.unlink()
            raise DownloadError(f"{received} bytes came instead of {size}")
        difference = sums.difference()
        if difference is not None:
            part.unlink()
            # What was there before may have been damaged, so that a fresh start can help.
            raise TransientError(difference) if was_resumed else DownloadError(difference)
        part.replace(self._offer.target)
        for other in _parts_of(self._offer.target):
            other.unlink(missing_ok=True)

    def _wait(self, pause_s: float) -> None:
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _POLL_S))


class _Sums:
    """The published hashes of a file and its own, counted while it arrives."""

    def __init__(self, md5: str | None, sha256: str | None) -> None:
        self._expected = {
            name: value for name, value in (("md5", md5), ("sha256", sha256)) if value is not None
        }
        self._own: dict[str, _Digest] = {}
        self.restart()

    def restart(self) -> None:
        """Forget what was counted."""
        self._own = {name: hashlib.new(name, usedforsecurity=False) for name in self._expected}

    def update(self, block: bytes) -> None:
        """Count a block."""
        for digest in self._own.values():
            digest.update(block)

    def read(self, path: Path, check: Check) -> None:
        """Count what is in a file."""
        if not self._expected:
            return
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                check()
                self.update(block)

    def difference(self) -> str | None:
        """What is wrong; ``None`` = all published hashes are met."""
        for name, expected in self._expected.items():
            own = self._own[name].hexdigest()
            if own != expected.lower():
                return f"its {name} is {own}, and that of the published file {expected}"
        return None


def _empty(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _continues(response: httpx.Response, present: int) -> bool:
    """Whether the answer begins behind the bytes that are present."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    wanted = f"bytes {present}-"
    told = response.headers.get("content-range", "")
    if not told.startswith(wanted):
        raise DownloadError(f"{wanted} was asked for, and the server sent {told or 'anything'}")
    return True


def _check_kind(response: httpx.Response) -> None:
    address = shown_address(str(response.url))
    if response.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError(f"{address} answered with a web page instead of the file")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise DownloadError(f"{address} answered in the encoding {encoding}, unasked")


def _part_of(target: Path, remote: RemoteFile) -> Path:
    """Where the content is gathered: another place for every content that the server ever had."""
    identity = remote.version or remote.address
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return target.with_name(f"{target.name}.{key}.part")


def _parts_of(target: Path) -> list[Path]:
    name = re.compile(re.escape(target.name) + r"\.[0-9a-f]{12}\.part")
    if not target.parent.is_dir():
        return []
    return [path for path in target.parent.iterdir() if name.fullmatch(path.name)]


def _stays_inside(name: str) -> bool:
    """Whether a name, put behind a folder, stays in it on every system."""
    windows = PureWindowsPath(name)
    if "\0" in name or windows.is_absolute() or windows.drive or windows.root:
        return False
    return ".." not in windows.parts and PurePosixPath(name).name != ""


def _check_free(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        text = f"{shown_size(needed)} are needed in {folder}, and {shown_size(free)} are free"
        raise DownloadError(f"{os.strerror(errno.ENOSPC)}: {text}")


@contextlib.contextmanager
def _lock(target: Path, temp: Path, check: Check) -> Iterator[None]:
    """Keep other processes off a file meanwhile; waits for one that has it."""
    key = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:16]
    temp.mkdir(parents=True, exist_ok=True)
    lock = FileLock(temp / f"fetching-{key}.lock")
    while True:
        check()
        try:
            lock.acquire(timeout=_POLL_S, poll_interval=_POLL_S)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        lock.release()
