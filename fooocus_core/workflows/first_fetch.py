"""Fetches what a preset needs before the first request asks for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from fooocus_core.catalog import Catalog
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import ModelFile
from fooocus_core.errors import DownloadError
from fooocus_core.fetching import Check, Offer, fetch, usable_offer
from fooocus_core.transfer_progress import logged

_log = logging.getLogger(__name__)


def fetch_missing(
    files: Iterable[ModelFile], config: CoreConfig, catalog: Catalog, *, check: Check
) -> None:
    """Fetch those files that are missing and may be fetched, the small ones first.

    A file that cannot be had is logged and left to the request that needs it.

    Args:
        check: Called at least every few seconds; what it raises ends the fetching, and the next one
            goes on from there.
    """
    missing = [file for file in files if catalog.match(file.kind, file.name) is None]
    offers = [offer for file in missing if (offer := usable_offer(file, config)) is not None]
    for offer in sorted(offers, key=_expected_size):
        try:
            fetch(offer, config, on_bytes=logged(offer.file.name), check=check)
        except DownloadError as error:
            _log.error("%s", error)


def _expected_size(offer: Offer) -> float:
    return math.inf if offer.rough_size is None else offer.rough_size
