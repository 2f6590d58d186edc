"""Hashing every model anew before serving, for ``--rebuild-hash-cache``."""

from __future__ import annotations

import logging
import time

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.config import CoreConfig
from fooocus_core.hashes import HASH_CACHE_FILE, HashCache

_log = logging.getLogger(__name__)

# What records name by a hash.
_KINDS = (ModelKind.CHECKPOINT, ModelKind.LORA)


def rebuild_hashes(core: CoreConfig, threads: int) -> None:
    """Hash all base models, refiners and LoRAs, whatever is remembered of them.

    Args:
        threads: How many files are read at a time; 0 or less = as many as seems good.
    """
    catalog, began = Catalog(core.folders), time.monotonic()
    paths = [catalog.find(kind, name) for kind in _KINDS for name in catalog.names(kind)]
    _log.info("hashing %d model files", len(paths))
    cache = HashCache(core.folders.cache / HASH_CACHE_FILE)
    count = cache.rebuild(paths, threads=threads if threads > 0 else None)
    _log.info("hashed %d model files in %.1f s", count, time.monotonic() - began)
