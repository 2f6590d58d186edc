"""Removes what is not needed any more: inputs of ended jobs, and jobs beyond the limits.

On a thread of its own, so that neither the worker nor a caller waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fooocusapi.exceptions import (
    HistoryEntryNotFoundError,
    JobNotFinishedError,
    ServiceError,
)
from fooocusapi.jobs.job import JobView
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.store import JobStore

_log = logging.getLogger(__name__)

KEY_LIFE_MS = 24 * 3600 * 1000
"""So long the store knows under which idempotency key a job was sent."""

_DAY_MS = 24 * 3600 * 1000
_LOOK_EVERY_S = 600.0
_AT_A_TIME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many ended jobs are kept, how long, and with how many bytes; 0 = no limit."""

    count: int = 0
    days: int = 0
    size_bytes: int = 0


class Retention:
    """Removes ended jobs, the oldest first, with everything they made.

    Args:
        queue: Tells the time, and which jobs have not ended.
        store: Where the jobs lie.
        limits: What is kept.
        remove_inputs: Removes the pictures that came with the job of that id.
        remove_images: Removes the pictures that a job made.
    """

    def __init__(
        self,
        queue: JobQueue,
        store: JobStore,
        limits: Limits,
        remove_inputs: Callable[[str], None],
        remove_images: Callable[[JobView], None],
    ) -> None:
        self._queue = queue
        self._store = store
        self._limits = limits
        self._remove_inputs = remove_inputs
        self._remove_images = remove_images
        self._changed = threading.Condition()
        self._ended: list[str] = []
        self._kept: set[str] = set()
        self._has_work = True
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread when it has done what there was to do."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()

    def look(self, ended: str | None = None) -> None:
        """Have the limits looked at.

        Args:
            ended: Id of a job that has ended, so that its inputs can go.
        """
        with self._changed:
            if ended is not None:
                self._ended.append(ended)
            self._has_work = True
            self._changed.notify_all()

    def keep(self, job_id: str) -> None:
        """Spare a job, whatever the limits, until it is released."""
        with self._changed:
            self._kept.add(job_id)

    def release(self, job_id: str) -> None:
        """Let a job go: nobody waits for what it made any more."""
        with self._changed:
            self._kept.discard(job_id)
        self.look()

    def delete(self, job_id: str) -> None:
        """Remove what an ended job made, and then the job, so that no file is forgotten.

        Raises:
            HistoryEntryNotFoundError: No job of that id is known.
            JobNotFinishedError: It has not ended.
            StorageError: What it made cannot be removed; the job stays.
        """
        record = self._store.find(job_id)
        if record is None:
            raise HistoryEntryNotFoundError("no job of that id is in the history")
        if not record.view.is_finished or self._queue.unfinished_job(job_id):
            raise JobNotFinishedError("the job has not finished")
        self._remove(record.view)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_work or self._is_stopping, _LOOK_EVERY_S)
                ended, self._ended = self._ended, []
                self._has_work = False
                is_last = self._is_stopping
            for job_id in ended:
                self._remove_inputs(job_id)
            self._enforce()
            if is_last:
                return

    def _enforce(self) -> None:
        try:
            self._store.drop_keys(self._queue.now_ms() - KEY_LIFE_MS)
            while superfluous := list(self._superfluous()):
                for view in superfluous:
                    self._remove(view)
        except ServiceError as error:
            _log.warning("jobs beyond the limits could not be removed: %s", error)

    def _superfluous(self) -> Iterator[JobView]:
        """Ended jobs beyond the limits, the oldest first, so many at a time."""
        limits = self._limits
        if limits == Limits():
            return
        count = self._store.count_finished()
        size_bytes = self._store.finished_bytes() if limits.size_bytes else 0
        oldest_ms = self._queue.now_ms() - limits.days * _DAY_MS
        for record in self._store.oldest_finished(_AT_A_TIME):
            view = record.view
            is_over = (
                (limits.count and count > limits.count)
                or (limits.days and view.finished_ms < oldest_ms)
                or (limits.size_bytes and size_bytes > limits.size_bytes)
            )
            with self._changed:
                is_kept = view.id in self._kept
            if is_over and not is_kept:
                count -= 1
                size_bytes -= sum(image.size_bytes for image in view.images)
                yield view

    def _remove(self, view: JobView) -> None:
        self._remove_images(view)
        self._store.remove(view.id)
        self._queue.forget(view.id)
