"""The jobs that wait, the one that runs, and those that have ended.

First in, first out. What it tells anybody lies in the store already. Knows neither the engine nor
the wire form.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from fooocusapi.exceptions import (
    JobFinishedError,
    JobNotFoundError,
    JobNotRunningError,
    QueueFullError,
    ServerStoppingError,
    StoreError,
)
from fooocusapi.jobs.clock import Clock
from fooocusapi.jobs.job import Failure, Job, JobView, StoredRequest
from fooocusapi.jobs.store import KeyUse
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason, JobStage

_log = logging.getLogger(__name__)

MEMORY_LIMIT = 1000
"""So many ended jobs are kept in memory; all of them lie in the store."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Something to be done with the engine between two jobs."""

    function: Callable[[Any], Any]
    done: Future[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """The queue at one moment.

    Attributes:
        unfinished: The running job and then the waiting ones in order.
        finished: Those of this run of the server, oldest first.
        last_id: Id of the job accepted last.
    """

    unfinished: tuple[JobView, ...]
    finished: tuple[JobView, ...]
    last_id: str | None


class Store(Protocol):
    """What the queue needs of the job store; each method raises :class:`StoreError`."""

    def accept(self, view: JobView, stored: StoredRequest, key: KeyUse | None = None) -> None:
        """Take a job in."""

    def start(self, view: JobView) -> None:
        """Note that a run of a job begins."""

    def note_cancel(self, job_id: str) -> None:
        """Note that an unfinished job is to end as cancelled."""

    def save(self, view: JobView) -> None:
        """Keep a job as it is now."""


class JobQueue:
    """Takes jobs in and hands them to the worker, one at a time.

    Args:
        store: Where jobs lie before anybody is told of them.
        size: Most jobs that wait or run at a time; and, not counting these, most calls that wait.
        on_finished: Called with each job that has ended, once its result is visible.
        clock: Time for the records.
    """

    def __init__(
        self,
        *,
        store: Store,
        size: int,
        on_finished: Callable[[JobView], None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._size = size
        self._on_finished = on_finished
        self._clock = clock
        self._accepting = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._calls: deque[Call] = deque()
        self._running: Job | None = None
        self._ending: dict[str, Job] = {}
        self._is_answering = False
        self._history: dict[str, JobView] = {}
        self._unsaved: dict[str, JobView] = {}
        self._last_id: str | None = None
        self._is_paused = False
        self._is_closed = False

    def now_ms(self) -> int:
        """The time by the clock of the records."""
        return self._clock()

    def submit(self, job: Job, key: KeyUse | None = None) -> None:
        """Take a job in; when this returns, it is on disk.

        Args:
            key: The key under which it was sent.

        Raises:
            QueueFullError: As many jobs as allowed wait or run.
            ServerStoppingError: The queue is closed.
            StoreError: It could not be stored.
        """
        # One at a time, so that the order in the store is the order here.
        with self._accepting:
            with self._changed:
                self._refuse_if_closed()
                if len(self._waiting) + (self._running is not None) >= self._size:
                    raise QueueFullError(f"{self._size} jobs wait or run already")
            self._store.accept(job.view(), job.stored, key)
            with self._changed:
                self._append(job)

    def restore(self, job: Job) -> None:
        """Append a job that an earlier run of the server has accepted."""
        with self._changed:
            self._append(job)

    def _append(self, job: Job) -> None:
        self._last_id = job.id
        if self._is_closed:
            job.keep()
            return
        self._waiting.append(job)
        self._changed.notify_all()

    def call(self, function: Callable[[Any], Result]) -> Future[Result]:
        """Have a function called with the engine before the next waiting job.

        Returns:
            What it gives; cancelled before the call has begun, the call is left out.

        Raises:
            QueueFullError: As many calls as allowed wait.
            ServerStoppingError: The queue is closed.
        """
        done: Future[Result] = Future()
        with self._changed:
            self._refuse_if_closed()
            # What nobody waits for any more takes no place; it may hold a large picture, too.
            self._calls = deque(call for call in self._calls if not call.done.cancelled())
            if len(self._calls) >= self._size:
                raise QueueFullError(f"{self._size} calls wait already")
            self._calls.append(Call(function=function, done=done))
            self._changed.notify_all()
        return done

    def take(self, timeout_s: float | None = None) -> Job | Call | None:
        """Wait for the next thing to do, which runs from then on. ``None``: closed.

        A call that was taken has ended when the next thing is asked for.

        Raises:
            TimeoutError: There was nothing for so long.
        """
        while True:
            entry = self._next(timeout_s)
            if not isinstance(entry, Job) or self._begin(entry):
                return entry

    def _next(self, timeout_s: float | None) -> Job | Call | None:
        with self._changed:
            self._is_answering = False
            while True:
                if not self._changed.wait_for(lambda: self.has_work, timeout_s):
                    raise TimeoutError
                if not self._calls:
                    break
                call = self._calls.popleft()
                if call.done.set_running_or_notify_cancel():
                    self._is_answering = True
                    return call
            if self._is_closed:
                return None
            self._running = self._waiting.popleft()
            return self._running

    def _begin(self, job: Job) -> bool:
        view = job.start(self._clock())
        try:
            self._write_unsaved()
            self._store.start(view)
        except StoreError as error:
            failure = Failure(code=ErrorCode.STORAGE_FULL, text=str(error))
            self.end(job, FinishReason.ERROR, failure)
            return False
        return True

    def end(self, job: Job, reason: FinishReason, failure: Failure | None = None) -> None:
        """End a job: the only way in which one reaches its final state.

        Only the first call for a job counts.
        """
        with self._changed:
            final = job.decide(reason, failure, self._clock())
            if final is None:
                return
            self._ending[job.id] = job
        try:
            self._write_unsaved()
            self._store.save(final)
        except StoreError as error:
            _log.error("job %s: its end could not be stored yet: %s", job.id, error)
            with self._changed:
                self._unsaved[job.id] = final
        with self._changed:
            job.finish(final)
            del self._ending[job.id]
            if self._running is job:
                self._running = None
            self._history[job.id] = final
            for old in list(self._history)[:-MEMORY_LIMIT]:
                del self._history[old]
        job.done.set_result(final)
        self._tell(final)

    def put_back(self, job: Job) -> None:
        """Let the running job wait in the store until the server runs again."""
        if not job.hold():
            self.end(job, FinishReason.USER_CANCEL)
            return
        view = job.view()
        # Pictures it has made stay noted: they are removed when it begins anew.
        waiting = replace(view, stage=JobStage.WAITING, attempt=view.attempt - 1, started_ms=0)
        try:
            self._store.save(waiting)
        except StoreError as error:
            _log.error("job %s: it could not be put back: %s", job.id, error)
        with self._changed:
            self._running = None
        job.keep()

    def find(self, job_id: str) -> JobView:
        """A job by its id: unfinished, or one of the last that ended in this run of the server.

        Raises:
            JobNotFoundError: There is none of that id.
        """
        with self._changed:
            if job_id in self._history:
                return self._history[job_id]
            if (job := self.unfinished_job(job_id)) is not None:
                return job.view()
        raise JobNotFoundError("no job of that id is known")

    def unfinished_job(self, job_id: str) -> Job | None:
        """The job of that id, if it waits, runs or is about to end."""
        with self._changed:
            return next((job for job in self._unfinished() if job.id == job_id), None)

    def view(self) -> QueueView:
        """The queue at this moment."""
        with self._changed:
            return QueueView(
                unfinished=tuple(job.view() for job in self._unfinished()),
                finished=tuple(self._history.values()),
                last_id=self._last_id,
            )

    def stop_running(self) -> None:
        """Cancel the running job; with none running, nothing happens."""
        with self._changed:
            job = self._running
            was_in_time = job is not None and job.cancel()
        if job is not None and was_in_time:
            self._note_cancel(job)

    def interrupt(self) -> None:
        """Cut the running job short without cancelling it, so that it can be put back."""
        with self._changed:
            if self._running is not None:
                self._running.token.cancel()

    def cancel(self, job_id: str) -> None:
        """Cancel one job, waiting or running; one that was cancelled before stays so.

        Raises:
            JobNotFoundError: There is no unfinished job of that id, and none that ended lately.
            JobFinishedError: It has ended otherwise.
        """
        with self._changed:
            job = self.unfinished_job(job_id)
            if job is None:
                _refuse_unless_cancelled(self.find(job_id))
                return
            was_in_time = job.cancel()
            is_waiting = was_in_time and job in self._waiting
            if is_waiting:
                self._waiting.remove(job)
                self._ending[job_id] = job
        if is_waiting:
            self.end(job, FinishReason.USER_CANCEL)
        elif was_in_time:
            self._note_cancel(job)
        else:
            _refuse_unless_cancelled(job.done.result())

    def skip(self, job_id: str) -> None:
        """End the picture being made by a running job, which goes on with the next one.

        Raises:
            JobNotFoundError: No job of that id is known.
            JobNotRunningError: It does not run.
        """
        with self._changed:
            job = self.unfinished_job(job_id)
            if job is None:
                self.find(job_id)
            if job is None or job.view().stage is not JobStage.RUNNING:
                raise JobNotRunningError("the job does not run")
            job.token.skip()

    def clear(self) -> int:
        """Cancel all waiting jobs.

        Returns:
            How many there were.
        """
        with self._changed:
            jobs = [job for job in self._waiting if job.cancel()]
            self._waiting.clear()
            self._ending.update((job.id, job) for job in jobs)
        for job in jobs:
            self.end(job, FinishReason.USER_CANCEL)
        return len(jobs)

    def pause(self) -> None:
        """Begin no further job until :meth:`resume`; the running one goes on."""
        with self._changed:
            self._is_paused = True

    def resume(self) -> None:
        """Begin jobs again."""
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    def forget(self, job_id: str) -> None:
        """Let go of an ended job that was removed from the store."""
        with self._changed:
            self._history.pop(job_id, None)

    @property
    def running_job(self) -> Job | None:
        """The job that runs."""
        with self._changed:
            return self._running

    @property
    def is_paused(self) -> bool:
        """Whether waiting jobs are held back."""
        with self._changed:
            return self._is_paused

    @property
    def is_busy(self) -> bool:
        """Whether a job or a call is running."""
        with self._changed:
            return self._running is not None or self._is_answering

    @property
    def has_work(self) -> bool:
        """Whether taking would not have to wait, because of an entry or of the end."""
        with self._changed:
            has_job = bool(self._waiting) and not self._is_paused
            return bool(self._calls) or has_job or self._is_closed

    @property
    def is_closed(self) -> bool:
        """Whether nothing is accepted any more."""
        with self._changed:
            return self._is_closed

    def close(self) -> None:
        """Accept and begin nothing more; what waits stays in the store."""
        with self._changed:
            self._is_closed = True
            waiting, calls = list(self._waiting), list(self._calls)
            self._waiting.clear()
            self._calls.clear()
            self._changed.notify_all()
        for job in waiting:
            job.keep()
        for call in calls:
            if call.done.set_running_or_notify_cancel():
                call.done.set_exception(ServerStoppingError("the server is stopping"))

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ServerStoppingError("the server is stopping and accepts no further work")

    def _unfinished(self) -> list[Job]:
        running = [] if self._running is None else [self._running]
        ending = [job for job in self._ending.values() if job is not self._running]
        return [*running, *ending, *self._waiting]

    def _note_cancel(self, job: Job) -> None:
        try:
            self._store.note_cancel(job.id)
        except StoreError as error:
            _log.warning("job %s: that it was cancelled could not be stored: %s", job.id, error)

    def _write_unsaved(self) -> None:
        """Store the ends of jobs that could not be stored when they came."""
        with self._changed:
            unsaved = list(self._unsaved.values())
        for view in unsaved:
            self._store.save(view)
            with self._changed:
                self._unsaved.pop(view.id, None)

    def _tell(self, view: JobView) -> None:
        try:
            self._on_finished(view)
        except Exception:  # noqa: BLE001  (what listeners do must not touch the job or the worker)
            _log.exception("after the end of job %s", view.id)


def _refuse_unless_cancelled(view: JobView) -> None:
    if not view.is_cancelled:
        raise JobFinishedError("the job has ended already")
