"""The jobs that wait, the one that runs, and those that have ended.

First in, first out. Knows neither the engine nor the wire form.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from fooocusapi.exceptions import (
    HistoryEntryNotFoundError,
    JobNotFinishedError,
    JobNotFoundError,
    QueueFullError,
    ServerStoppingError,
)
from fooocusapi.jobs.clock import Clock
from fooocusapi.jobs.job import Job, JobView
from fooocusapi.schemas.vocabulary import FinishReason

_log = logging.getLogger(__name__)

# Without a limit of its own the history keeps this many in memory.
_MEMORY_LIMIT = 1000

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
        finished: The history, oldest first.
        last_id: Id of the job accepted last.
    """

    unfinished: tuple[JobView, ...]
    finished: tuple[JobView, ...]
    last_id: str | None


class JobQueue:
    """Takes jobs in and hands them to the worker, one at a time.

    Args:
        size: Most jobs that wait or run at a time; and, not counting these, most calls that wait.
        history: Most ended jobs that are kept; 0 = no limit of the caller's.
        on_finished: Called with each job that has ended, once its result is visible.
        on_dropped: Called with each ended job that is removed for good, files included.
        clock: Time for the records.
    """

    def __init__(
        self,
        *,
        size: int,
        history: int,
        on_finished: Callable[[JobView], None],
        on_dropped: Callable[[JobView], None],
        clock: Clock,
    ) -> None:
        self._size = size
        self._history_limit = history
        self._on_finished = on_finished
        self._on_dropped = on_dropped
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._calls: deque[Call] = deque()
        self._running: Job | None = None
        self._is_answering = False
        self._history: dict[str, JobView] = {}
        self._kept: set[str] = set()
        self._last_id: str | None = None
        self._is_closed = False

    def now_ms(self) -> int:
        """The time by the clock of the records."""
        return self._clock()

    def submit(self, job: Job, *, keep: bool = False) -> None:
        """Append a job.

        Args:
            keep: The job stays in the history, whatever its limit, until it is released.

        Raises:
            QueueFullError: As many jobs as allowed wait or run.
            ServerStoppingError: The queue is closed.
        """
        with self._changed:
            self._refuse_if_closed()
            if len(self._waiting) + (self._running is not None) >= self._size:
                raise QueueFullError(f"{self._size} jobs wait or run already")
            if keep:
                self._kept.add(job.id)
            self._waiting.append(job)
            self._last_id = job.id
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

    def take(self) -> Job | Call | None:
        """Wait for the next thing to do, which runs from then on. ``None``: closed.

        A call that was taken has ended when the next thing is asked for.
        """
        with self._changed:
            self._is_answering = False
            while True:
                self._changed.wait_for(lambda: self.has_work)
                if not self._calls:
                    break
                call = self._calls.popleft()
                if call.done.set_running_or_notify_cancel():
                    self._is_answering = True
                    return call
            if self._is_closed:
                return None
            self._running = self._waiting.popleft()
            self._running.start(self._clock())
            return self._running

    def end(self, job: Job, reason: FinishReason, error: str | None = None) -> None:
        """End a job: the only way in which one reaches its final state."""
        with self._changed:
            view = job.finish(reason, error, self._clock())
            if self._running is job:
                self._running = None
            self._history[job.id] = view
            dropped = self._shorten_history()
        job.done.set_result(view)
        self._notify(self._on_finished, view)
        for old in dropped:
            self._notify(self._on_dropped, old)

    def release(self, job: Job) -> None:
        """Let a job go that was kept: nobody waits for what it made any more."""
        with self._changed:
            self._kept.discard(job.id)
            dropped = self._shorten_history()
        for old in dropped:
            self._notify(self._on_dropped, old)

    def find(self, job_id: str) -> JobView:
        """A job by its id.

        Raises:
            JobNotFoundError: No job of that id is known.
        """
        with self._changed:
            if job_id in self._history:
                return self._history[job_id]
            for job in self._unfinished():
                if job.id == job_id:
                    return job.view()
        raise JobNotFoundError("no job of that id is known")

    def view(self) -> QueueView:
        """The queue at this moment."""
        with self._changed:
            return QueueView(
                unfinished=tuple(job.view() for job in self._unfinished()),
                finished=tuple(self._history.values()),
                last_id=self._last_id,
            )

    def stop_running(self) -> None:
        """Ask the running job to stop; with none running, nothing happens."""
        with self._changed:
            if self._running is not None:
                self._running.token.cancel()

    def delete(self, job_id: str) -> None:
        """Remove what an ended job made, and then the job, so that no file is forgotten.

        Raises:
            HistoryEntryNotFoundError: No job of that id is known.
            JobNotFinishedError: It has not ended.
            StorageError: What it made cannot be removed; the job stays.
        """
        with self._changed:
            if any(job.id == job_id for job in self._unfinished()):
                raise JobNotFinishedError("the job has not finished")
            view = self._history.get(job_id)
        if view is None:
            raise HistoryEntryNotFoundError("no job of that id is in the history")
        self._on_dropped(view)
        with self._changed:
            self._history.pop(job_id, None)

    @property
    def is_busy(self) -> bool:
        """Whether a job or a call is running."""
        with self._changed:
            return self._running is not None or self._is_answering

    @property
    def has_work(self) -> bool:
        """Whether taking would not have to wait, because of an entry or of the end."""
        with self._changed:
            return bool(self._calls or self._waiting or self._is_closed)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is accepted any more."""
        with self._changed:
            return self._is_closed

    def close(self) -> None:
        """Accept nothing more and end what waits; the running job is not touched."""
        with self._changed:
            self._is_closed = True
            waiting, calls = list(self._waiting), list(self._calls)
            self._waiting.clear()
            self._calls.clear()
            self._changed.notify_all()
        for job in waiting:
            self.end(job, FinishReason.ERROR, "the server was stopped before the job began")
        for call in calls:
            if call.done.set_running_or_notify_cancel():
                call.done.set_exception(ServerStoppingError("the server is stopping"))

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ServerStoppingError("the server is stopping and accepts no further work")

    def _unfinished(self) -> list[Job]:
        running = [] if self._running is None else [self._running]
        return [*running, *self._waiting]

    def _shorten_history(self) -> list[JobView]:
        excess = max(len(self._history) - (self._history_limit or _MEMORY_LIMIT), 0)
        oldest = list(islice(self._history, excess))
        dropped = [self._history.pop(job_id) for job_id in oldest if job_id not in self._kept]
        return dropped if self._history_limit else []

    @staticmethod
    def _notify(listener: Callable[[JobView], None], view: JobView) -> None:
        try:
            listener(view)
        except Exception:  # noqa: BLE001  (what listeners do must not touch the job or the worker)
            _log.exception("after the end of job %s", view.id)
