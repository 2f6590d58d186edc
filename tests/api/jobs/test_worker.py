"""The worker: the engine's thread outlives whatever happens on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from fooocus_core.errors import ModelFileError
from fooocus_core.events import GeneratedImage
from fooocus_core.params import CanvasParams, GenerationParams, ModelParams
from fooocusapi.exceptions import ServiceError, StorageError
from fooocusapi.jobs.job import Delivery, Job, JobView, SavedImage
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.worker import Worker
from fooocusapi.schemas.vocabulary import FinishReason, JobKind
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script


class Bench:
    """A queue and a worker around an engine, without files."""

    def __init__(self, engine: FakeEngine) -> None:
        ticks = count()
        self.engine = engine
        self.made_on: list[threading.Thread] = []
        self.make_failure: BaseException | None = None
        self.save_failure: BaseException | None = None
        self.queue = JobQueue(
            size=10,
            history=0,
            on_finished=lambda _: None,
            on_dropped=lambda _: None,
            clock=lambda: next(ticks),
        )
        self.worker = Worker(self.queue, self._make, self._save)

    def run(self, images: int = 1) -> Job:
        canvas = CanvasParams(count=images)
        params = GenerationParams(models=ModelParams(base="x"), canvas=canvas)
        job = Job(
            kind=JobKind.TEXT_TO_IMAGE,
            params=params,
            delivery=Delivery(),
            warnings=(),
            queued_ms=0,
        )
        self.queue.submit(job)
        return job

    def result(self, job: Job) -> JobView:
        return job.done.result(timeout=WAIT_S)

    def _make(self) -> FakeEngine:
        self.made_on.append(threading.current_thread())
        if self.make_failure is not None:
            raise self.make_failure
        return self.engine

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
    ("failure", "reason"),
    [
        (ModelFileError("x.safetensors is cut off"), "x.safetensors is cut off"),
        (ValueError("odd\nshape"), "ValueError: odd shape"),
        (KeyError(), "KeyError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (MemoryError("host"), "MemoryError: host"),
    ],
)
def test_a_failing_run_ends_its_job_and_the_next_one_succeeds(
    bench: Bench, failure: BaseException, reason: str
) -> None:
    bench.worker.start()
    bench.engine.play(Script(failure=failure))
    failed, next_one = bench.run(), bench.run()
    assert (bench.result(failed).reason, bench.result(failed).error) == (
        FinishReason.ERROR,
        reason,
    )
    assert bench.result(next_one).reason is FinishReason.SUCCESS


def test_jobs_are_tried_although_the_models_could_not_be_loaded(bench: Bench) -> None:
    bench.engine.load_failure = ModelFileError("gone")
    bench.worker.start()
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_engine_that_cannot_be_made_fails_each_job_until_it_can(bench: Bench) -> None:
    bench.make_failure = ImportError("no torch")
    bench.worker.start()
    assert bench.result(bench.run()).error == "ImportError: no torch"
    bench.make_failure = None
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_picture_that_cannot_be_saved_fails_the_job(bench: Bench) -> None:
    bench.save_failure = StorageError("the picture could not be saved: No space left on device")
    bench.worker.start()
    view = bench.result(bench.run())
    assert view.error == "the picture could not be saved: No space left on device"
    bench.save_failure = None
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_failing_call_tells_its_caller_and_nobody_else(bench: Bench) -> None:
    bench.worker.start()
    call = bench.queue.call(lambda engine: engine.no_such_thing())
    with pytest.raises(AttributeError):
        call.result(timeout=WAIT_S)
    assert bench.result(bench.run()).reason is FinishReason.SUCCESS


def test_stopping_lets_the_running_picture_finish(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    running, waiting = bench.run(images=3), bench.run()
    bench.engine.gate.wait_for_step()
    stopper = threading.Thread(target=bench.worker.stop, args=(WAIT_S,))
    stopper.start()
    assert bench.result(waiting).reason is FinishReason.ERROR
    bench.engine.gate.open(STEPS)
    stopper.join(WAIT_S)
    assert not stopper.is_alive()
    view = bench.result(running)
    assert (view.reason, len(view.images)) == (FinishReason.SUCCESS, 1)


def test_stopping_cancels_what_outlasts_the_grace_time(bench: Bench) -> None:
    bench.worker.start()
    bench.engine.play(Script(gated=True))
    running = bench.run()
    bench.engine.gate.wait_for_step()
    bench.worker.stop(0.01)
    view = bench.result(running)
    assert (view.reason, view.error) == (FinishReason.ERROR, "the server was stopped")


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
