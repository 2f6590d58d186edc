"""What an earlier run of the server has left: jobs to go on with, and files to remove.

Runs once, before the worker starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from fooocusapi.exceptions import StorageError
from fooocusapi.input_files import InputFiles
from fooocusapi.jobs.job import Failure, Job, JobView
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.store import JobRecord, JobStore
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason, JobStage
from fooocusapi.storage import Storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Brings the jobs of the store back.

    Attributes:
        remove_images: Removes the pictures of a job.
        max_attempts: A job whose runs have ended the process so often is not begun again.
    """

    store: JobStore
    queue: JobQueue
    storage: Storage
    input_files: InputFiles
    remove_images: Callable[[JobView], None]
    max_attempts: int

    def run(self) -> None:
        """Let unfinished jobs wait again, in their order and with their ids.

        Raises:
            StoreError: The job store cannot be used.
        """
        self.storage.remove_unfinished()
        records = self.store.unfinished()
        for record in records:
            self._restore(record)
        self.input_files.keep_only({record.view.id for record in records})
        if records:
            _log.info("%d jobs of an earlier run of the server were found", len(records))

    def _restore(self, record: JobRecord) -> None:
        view = record.view
        was_running = view.stage is JobStage.RUNNING
        made = tuple(image for image in view.images if self.storage.has(image.date, image.name))
        job = Job(replace(view, images=made), record.stored)
        if view.is_cancelled:
            job.cancel()
            self.queue.end(job, FinishReason.USER_CANCEL)
            return
        if was_running and view.attempt >= self.max_attempts:
            self.queue.end(job, FinishReason.ERROR, _failure(view.attempt))
            _log.error("job %s: the server ended while it ran, attempt %d", view.id, view.attempt)
            return
        # Made again with the same seeds, so nothing is lost.
        try:
            self.remove_images(view)
        except StorageError as error:
            _log.warning("job %s: %s", view.id, error)
        waiting = replace(view, stage=JobStage.WAITING, images=(), started_ms=0)
        self.store.save(waiting)
        if was_running:
            _log.warning("job %s: cut short, and waits for attempt %d", view.id, view.attempt + 1)
        self.queue.restore(Job(waiting, record.stored))


def _failure(attempts: int) -> Failure:
    if attempts == 1:
        text = "the server ended while the job ran"
        return Failure(code=ErrorCode.INTERRUPTED, text=text)
    text = f"the server ended {attempts} times while the job ran, so it is not tried again"
    return Failure(code=ErrorCode.POISONED, text=text)
