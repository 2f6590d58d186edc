"""Notices a run that hangs: ends its job, and says that the process has to be replaced.

A thread that is stuck in a driver cannot be ended, and it owns the device; nothing but a new
process helps. Knows neither the engine nor how processes are replaced.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from fooocusapi.jobs.job import Failure
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason

_log = logging.getLogger(__name__)

_LOOKS_PER_LIMIT = 10


class Watchdog:
    """Looks after the running job on a thread of its own.

    Args:
        queue: Knows the running job.
        limit_s: So long a run may show no sign of life; 0 = any time.
        on_hung: Called once, when a job was ended because its run hangs.
    """

    def __init__(self, queue: JobQueue, limit_s: float, on_hung: Callable[[], None]) -> None:
        self._queue = queue
        self._limit_s = limit_s
        self._on_hung = on_hung
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)
        self.has_bitten = False

    def start(self) -> None:
        """Start the thread, if there is a limit."""
        if self._limit_s:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        # It stops the server itself, and must not wait for itself then.
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._limit_s / _LOOKS_PER_LIMIT):
            job = self._queue.running_job
            if job is None or job.silent_s() < self._limit_s:
                continue
            text = f"the run has shown no sign of life for {self._limit_s:g} s"
            _log.critical("job %s: %s; the server has to be started again", job.id, text)
            self.has_bitten = True
            failure = Failure(code=ErrorCode.TIMEOUT, text=text)
            self._queue.end(job, FinishReason.ERROR, failure)
            self._on_hung()
            return
