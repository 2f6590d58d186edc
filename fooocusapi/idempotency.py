"""The same key means the same job: finds the job of a key, and keeps two requests apart.

Knows no headers and makes no jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fooocusapi.exceptions import KeyInProgressError, KeyReusedError
from fooocusapi.jobs.store import JobStore, KeyUse


class IdempotencyKeys:
    """Keys in use.

    Args:
        store: Knows the keys of accepted jobs.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._in_progress: set[tuple[str, str]] = set()

    @contextmanager
    def claimed(self, use: KeyUse | None) -> Iterator[None]:
        """Hold a key while its request is being accepted; no key, nothing to hold.

        Raises:
            KeyInProgressError: Another request with it is being accepted.
        """
        if use is None:
            yield
            return
        place = (use.scope, use.key)
        with self._lock:
            if place in self._in_progress:
                raise KeyInProgressError("a request with this Idempotency-Key is being accepted")
            self._in_progress.add(place)
        try:
            yield
        finally:
            with self._lock:
                self._in_progress.discard(place)

    def find(self, use: KeyUse | None) -> str | None:
        """Id of the job that was accepted under a key; ``None``: none was.

        Raises:
            KeyReusedError: It was another request.
            StoreError: The job store cannot be used.
        """
        known = None if use is None else self._store.find_key(use.scope, use.key)
        if known is None:
            return None
        assert use is not None
        fingerprint, job_id = known
        if fingerprint != use.fingerprint:
            raise KeyReusedError("this Idempotency-Key was used with another request")
        return job_id
