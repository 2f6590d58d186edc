"""The queue: order, limits, history, closing."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fooocus_core.errors import ImageSkipped
from fooocusapi.exceptions import (
    JobKeptError,
    JobNotFoundError,
    JobNotRunningError,
    QueueFullError,
    ServerStoppingError,
    StoreError,
)
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.job import Failure, Job, JobView
from fooocusapi.jobs.queue import MEMORY_LIMIT, Call, JobQueue
from fooocusapi.schemas.vocabulary import ErrorCode, FinishReason, JobStage
from tests.fakes import WAIT_S
from tests.jobs import MemoryStore, make_job


class Listener:
    """Collects what the queue announces."""

    def __init__(self) -> None:
        self.finished: list[JobView] = []


@pytest.fixture
def listener() -> Listener:
    return Listener()


def make_queue(listener: Listener, size: int = 10, store: MemoryStore | None = None) -> JobQueue:
    ticks = itertools.count(1000)
    return JobQueue(
        store=store or MemoryStore(),
        size=size,
        on_finished=listener.finished.append,
        clock=lambda: next(ticks),
    )


def run(queue: JobQueue, job: Job) -> None:
    queue.submit(job)
    queue.take()
    queue.end(job, FinishReason.SUCCESS)


def test_jobs_come_out_in_the_order_they_went_in(listener: Listener) -> None:
    queue, jobs = make_queue(listener), [make_job() for _ in range(3)]
    for job in jobs:
        queue.submit(job)
    assert [queue.take() for _ in jobs] == jobs
    assert jobs[0].view().stage is JobStage.RUNNING


def test_calls_come_before_waiting_jobs(listener: Listener) -> None:
    queue = make_queue(listener)
    queue.submit(make_job())
    queue.call(lambda engine: engine)
    assert isinstance(queue.take(), Call)
    assert isinstance(queue.take(), Job)


def test_calls_come_out_in_their_order_without_those_that_were_cancelled(
    listener: Listener,
) -> None:
    queue, job = make_queue(listener), make_job()
    calls = [queue.call(lambda engine: engine) for _ in range(3)]
    queue.submit(job)
    assert calls[1].cancel()
    taken = [queue.take() for _ in range(3)]
    assert [entry.done for entry in taken if isinstance(entry, Call)] == [calls[0], calls[2]]
    assert taken[2] is job


def test_a_call_that_was_taken_cannot_be_cancelled(listener: Listener) -> None:
    queue = make_queue(listener)
    done = queue.call(lambda engine: engine)
    queue.take()
    assert not done.cancel()


def test_waiting_calls_have_a_limit_of_their_own(listener: Listener) -> None:
    queue = make_queue(listener, size=2)
    queue.submit(make_job())
    queue.submit(make_job())
    calls = [queue.call(lambda engine: engine) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 calls wait already"):
        queue.call(lambda engine: engine)
    calls[0].cancel()
    queue.call(lambda engine: engine)


def test_the_queue_is_busy_while_a_call_runs(listener: Listener) -> None:
    queue, job = make_queue(listener), make_job()
    queue.call(lambda engine: engine)
    assert not queue.is_busy
    queue.take()
    assert queue.is_busy
    queue.submit(job)
    queue.take()
    queue.end(job, FinishReason.SUCCESS)
    assert not queue.is_busy


def test_closing_leaves_a_cancelled_call_alone(listener: Listener) -> None:
    queue = make_queue(listener)
    done = queue.call(lambda engine: engine)
    done.cancel()
    queue.close()
    assert done.cancelled()


def test_running_and_waiting_jobs_count_for_the_size(listener: Listener) -> None:
    queue = make_queue(listener, size=2)
    running = make_job()
    queue.submit(running)
    queue.take()
    queue.submit(make_job())
    with pytest.raises(QueueFullError):
        queue.submit(make_job())
    queue.end(running, FinishReason.SUCCESS)
    queue.submit(make_job())


def test_f27_exactly_as_many_as_allowed_are_accepted_at_once(listener: Listener) -> None:
    queue, start = make_queue(listener, size=50), threading.Barrier(100)

    def submit() -> bool:
        start.wait()
        try:
            queue.submit(make_job())
        except QueueFullError:
            return False
        return True

    with ThreadPoolExecutor(max_workers=100) as pool:
        accepted = list(pool.map(lambda _: submit(), range(100)))
    assert sum(accepted) == 50
    assert len(queue.view().unfinished) == 50


def test_ending_a_job_completes_its_future_with_the_visible_result(listener: Listener) -> None:
    queue, job = make_queue(listener), make_job()
    queue.submit(job)
    queue.take()
    failure = Failure(code=ErrorCode.ENGINE_ERROR, text="because")
    queue.end(job, FinishReason.ERROR, failure)
    view = job.done.result(timeout=0)
    assert (view.stage, view.failure) == (JobStage.ERROR, failure)
    assert view.queued_ms <= view.started_ms <= view.finished_ms
    assert queue.find(job.id) == view
    assert listener.finished == [view]
    assert queue.view().unfinished == ()


def test_waiting_caller_cannot_cancel_the_future(listener: Listener) -> None:
    job = make_job()
    assert not job.done.cancel()


def test_memory_is_bounded_and_the_store_keeps_all(listener: Listener) -> None:
    store = MemoryStore()
    queue, jobs = make_queue(listener, store=store), [make_job() for _ in range(MEMORY_LIMIT + 1)]
    for job in jobs:
        run(queue, job)
    assert len(queue.view().finished) == MEMORY_LIMIT
    with pytest.raises(JobNotFoundError):
        queue.find(jobs[0].id)
    assert len(store.views) == MEMORY_LIMIT + 1


def test_stop_reaches_the_running_job_alone(listener: Listener) -> None:
    queue, first, second = make_queue(listener), make_job(), make_job()
    queue.stop_running()
    queue.submit(first)
    queue.submit(second)
    queue.take()
    queue.stop_running()
    assert (first.token.is_cancelled, second.token.is_cancelled) == (True, False)


def test_closing_keeps_what_waits_and_accepts_nothing(listener: Listener) -> None:
    store = MemoryStore()
    queue, running, waiting = make_queue(listener, store=store), make_job(), make_job()
    queue.submit(running)
    queue.take()
    queue.submit(waiting)
    call = queue.call(lambda engine: engine)
    queue.close()
    with pytest.raises(JobKeptError, match=waiting.id):
        waiting.done.result(timeout=0)
    with pytest.raises(ServerStoppingError):
        call.result(timeout=0)
    assert not running.done.done()
    assert queue.take() is None
    with pytest.raises(ServerStoppingError):
        queue.submit(make_job())
    with pytest.raises(ServerStoppingError):
        queue.call(lambda engine: engine)
    assert [view.id for view in store.unfinished()] == [running.id, waiting.id]


def test_listener_that_fails_does_not_touch_the_job(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view: JobView) -> None:
        raise OSError("no connection")

    queue = JobQueue(store=MemoryStore(), size=1, on_finished=fail, clock=make_clock())
    job = make_job()
    queue.submit(job)
    queue.take()
    queue.end(job, FinishReason.SUCCESS)
    assert job.done.result(timeout=0).stage is JobStage.SUCCESS
    assert job.id in caplog.text


def test_clock_never_goes_back() -> None:
    clock = make_clock()
    times = [clock() for _ in range(100)]
    assert times == sorted(times)
    assert times[0] > 1_600_000_000_000


def test_f15_an_earlier_clock_that_was_ahead_is_not_gone_back_behind() -> None:
    ahead_ms = make_clock()() + 3_600_000
    clock = make_clock(not_before_ms=ahead_ms)
    assert ahead_ms <= clock() < ahead_ms + 60_000


def test_f15_times_of_a_job_are_in_order_although_the_clock_went_back(listener: Listener) -> None:
    times = iter([500, 100])
    queue = JobQueue(
        store=MemoryStore(),
        size=1,
        on_finished=listener.finished.append,
        clock=lambda: next(times),
    )
    job = make_job(queued_ms=1000)
    run(queue, job)
    view = job.done.result(timeout=0)
    assert (view.queued_ms, view.started_ms, view.finished_ms) == (1000, 1000, 1000)


def test_f12_an_end_that_cannot_be_stored_is_stored_when_that_is_possible_again(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    queue, first, second = make_queue(listener, store=store), make_job(), make_job()
    queue.submit(first)
    queue.submit(second)
    queue.take()
    store.failure = StoreError("disk full")
    queue.end(first, FinishReason.SUCCESS)
    assert first.done.result(timeout=0).reason is FinishReason.SUCCESS
    assert store.views[first.id].stage is JobStage.RUNNING
    assert "disk full" in caplog.text
    store.failure = None
    queue.take()
    assert store.views[first.id].stage is JobStage.SUCCESS


def test_f12_a_job_whose_begin_cannot_be_stored_fails_and_the_next_thing_is_done(
    listener: Listener,
) -> None:
    store = MemoryStore()
    queue, job = make_queue(listener, store=store), make_job()
    queue.submit(job)
    store.failure = StoreError("disk full")
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(queue.take)
        view = job.done.result(timeout=WAIT_S)
        assert view.failure == Failure(code=ErrorCode.STORAGE_FULL, text="disk full")
        queue.call(lambda engine: engine)
        assert isinstance(taking.result(timeout=WAIT_S), Call)


def test_a_job_that_cannot_be_stored_is_not_accepted(listener: Listener) -> None:
    store = MemoryStore()
    store.failure = StoreError("disk full")
    queue = make_queue(listener, size=1, store=store)
    with pytest.raises(StoreError):
        queue.submit(make_job())
    store.failure = None
    queue.submit(make_job())


def test_a_paused_queue_serves_calls_and_begins_no_job(listener: Listener) -> None:
    queue, job = make_queue(listener), make_job()
    queue.pause()
    queue.submit(job)
    with ThreadPoolExecutor(1) as pool:
        queue.call(lambda engine: engine)
        assert isinstance(pool.submit(queue.take).result(timeout=WAIT_S), Call)
        taking = pool.submit(queue.take)
        assert queue.is_paused
        queue.resume()
        assert taking.result(timeout=WAIT_S) is job


def test_skip_reaches_the_running_job_alone(listener: Listener) -> None:
    queue, running, waiting = make_queue(listener), make_job(), make_job()
    queue.submit(running)
    queue.submit(waiting)
    with pytest.raises(JobNotRunningError):
        queue.skip(running.id)
    queue.take()
    queue.skip(running.id)
    with pytest.raises(ImageSkipped):
        running.token.raise_if_skipped()
    running.token.raise_if_skipped()
    waiting.token.raise_if_skipped()
    with pytest.raises(JobNotFoundError):
        queue.skip("nobody")
