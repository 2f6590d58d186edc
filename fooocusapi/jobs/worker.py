"""The one thread that owns the engine: takes, runs, finishes.

Knows neither how pictures are stored nor who waits for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import closing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fooocus_core.choices import DescribeKind
from fooocus_core.errors import (
    DeviceFailedError,
    DeviceMemoryError,
    DownloadError,
    FooocusError,
    InvalidInputError,
    ModelFileError,
    ModelNotFoundError,
    RunCancelled,
)
from fooocus_core.events import CancelToken, Event, EventSink, GeneratedImage, Warned
from fooocus_core.params import GenerationParams, Image, MaskParams
from fooocusapi.exceptions import InputsGoneError, ServiceError, StorageError, StoreError
from fooocusapi.jobs.job import Failure, Job, SavedImage
from fooocusapi.jobs.queue import Call, JobQueue
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason

_log = logging.getLogger(__name__)

_CANCEL_WAIT_S = 10.0
_CODES: Mapping[type[BaseException], ErrorCode] = {
    DeviceFailedError: ErrorCode.DEVICE_FAILED,
    DeviceMemoryError: ErrorCode.OUT_OF_MEMORY,
    MemoryError: ErrorCode.OUT_OF_MEMORY,
    ModelNotFoundError: ErrorCode.MODEL_NOT_FOUND,
    ModelFileError: ErrorCode.MODEL_CORRUPT,
    DownloadError: ErrorCode.DOWNLOAD_FAILED,
    InvalidInputError: ErrorCode.INVALID_INPUT,
    InputsGoneError: ErrorCode.INPUTS_GONE,
    StorageError: ErrorCode.STORAGE_FULL,
    StoreError: ErrorCode.STORAGE_FULL,
}


class Engine(Protocol):
    """What the worker needs of the pipeline; only the worker's thread calls it."""

    def load(self, check: Callable[[], None]) -> None:
        """Fetch and bring in the default models.

        Args:
            check: Called while files are fetched; what it raises ends the loading.
        """

    def generate(
        self,
        params: GenerationParams,
        on_event: EventSink,
        cancel: CancelToken,
        *,
        saves_memory: bool = False,
    ) -> Generator[GeneratedImage]:
        """Make pictures, each handed out as soon as it is finished.

        Args:
            saves_memory: Let go of everything first, and take as little device memory as can be.

        Raises:
            RunCancelled: ``cancel`` was switched; pictures handed out before are kept.
            FooocusError: The run failed for a known cause.
        """

    def describe(self, image: Image, kind: DescribeKind) -> str:
        """Say in words what a picture shows.

        Raises:
            FooocusError: It cannot be described, for a known cause.
        """

    def generate_mask(self, image: Image, params: MaskParams) -> NDArray[np.uint8]:
        """Make the mask of a picture, (H, W) or (H, W, 3), white = selected.

        Raises:
            FooocusError: There is no mask for a known cause.
        """

    def rest(self) -> None:
        """Give back what ended work has freed."""

    def free_memory(self) -> None:
        """Let go of models and of cached device memory."""


LoadParams = Callable[[Job], GenerationParams]
SaveImage = Callable[[Job, int, GeneratedImage], SavedImage]


class Worker:
    """Runs jobs and calls one after the other on its own thread.

    Args:
        queue: Where work comes from, and where ended jobs are reported.
        make_engine: Called on the worker's thread, so that nothing heavy delays the start.
        load_params: Reads what a job asks for.
        save_image: Stores the picture of that index of a job.
        on_lost: Called when the device has failed. The thread ends then, and what waits stays in
            the queue, because only a new process can use the device again.
        unload_after_s: After so long without work all models are let go of; 0 = never.
    """

    def __init__(
        self,
        queue: JobQueue,
        make_engine: Callable[[], Engine],
        load_params: LoadParams,
        save_image: SaveImage,
        on_lost: Callable[[], None],
        *,
        unload_after_s: float = 0.0,
    ) -> None:
        self._queue = queue
        self._make_engine = make_engine
        self._load_params = load_params
        self._save_image = save_image
        self._on_lost = on_lost
        self._unload_after_s = unload_after_s
        self.is_lost = False
        self._is_hung = False
        self._made: Engine | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self.loaded: Future[None] = Future()
        self.loaded.set_running_or_notify_cancel()

    def start(self) -> None:
        """Start the thread; the engine loads in the background."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, let the running image or call finish within ``grace_s``.

        A job that has not made all its pictures by then goes back to the store.

        Blocks until the thread has ended, or for a few seconds if it does not answer.
        """
        self._queue.close()
        if self._is_hung:
            return
        if self._queue.is_busy:
            self._thread.join(grace_s)
        self._queue.interrupt()
        self._thread.join(_CANCEL_WAIT_S)

    def abandon(self) -> None:
        """Wait for the thread no more: it hangs, and ends with the process."""
        self._is_hung = True

    def _work(self) -> None:
        self._load()
        self._rest()
        while not self.is_lost and (entry := self._take()) is not None:
            if isinstance(entry, Call):
                self._answer(entry)
            else:
                self._run(entry)
            del entry
            self._rest()
        if self.is_lost:
            _log.critical("the device has failed; the server has to be started again")
            self._on_lost()

    def _take(self) -> Job | Call | None:
        try:
            return self._queue.take(self._unload_after_s or None)
        except TimeoutError:
            _log.info("nothing to do for %g s: letting go of all models", self._unload_after_s)
        try:
            self._engine().free_memory()
        except BaseException as error:  # noqa: BLE001  (what comes next tells its caller)
            _log.error("memory could not be freed: %s", _reason(error), exc_info=error)
            self._check_device(error)
        return None if self.is_lost else self._queue.take()

    def _engine(self) -> Engine:
        if self._made is None:
            self._made = self._make_engine()
        return self._made

    def _rest(self) -> None:
        """Have given back what was freed; neither errors nor pictures are held any more here."""
        if self._made is not None:
            self._made.rest()

    def _load(self) -> None:
        try:
            self._engine().load(self._give_way)
        except RunCancelled:
            _log.info("what is still to be fetched is left to the jobs that need it")
        except BaseException as error:  # noqa: BLE001  (each job tries again and tells its caller)
            _log.error("the models could not be loaded: %s", _reason(error), exc_info=error)
        self.loaded.set_result(None)

    def _give_way(self) -> None:
        """End the loading for a job, which fetches what it needs itself and tells how far it is."""
        if self._queue.has_work:
            raise RunCancelled

    def _answer(self, call: Call) -> None:
        try:
            result = call.function(self._engine())
        except BaseException as error:  # noqa: BLE001  (handed to whoever waits)
            self._check_device(error)
            call.done.set_exception(_fit_for_a_waiter(error))
        else:
            call.done.set_result(result)

    def _run(self, job: Job) -> None:
        began = time.monotonic()
        _log.info("job %s: started", job.id)
        try:
            self._generate(job)
        except RunCancelled:
            if job.is_cancel_asked:
                self._queue.end(job, FinishReason.USER_CANCEL)
            else:
                self._queue.put_back(job)
                _log.warning("job %s: put back, because the server is stopping", job.id)
                return
        except BaseException as error:  # noqa: BLE001  (the worker outlives whatever a run raises)
            _log.error("job %s failed: %s", job.id, _reason(error), exc_info=error)
            self._check_device(error)
            self._queue.end(job, FinishReason.ERROR, _failure(error))
        else:
            # Every picture may have been skipped.
            made = FinishReason.SUCCESS if job.view().images else FinishReason.USER_CANCEL
            self._queue.end(job, made)
        reason = job.view().reason
        _log.info("job %s: %s after %.1f s", job.id, reason, time.monotonic() - began)

    def _check_device(self, error: BaseException) -> None:
        self.is_lost = self.is_lost or isinstance(error, DeviceFailedError)

    def _generate(self, job: Job) -> None:
        params = self._load_params(job)
        try:
            self._make_images(job, params, saves_memory=False)
        except DeviceMemoryError as error:
            _log.warning("job %s: %s Once more with as little as can be.", job.id, error)
        else:
            return
        # Outside of the handler, which keeps what the failed run holds.
        self._make_images(job, params, saves_memory=True)

    def _make_images(self, job: Job, params: GenerationParams, *, saves_memory: bool) -> None:
        engine, record = self._engine(), _recorder(job)
        run = engine.generate(params, record, job.token, saves_memory=saves_memory)
        saved = len(job.view().images)
        # Closed at once if saving fails, so that the engine is ready for the next job.
        with closing(run) as images:
            for index, image in enumerate(images):
                # A second run makes the pictures of the first one again.
                if index >= saved:
                    job.add_image(self._save_image(job, index, image))
                if self._queue.is_closed:
                    job.token.cancel()


def _recorder(job: Job) -> EventSink:
    def record(event: Event) -> None:
        if isinstance(event, Warned) and event.text not in job.view().warnings:
            _log.warning("job %s: %s", job.id, event.text)
        job.record(event)

    return record


def _fit_for_a_waiter(error: BaseException) -> Exception:
    """The error, wrapped if it would end the loop of who waits, or be mistaken by it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    _log.error("a call of the engine failed: %s", _reason(error), exc_info=error)
    wrapped = ServiceError(f"the engine failed: {_reason(error)}")
    wrapped.__cause__ = error
    return wrapped


def _failure(error: BaseException) -> Failure:
    codes = (code for kind, code in _CODES.items() if isinstance(error, kind))
    return Failure(code=next(codes, ErrorCode.ENGINE_ERROR), text=_reason(error))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, FooocusError | ServiceError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
