"""Jobs -> the answer of job-history, out of memory or, with ``--persistent``, out of the store."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from fooocusapi.jobs.job import JobView
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.store import JobRecord, JobStore
from fooocusapi.schemas.responses import (
    HistoryEntry,
    JobHistory,
    StoredHistoryEntry,
    TaskRecord,
)
from fooocusapi.storage import Storage

_PAGE_SIZE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Makes the answers; blocks while the store is read.

    Attributes:
        is_persistent: What ended in earlier runs of the server is part of it.
        owner: Only jobs of this API key are part of it; ``None`` = all.
    """

    queue: JobQueue
    store: JobStore
    storage: Storage
    is_persistent: bool
    owner: str | None = None

    def page(self, *, job_id: str | None, page: int | None, page_size: int | None) -> JobHistory:
        """Unfinished jobs in order, and finished ones.

        In memory all of them, the oldest first, unless a page or its size is given; pages, and
        everything out of the store, have the newest first.
        """
        view = self.queue.view()
        shown = [job for job in view.unfinished if self._is_shown(job, job_id)]
        finished: list[HistoryEntry]
        if self.is_persistent:
            size = page_size or _PAGE_SIZE
            records = self.store.finished(
                limit=size, offset=(page or 0) * size, job_id=job_id, owner=self.owner
            )
            finished = [self._stored_entry(record) for record in records]
        else:
            finished = [_entry(job) for job in view.finished if self._is_shown(job, job_id)]
            if page is not None or page_size is not None:
                size = page_size or _PAGE_SIZE
                start = (page or 0) * size
                finished = finished[::-1][start : start + size]
        return JobHistory(queue=[_entry(job) for job in shown], history=finished)

    def _is_shown(self, job: JobView, job_id: str | None) -> bool:
        return job_id in (None, job.id) and self.owner in (None, job.delivery.owner)

    def _stored_entry(self, record: JobRecord) -> StoredHistoryEntry:
        view = record.view
        assert view.reason is not None, "only jobs that have ended are in the history"
        urls = [self.storage.url(image.date, image.name) for image in view.images]
        ended = time.localtime(view.finished_ms / 1000)
        return StoredHistoryEntry(
            **_entry(view).model_dump(),
            params=json.loads(record.stored.request),
            task_info=TaskRecord(
                task_id=view.id,
                task_type=view.kind,
                task_in_queue_mills=view.queued_ms,
                task_start_mills=view.started_ms,
                task_finish_mills=view.finished_ms,
                result_url=",".join(urls),
                finish_reason=view.reason,
                date_time=time.strftime("%Y-%m-%d %H:%M:%S", ended),
            ),
        )


def _entry(view: JobView) -> HistoryEntry:
    return HistoryEntry(
        job_id=view.id,
        is_finished=view.is_finished,
        in_queue_mills=view.queued_ms,
        start_mills=view.started_ms,
        finish_mills=view.finished_ms,
    )
