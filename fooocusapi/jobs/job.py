"""One queued generation: its stage, progress and result.

Guards itself with one lock and hands out immutable views. Knows no files, no addresses and no
wire form.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from uuid import uuid4

from fooocus_core.events import CancelToken, Event, Preview, Progress, SamplingStep, Warned
from fooocus_core.params import Image
from fooocusapi.exceptions import JobKeptError
from fooocusapi.jobs.journal import Journal
from fooocusapi.schemas.vocabulary import (
    ErrorCode,
    FinishReason,
    JobEvent,
    JobKind,
    JobStage,
    SaveExtension,
    WebhookEvent,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the caller wants the pictures of a job.

    Attributes:
        name: Stem of the file names; empty = the job's id.
        webhook: Who is told when the job has ended; ``None`` = nobody in particular.
        owner: Name of the API key that the job was asked for with; empty = none was needed.
        webhook_events: What of it is told.
    """

    extension: SaveExtension = SaveExtension.PNG
    name: str = ""
    base64: bool = False
    webhook: str | None = None
    owner: str = ""
    webhook_events: tuple[WebhookEvent, ...] = (WebhookEvent.COMPLETED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """A finished picture on disk: folder (a date), file name and size, and the seed it has."""

    date: str
    name: str
    seed: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed: for programs, and in one line for people."""

    code: ErrorCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """What was asked for, in the form in which it is stored.

    Attributes:
        request: The request as JSON, without pictures; for showing it.
        params: What is asked of the pipeline, as ``params_json`` writes it.
        inputs: Number of pictures that belong to the parameters.
    """

    request: str
    params: str
    inputs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job at one moment.

    Attributes:
        attempt: Number of the run that goes on or was the last; 0 = none has begun.
        progress: The newest progress event; ``None`` until there is one.
        percent: Largest number of the core's own progress outside sampling.
        furthest: Furthest sampling step so far.
        preview: uint8 (h, w, 3) of the unfinished image; ``None`` when there is none.
        seed: Seed of the first picture.
        is_cancelled: It was cancelled before its end was decided; what it has made stays.
        failure: Why it failed.
        queued_ms, started_ms, finished_ms: Milliseconds since the epoch, 0 = not yet.
    """

    id: str
    kind: JobKind
    delivery: Delivery
    seed: int
    queued_ms: int
    stage: JobStage = JobStage.WAITING
    attempt: int = 0
    progress: Progress | None = None
    percent: int = 0
    furthest: SamplingStep | None = None
    preview: Image | None = None
    images: tuple[SavedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: FinishReason | None = None
    is_cancelled: bool = False
    failure: Failure | None = None
    started_ms: int = 0
    finished_ms: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the job has reached its final state."""
        return self.stage in (JobStage.SUCCESS, JobStage.ERROR)


def new_job_id() -> str:
    """An id that no job ever had."""
    return str(uuid4())


class Job:
    """A generation on its way through the queue.

    ``done`` completes exactly once, with the final view, or with :class:`JobKeptError` if the
    server stops first; it cannot be cancelled from outside.

    Args:
        view: The job as it was accepted, or as it was found in the store.
        stored: What was asked for.

    Attributes:
        journal: What has happened to it in this run of the server.
    """

    def __init__(self, view: JobView, stored: StoredRequest) -> None:
        self.id = view.id
        self.stored = stored
        self.token = CancelToken()
        self.done: Future[JobView] = Future()
        # A waiting caller that goes away must not be able to cancel what others wait for.
        self.done.set_running_or_notify_cancel()
        self.journal: Journal[JobView] = Journal()
        self._lock = threading.Lock()
        self._view = view
        self._is_cancel_asked = False
        self._is_decided = False
        self._alive_s = time.monotonic()
        self._note(JobEvent.QUEUED)

    def view(self) -> JobView:
        """The job at this moment."""
        with self._lock:
            return self._view

    def start(self, now_ms: int) -> JobView:
        """Move from WAITING to RUNNING."""
        with self._lock:
            assert self._view.stage is JobStage.WAITING
            self._alive_s = time.monotonic()
            self._view = replace(
                self._view,
                stage=JobStage.RUNNING,
                attempt=self._view.attempt + 1,
                # The clock of an earlier run of the server may have been ahead.
                started_ms=max(now_ms, self._view.queued_ms),
            )
            self._note(JobEvent.STARTED)
            return self._view

    def record(self, event: Event) -> None:
        """Take in what the run tells."""
        with self._lock:
            self._alive_s = time.monotonic()
            view = self._view
            if view.is_finished:
                return
            match event:
                case Progress():
                    self._view = _advanced(view, event)
                    self._note(JobEvent.PROGRESS)
                case Preview():
                    self._view = replace(view, preview=event.image)
                    self.journal.add(JobEvent.PREVIEW, self._view)
                case Warned() if event.text not in view.warnings:
                    self._view = replace(view, warnings=(*view.warnings, event.text))
                    self._note(JobEvent.WARNING)

    def add_image(self, image: SavedImage) -> None:
        """Take in a picture that lies on disk."""
        with self._lock:
            self._alive_s = time.monotonic()
            self._view = replace(self._view, images=(*self._view.images, image))
            self._note(JobEvent.IMAGE)

    def silent_s(self) -> float:
        """Seconds since the run has last shown a sign of life."""
        with self._lock:
            return time.monotonic() - self._alive_s

    def cancel(self) -> bool:
        """Have the job end as cancelled; ``False`` if its end was decided before."""
        with self._lock:
            if self._is_decided:
                return False
            self._is_cancel_asked = True
        self.token.cancel()
        return True

    @property
    def is_cancel_asked(self) -> bool:
        """Whether the job was cancelled; a server that stops cancels its run alone."""
        with self._lock:
            return self._is_cancel_asked

    def decide(self, reason: FinishReason, failure: Failure | None, now_ms: int) -> JobView | None:
        """Decide how the job ends; what was decided is not shown before :meth:`finish`.

        Returns:
            The final view; ``None`` if the end was decided before.
        """
        with self._lock:
            if self._is_decided:
                return None
            self._is_decided = True
            view = self._view
            if self._is_cancel_asked:
                failure = None
                reason = FinishReason.SUCCESS if view.images else FinishReason.USER_CANCEL
            succeeded = reason is FinishReason.SUCCESS
            return replace(
                view,
                stage=JobStage.SUCCESS if succeeded else JobStage.ERROR,
                reason=reason,
                is_cancelled=self._is_cancel_asked or reason is FinishReason.USER_CANCEL,
                failure=failure,
                preview=None,
                finished_ms=max(now_ms, view.started_ms, view.queued_ms),
            )

    def hold(self) -> bool:
        """Decide that the job does not end here; ``False`` if it was cancelled before."""
        with self._lock:
            assert not self._is_decided
            self._is_decided = not self._is_cancel_asked
            return self._is_decided

    def finish(self, final: JobView) -> None:
        """Show the final state; only the queue calls this."""
        with self._lock:
            assert self._is_decided
            assert not self._view.is_finished
            self._view = final
            self._note(final_event(final))

    def keep(self) -> None:
        """Tell who waits that the job goes on when the server runs again."""
        with self._lock:
            self._note(JobEvent.ERROR)
        self.done.set_exception(JobKeptError(self.id))

    def _note(self, kind: JobEvent) -> None:
        """Tell who follows the job; of pictures only their names are kept."""
        self.journal.add(kind, replace(self._view, preview=None))


def final_event(view: JobView) -> JobEvent:
    """The event with which a job has ended."""
    if view.is_cancelled:
        return JobEvent.CANCELED
    return JobEvent.COMPLETED if view.stage is JobStage.SUCCESS else JobEvent.FAILED


def _advanced(view: JobView, event: Progress) -> JobView:
    step = event.sampling
    if step is None:
        return replace(view, progress=event, percent=max(view.percent, event.percent))
    furthest = view.furthest
    if furthest is None or (step.image, step.step) > (furthest.image, furthest.step):
        furthest = step
    return replace(view, progress=event, furthest=furthest)
