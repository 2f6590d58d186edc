"""What ``python main.py download`` does: lists files, or fetches those that are missing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fooocus_core.catalog import Catalog
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import ModelFile
from fooocus_core.errors import DownloadError
from fooocus_core.fetching import Offer, check_room, fetch, find_offer
from fooocus_core.transfer_progress import OnBytes, logged, shown_size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """A file of the list; ``offer`` is ``None`` where nobody names an address."""

    file: ModelFile
    is_there: bool
    offer: Offer | None

    @property
    def size(self) -> int | None:
        """In bytes, as far as it is known before asking a server."""
        return self.offer.rough_size if self.offer else None


def look_for(files: Sequence[ModelFile], core: CoreConfig, catalog: Catalog) -> list[WantedFile]:
    """Which of the files are there, and where the others can be had."""
    return [
        WantedFile(
            file=file,
            is_there=catalog.match(file.kind, file.name) is not None,
            offer=find_offer(file, core),
        )
        for file in files
    ]


def list_lines(wanted: Sequence[WantedFile]) -> Iterator[str]:
    """One line per file, and one about all of them."""
    for entry in wanted:
        state = "there" if entry.is_there else "missing"
        licence = (entry.offer.licence if entry.offer else None) or "not stated"
        address = entry.offer.source if entry.offer else "no address is known"
        yield (
            f"{state:8}{shown_size(entry.size):>13}  {entry.file.kind}/{entry.file.name}  "
            f"(licence: {licence}; {address})"
        )
    yield _summary(wanted)


def fetch_missing(wanted: Sequence[WantedFile], core: CoreConfig) -> bool:
    """Fetch what is missing, one file after the other; a failure does not keep from the next.

    Returns:
        Whether everything is there now.
    """
    missing = [entry for entry in wanted if not entry.is_there]
    offers = [entry.offer for entry in missing if entry.offer is not None]
    _log.info("%s", _summary(wanted))
    try:
        check_room(offers)
    except DownloadError as error:
        _log.error("%s", error)
        return False
    for entry in missing:
        if entry.offer is None:
            _log.error("%s/%s: no address is known", entry.file.kind, entry.file.name)
    fetched = [_fetch_one(offer, core) for offer in offers]
    return len(offers) == len(missing) and all(fetched)


def _fetch_one(offer: Offer, core: CoreConfig) -> bool:
    try:
        with _shown_progress(offer.file.name) as on_bytes:
            fetch(offer, core, on_bytes=on_bytes, check=lambda: None)
    except DownloadError as error:
        _log.error("%s", error)
        return False
    return True


@contextmanager
def _shown_progress(name: str) -> Iterator[OnBytes]:
    """A bar on a terminal, log lines elsewhere."""
    if not sys.stderr.isatty():
        yield logged(name)
        return
    # Not at the top: it is needed on terminals only, and by this command only.
    from tqdm import tqdm

    with ExitStack() as stack:
        bar: tqdm | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal bar
            # Begun with the first bytes, so that it stays below what is logged before them.
            if bar is None:
                bar = stack.enter_context(tqdm(desc=name, unit="B", unit_scale=True))
            bar.total = total
            bar.update(done - bar.n)
            if done == total:
                bar.close()

        yield show


def _summary(wanted: Sequence[WantedFile]) -> str:
    missing = [entry for entry in wanted if not entry.is_there]
    known = sum(entry.size or 0 for entry in missing)
    unknown = sum(entry.size is None for entry in missing)
    rest = f" and {unknown} of unknown size" if unknown else ""
    return f"{len(wanted)} files, {len(missing)} missing: {shown_size(known)}{rest}"
