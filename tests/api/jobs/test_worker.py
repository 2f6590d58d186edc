"""The worker: the engine's thread outlives whatever happens on it."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterator
from itertools import count

import pytest

from fooocus_core.errors import (
    DeviceFailedError,
    DeviceMemoryError,
    DownloadError,
    InvalidInputError,
    ModelFileError,
    ModelNotFoundError,
    NotFiniteError,
)
from fooocus_core.events import GeneratedImage
from fooocus_core.params import GenerationParams, Image
from fooocusapi.exceptions import JobKeptError, ServiceError, StorageError
from fooocusapi.jobs.job import Failure, Job, JobView, SavedImage
from fooocusapi.jobs.params_json import decode_params
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.worker import Worker
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason, JobStage
from tests.deadline import wait_until
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script
from tests.jobs import MemoryStore, make_job


def no_picture(number: int) -> Image:
    raise AssertionError("these jobs have no pictures")


class Tensor:
    """Something large."""


class Bench:
    """A queue and a worker around an engine, without files."""

    def __init__(self, engine: FakeEngine, unload_after_s: float = 0.0) -> None:
        ticks = count()
        self.engine = engine
        self.made_on: list[threading.Thread] = []
        self.make_failure: BaseException | None = None
        self.save_failure: BaseException | None = None
        self.store = MemoryStore()
        self.lost = threading.Event()
        self.queue = JobQueue(
            store=self.store, size=10, on_finished=lambda _: None, clock=lambda: next(ticks)
        )
        self.worker = Worker(
            self.queue,
            self._make,
            self._load,
            self._save,
            self.lost.set,
            unload_after_s=unload_after_s,
        )

    def run(self, images: int = 1) -> Job:
        job = make_job(count=images)
        self.queue.submit(job)
        return job

    def failure(self, job: Job) -> str | None:
        failure = self.result(job).failure
        return failure and failure.text

    def result(self, job: Job) -> JobView:
        return job.done.result(timeout=WAIT_S)

    def _make(self) -> FakeEngine:
        self.made_on.append(threading.current_thread())
        if self.make_failure is not None:
            raise self.make_failure
        return self.engine

    def _load(self, job: Job) -> GenerationParams:
        return decode_params(job.stored.params, no_picture)

    def _save(self, job: Job, index: int, image: GeneratedImage) -> SavedImage:
        if self.save_failure is not None:
            raise self.save_failure
        return SavedImage(date="d", name=f"{job.id}-{index}", seed=image.seed)


@pytest.fixture
def bench(engine: FakeEngine) -> Iterator[Bench]:
    bench = Bench(engine)
    yield bench
    bench.worker.stop(0)


def test_engine_is_made_once_on_the_thread_of_the_worker(bench: Bench) -> None:
    bench.worker.start()
    bench.worker.loaded.result(timeout=WAIT_S)
    bench.result(bench.run())
    (thread,) = bench.made_on
    assert thread is not threading.current_thread()


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (ValueError("odd\nshape"), "engine_error", "ValueError: odd shape"),
        (KeyError(), "engine_error", "KeyError"),
        (KeyboardInterrupt(), "engine_error", "KeyboardInterrupt"),
        (SystemExit(3), "engine_error", "SystemExit: 3"),
        (NotFiniteError("black"), "engine_error", "black"),
        (MemoryError("host"), "out_of_memory", "MemoryError: host"),
        (ModelNotFoundError("no x in models"), "model_not_found", "no x in models"),
        (ModelFileError("x is cut off"), "model_corrupt", "x is cut off"),
        (DownloadError("refused"), "download_failed", "refused"),
        (InvalidInputError("mask too small"), "invalid_input", "mask too small"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_f01_f04_f16_f17_a_failing_run_ends_its_job_and_the_next_one_succeeds(
    bench: Bench, failure: BaseException, code: str, text: str
) -> None:
    bench.worker.start()
    bench.engine.play(Script(failure=failure))
    failed, next_one = bench.run(), bench.run()
    view = bench.result(failed)
    assert view.reason is FinishReason.ERROR
    assert view.failure == Failure(code=ErrorCode(code), text=text)
    assert bench.result(next_one).reason is FinishReason.SUCCESS


def test_jobs_are_tried_although_the_models_could_not_be_loaded(bench: Bench) -> None:
    bench.engine.load_failure = ModelFileError("gone")
    bench.worker.start()
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_defect_b28_engine_that_cannot_be_made_fails_each_job_until_it_can(bench: Bench) -> None:
    bench.make_failure = ImportError("no torch")
    bench.worker.start()
    assert bench.failure(bench.run()) == "ImportError: no torch"
    bench.make_failure = None
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_picture_that_cannot_be_saved_fails_the_job(bench: Bench) -> None:
    bench.save_failure = StorageError("the picture could not be saved: No space left on device")
    bench.worker.start()
    failure = bench.result(bench.run()).failure
    assert failure == Failure(code=ErrorCode.STORAGE_FULL, text=str(bench.save_failure))
    bench.save_failure = None
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_failing_call_tells_its_caller_and_nobody_else(bench: Bench) -> None:
    bench.worker.start()
    call = bench.queue.call(lambda engine: engine.no_such_thing())
    with pytest.raises(AttributeError):
        call.result(timeout=WAIT_S)
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


@pytest.mark.parametrize("images", [1, 3])
def test_stopping_lets_the_running_picture_finish_and_keeps_what_is_not_done(
    bench: Bench, images: int
) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    running, waiting = bench.run(images=images), bench.run()
    bench.engine.gate.wait_for_step()
    stopper = threading.Thread(target=bench.worker.stop, args=(WAIT_S,))
    stopper.start()
    with pytest.raises(JobKeptError):
        bench.result(waiting)
    bench.engine.gate.open(STEPS)
    stopper.join(WAIT_S)
    assert not stopper.is_alive()
    kept = bench.store.unfinished()
    if images == 1:
        assert bench.result(running).reason is FinishReason.SUCCESS
        assert [view.id for view in kept] == [waiting.id]
    else:
        assert [view.id for view in kept] == [running.id, waiting.id]
        assert {(view.stage, view.attempt) for view in kept} == {(JobStage.WAITING, 0)}


def test_stopping_puts_back_what_outlasts_the_grace_time(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    running = bench.run()
    bench.engine.gate.wait_for_step()
    bench.worker.stop(0.01)
    with pytest.raises(JobKeptError):
        bench.result(running)
    assert [view.id for view in bench.store.unfinished()] == [running.id]


def test_a_job_that_was_cancelled_is_not_put_back(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    running = bench.run()
    bench.engine.gate.wait_for_step()
    bench.queue.cancel(running.id)
    bench.worker.stop(0.01)
    assert bench.result(running).is_cancelled
    assert bench.store.unfinished() == []


def test_f02_a_run_out_of_memory_is_made_once_more_with_as_little_as_can_be(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(failure=DeviceMemoryError("full"), fails_at=1))
    view = bench.result(bench.run(images=2))
    assert (view.reason, len(view.images)) == (FinishReason.SUCCESS, 2)
    assert bench.engine.saved_memory == [False, True]
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS
    assert bench.engine.saved_memory == [False, True, False]


def test_f03_a_run_that_is_out_of_memory_again_fails_and_is_not_tried_a_third_time(
    bench: Bench,
) -> None:
    full = Script(failure=DeviceMemoryError("full"))
    bench.worker.start()
    bench.engine.play(full, full, full, full)
    failed = [bench.result(bench.run()) for _ in range(2)]
    assert [view.failure for view in failed] == [
        Failure(code=ErrorCode.OUT_OF_MEMORY, text="full")
    ] * 2
    assert bench.engine.saved_memory == [False, True] * 2
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_f06_a_device_that_has_failed_ends_the_worker_and_keeps_what_waits(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(failure=DeviceFailedError("The device has failed: assert.")))
    bench.queue.pause()
    failed, waiting = bench.run(), bench.run()
    bench.queue.resume()
    assert bench.result(failed).failure == Failure(
        code=ErrorCode.DEVICE_FAILED, text="The device has failed: assert."
    )
    assert bench.lost.wait(WAIT_S)
    assert bench.worker.is_lost
    bench.worker.stop(WAIT_S)
    assert not bench.worker.is_alive
    assert [view.id for view in bench.store.unfinished()] == [waiting.id]


def test_a_skipped_picture_is_left_out_and_the_next_one_made(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    job = bench.run(images=2)
    bench.engine.gate.wait_for_step()
    bench.queue.skip(job.id)
    bench.engine.gate.open(2 * STEPS)
    view = bench.result(job)
    assert (view.reason, [image.seed for image in view.images]) == (FinishReason.SUCCESS, [1])


def test_a_job_whose_only_picture_is_skipped_ends_as_cancelled(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    job = bench.run()
    bench.engine.gate.wait_for_step()
    bench.queue.skip(job.id)
    view = bench.result(job)
    assert (view.reason, view.is_cancelled) == (FinishReason.USER_CANCEL, True)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), SystemExit(3), StopIteration(), GeneratorExit()], ids=repr
)
def test_a_call_that_raises_what_would_end_its_waiter_is_told_as_a_failure(
    bench: Bench, failure: BaseException
) -> None:
    def fail(engine: object) -> None:
        raise failure

    bench.worker.start()
    with pytest.raises(ServiceError) as raised:
        bench.queue.call(fail).result(timeout=WAIT_S)
    assert raised.value.__cause__ is failure
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_stopping_lets_the_running_call_finish(bench: Bench) -> None:
    began, may_end = threading.Event(), threading.Event()

    def work(engine: FakeEngine) -> str:
        began.set()
        may_end.wait(WAIT_S)
        return "done"

    bench.worker.start()
    call = bench.queue.call(work)
    began.wait(WAIT_S)
    stopper = threading.Thread(target=bench.worker.stop, args=(WAIT_S,))
    stopper.start()
    may_end.set()
    stopper.join(WAIT_S)
    assert not bench.worker.is_alive
    assert call.result(timeout=0) == "done"


def test_what_is_fetched_at_the_start_gives_way_to_a_job(bench: Bench) -> None:
    bench.engine.is_fetching = True
    bench.worker.start()
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS
    assert bench.worker.loaded.done()


def test_what_is_fetched_at_the_start_ends_when_the_server_does(bench: Bench) -> None:
    bench.engine.is_fetching = True
    bench.worker.start()
    bench.worker.stop(0)
    assert not bench.worker.is_alive


def test_models_are_let_go_of_once_after_a_time_without_work(engine: FakeEngine) -> None:
    bench = Bench(engine, unload_after_s=0.05)
    bench.worker.start()
    wait_until(lambda: engine.freed == 1)
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS
    wait_until(lambda: engine.freed == 2)
    time.sleep(0.2)
    assert engine.freed == 2
    bench.worker.stop(WAIT_S)
    assert not bench.worker.is_alive


def test_models_stay_unless_it_is_asked_to_let_go_of_them(bench: Bench, engine: FakeEngine) -> None:
    bench.worker.start()
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS
    time.sleep(0.1)
    assert engine.freed == 0


def test_what_failed_is_held_by_nothing_when_freed_memory_is_given_back(
    bench: Bench,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # pytest keeps what is logged, errors and all that they hold included.
    caplog.set_level(logging.CRITICAL, logger="fooocusapi.jobs.worker")
    tensors = weakref.WeakSet[Tensor]()
    held = list[int]()

    def fail(*_: object, **__: object) -> Iterator[GeneratedImage]:
        tensor = Tensor()
        tensors.add(tensor)
        raise ValueError("no")
        yield

    monkeypatch.setattr(engine, "generate", fail)
    monkeypatch.setattr(engine, "rest", lambda: held.append(len(tensors)))
    bench.worker.start()
    assert bench.result(bench.run()).reason is FinishReason.ERROR
    wait_until(lambda: len(held) == 2)
    assert held == [0, 0]


def test_freed_memory_is_given_back_after_the_load_and_after_all_that_runs(
    bench: Bench, engine: FakeEngine
) -> None:
    bench.worker.start()
    wait_until(lambda: engine.rested == 1)
    bench.result(bench.run())
    wait_until(lambda: engine.rested == 2)
    bench.queue.call(lambda _: None).result(WAIT_S)
    wait_until(lambda: engine.rested == 3)


def test_failing_to_let_go_of_models_ends_nothing(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        engine.freed += 1
        raise RuntimeError("no")

    monkeypatch.setattr(engine, "free_memory", fail)
    bench = Bench(engine, unload_after_s=0.01)
    bench.worker.start()
    wait_until(lambda: engine.freed == 1)
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS
    bench.worker.stop(WAIT_S)
