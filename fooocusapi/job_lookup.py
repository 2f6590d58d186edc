"""Jobs by their id, whether they wait, run, have ended lately or long ago.

What is in memory is the newest; the rest lies in the store. Everything here blocks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from fooocusapi.exceptions import JobFinishedError, JobNotFoundError
from fooocusapi.jobs.job import JobView
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.store import JobFilter, JobRecord, JobStore
from fooocusapi.schemas.vocabulary import JobStage


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLookup:
    """Finds jobs.

    Attributes:
        since_ms: When this run of the server began.
        is_persistent: The legacy routes show what ended in earlier runs, too.
        owner: Only jobs of this API key are found; ``None`` = all. Others might as well not be.
    """

    queue: JobQueue
    store: JobStore
    since_ms: int
    is_persistent: bool
    owner: str | None = None

    def record(self, job_id: str) -> JobRecord:
        """A job with what it was accepted with.

        Raises:
            JobNotFoundError: No job of that id is known.
        """
        record = self.store.find(job_id)
        if record is None or not self.sees(record.view):
            raise JobNotFoundError("no job of that id is known")
        return self._live(record)

    def find(self, job_id: str) -> JobView:
        """A job as it is now.

        Raises:
            JobNotFoundError: No job of that id is known.
        """
        try:
            view = self.queue.find(job_id)
        except JobNotFoundError:
            return self.record(job_id).view
        if not self.sees(view):
            raise JobNotFoundError("no job of that id is known")
        return view

    def sees(self, view: JobView) -> bool:
        """Whether a job is one of those that are found."""
        return self.owner in (None, view.delivery.owner)

    def find_shown(self, job_id: str) -> JobView:
        """A job that the legacy routes show.

        Raises:
            JobNotFoundError: No job of that id is known, or it ended in an earlier run.
        """
        view = self.find(job_id)
        if view.is_finished and view.finished_ms < self.since_ms and not self.is_persistent:
            raise JobNotFoundError("no job of that id is known")
        return view

    def cancel(self, job_id: str) -> JobView:
        """Cancel one job, waiting or running; one that was cancelled before stays so.

        Returns:
            The job; a running one ends within a step.

        Raises:
            JobNotFoundError: No job of that id is known.
            JobFinishedError: It has ended otherwise.
        """
        self.find(job_id)
        try:
            self.queue.cancel(job_id)
        except JobNotFoundError:
            if not self.find(job_id).is_cancelled:
                raise JobFinishedError("the job has ended already") from None
        return self.find(job_id)

    def skip(self, job_id: str) -> JobView:
        """End the picture that a running job makes; the job goes on with the next one.

        Raises:
            JobNotFoundError: No job of that id is known.
            JobNotRunningError: It does not run.
        """
        view = self.find(job_id)
        self.queue.skip(job_id)
        return view

    def page(self, wanted: JobFilter, limit: int) -> list[JobRecord]:
        """Jobs of all runs, the newest first."""
        wanted = replace(wanted, owner=self.owner)
        return [self._live(record) for record in self.store.page(wanted, limit)]

    def stop_running(self) -> None:
        """Cancel the running job, if it is one of those that are found."""
        if self.owner is None:
            self.queue.stop_running()
            return
        for view in self.queue.view().unfinished:
            if view.stage is JobStage.RUNNING and self.sees(view):
                with suppress(JobNotFoundError, JobFinishedError):
                    self.queue.cancel(view.id)

    def _live(self, record: JobRecord) -> JobRecord:
        """With what is not stored while a job runs."""
        job = self.queue.unfinished_job(record.view.id)
        return record if job is None else replace(record, view=job.view())
