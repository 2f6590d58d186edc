"""One queued generation: its stage, progress and result.

Guards itself with one lock and hands out immutable views. Knows no files, no addresses and no
wire form.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from uuid import uuid4

from fooocus_core.events import CancelToken, Event, Preview, Progress, SamplingStep, Warned
from fooocus_core.params import GenerationParams, Image
from fooocusapi.schemas.vocabulary import FinishReason, JobKind, JobStage, SaveExtension


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the caller wants the pictures of a job.

    Attributes:
        name: Stem of the file names; empty = the job's id.
        webhook: Who is told when the job has ended; ``None`` = nobody in particular.
    """

    extension: SaveExtension = SaveExtension.PNG
    name: str = ""
    base64: bool = False
    webhook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """A finished picture on disk: folder (a date), file name, and the seed it was made from."""

    date: str
    name: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job at one moment.

    Attributes:
        progress: The newest progress event; ``None`` until there is one.
        percent: Largest number of the core's own progress outside sampling.
        furthest: Furthest sampling step so far.
        preview: uint8 (h, w, 3) of the unfinished image; ``None`` when there is none.
        seed: Seed of the first picture.
        error: Reason of a failed job, one line.
        queued_ms, started_ms, finished_ms: Milliseconds since the epoch, 0 = not yet.
    """

    id: str
    kind: JobKind
    delivery: Delivery
    seed: int
    queued_ms: int
    stage: JobStage = JobStage.WAITING
    progress: Progress | None = None
    percent: int = 0
    furthest: SamplingStep | None = None
    preview: Image | None = None
    images: tuple[SavedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: FinishReason | None = None
    error: str | None = None
    started_ms: int = 0
    finished_ms: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the job has reached its final state."""
        return self.stage in (JobStage.SUCCESS, JobStage.ERROR)


class Job:
    """A generation on its way through the queue.

    ``done`` completes exactly once, with the final view; it cannot be cancelled from outside.
    """

    def __init__(
        self,
        *,
        kind: JobKind,
        params: GenerationParams,
        delivery: Delivery,
        warnings: tuple[str, ...],
        queued_ms: int,
    ) -> None:
        self.id = str(uuid4())
        self.token = CancelToken()
        self.done: Future[JobView] = Future()
        # A waiting caller that goes away must not be able to cancel what others wait for.
        self.done.set_running_or_notify_cancel()
        self._params: GenerationParams | None = params
        self._lock = threading.Lock()
        self._view = JobView(
            id=self.id,
            kind=kind,
            delivery=delivery,
            seed=params.canvas.seed,
            queued_ms=queued_ms,
            warnings=warnings,
        )

    @property
    def params(self) -> GenerationParams:
        """What was asked for; gone when the job has ended."""
        assert self._params is not None, "the job has ended"
        return self._params

    def view(self) -> JobView:
        """The job at this moment."""
        with self._lock:
            return self._view

    def start(self, now_ms: int) -> None:
        """Move from WAITING to RUNNING."""
        with self._lock:
            assert self._view.stage is JobStage.WAITING
            self._view = replace(self._view, stage=JobStage.RUNNING, started_ms=now_ms)

    def record(self, event: Event) -> None:
        """Take in what the run tells."""
        with self._lock:
            view = self._view
            if view.is_finished:
                return
            match event:
                case Progress():
                    self._view = _advanced(view, event)
                case Preview():
                    self._view = replace(view, preview=event.image)
                case Warned() if event.text not in view.warnings:
                    self._view = replace(view, warnings=(*view.warnings, event.text))

    def add_image(self, image: SavedImage) -> None:
        """Take in a picture that lies on disk."""
        with self._lock:
            self._view = replace(self._view, images=(*self._view.images, image))

    def finish(self, reason: FinishReason, error: str | None, now_ms: int) -> JobView:
        """Move to the final stage and let go of everything large; only the queue calls this."""
        succeeded = reason is FinishReason.SUCCESS
        with self._lock:
            assert not self._view.is_finished
            self._view = replace(
                self._view,
                stage=JobStage.SUCCESS if succeeded else JobStage.ERROR,
                reason=reason,
                error=error,
                preview=None,
                finished_ms=now_ms,
            )
            self._params = None
            return self._view


def _advanced(view: JobView, event: Progress) -> JobView:
    step = event.sampling
    if step is None:
        return replace(view, progress=event, percent=max(view.percent, event.percent))
    furthest = view.furthest
    if furthest is None or (step.image, step.step) > (furthest.image, furthest.step):
        furthest = step
    return replace(view, progress=event, furthest=furthest)
