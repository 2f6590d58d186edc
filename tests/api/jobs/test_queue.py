"""The queue: order, limits, history, closing."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fooocus_core.params import CanvasParams, GenerationParams, ModelParams
from fooocusapi.exceptions import (
    HistoryEntryNotFoundError,
    JobNotFinishedError,
    JobNotFoundError,
    QueueFullError,
    ServerStoppingError,
    StorageError,
)
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.job import Delivery, Job, JobView
from fooocusapi.jobs.queue import Call, JobQueue
from fooocusapi.schemas.vocabulary import FinishReason, JobKind, JobStage


class Listener:
    """Collects what the queue announces."""

    def __init__(self) -> None:
        self.finished: list[JobView] = []
        self.dropped: list[JobView] = []


@pytest.fixture
def listener() -> Listener:
    return Listener()


def make_queue(listener: Listener, size: int = 10, history: int = 0) -> JobQueue:
    ticks = itertools.count(1000)
    return JobQueue(
        size=size,
        history=history,
        on_finished=listener.finished.append,
        on_dropped=listener.dropped.append,
        clock=lambda: next(ticks),
    )


def make_job(seed: int = 0) -> Job:
    params = GenerationParams(models=ModelParams(base="x"), canvas=CanvasParams(seed=seed))
    return Job(
        kind=JobKind.TEXT_TO_IMAGE,
        params=params,
        delivery=Delivery(),
        warnings=(),
        queued_ms=999,
    )


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


def test_exactly_as_many_as_allowed_are_accepted_at_once(listener: Listener) -> None:
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
    queue.end(job, FinishReason.ERROR, "because")
    view = job.done.result(timeout=0)
    assert (view.stage, view.error) == (JobStage.ERROR, "because")
    assert view.queued_ms <= view.started_ms <= view.finished_ms
    assert queue.find(job.id) == view
    assert listener.finished == [view]
    assert queue.view().unfinished == ()


def test_waiting_caller_cannot_cancel_the_future(listener: Listener) -> None:
    job = make_job()
    assert not job.done.cancel()


def test_history_beyond_the_limit_is_dropped_oldest_first(listener: Listener) -> None:
    queue, jobs = make_queue(listener, history=2), [make_job() for _ in range(4)]
    for job in jobs:
        queue.submit(job)
        queue.take()
        queue.end(job, FinishReason.SUCCESS)
    assert [view.id for view in queue.view().finished] == [job.id for job in jobs[2:]]
    assert [view.id for view in listener.dropped] == [job.id for job in jobs[:2]]


def test_without_a_limit_memory_is_bounded_and_files_stay(listener: Listener) -> None:
    queue = make_queue(listener)
    for _ in range(1001):
        job = make_job()
        queue.submit(job)
        queue.take()
        queue.end(job, FinishReason.SUCCESS)
    assert len(queue.view().finished) == 1000
    assert listener.dropped == []


def test_delete_tells_apart_unknown_unfinished_and_finished(listener: Listener) -> None:
    queue, job = make_queue(listener), make_job()
    with pytest.raises(HistoryEntryNotFoundError):
        queue.delete(job.id)
    queue.submit(job)
    with pytest.raises(JobNotFinishedError):
        queue.delete(job.id)
    queue.take()
    queue.end(job, FinishReason.SUCCESS)
    queue.delete(job.id)
    with pytest.raises(JobNotFoundError):
        queue.find(job.id)
    assert [view.id for view in listener.dropped] == [job.id]


def test_stop_reaches_the_running_job_alone(listener: Listener) -> None:
    queue, first, second = make_queue(listener), make_job(), make_job()
    queue.stop_running()
    queue.submit(first)
    queue.submit(second)
    queue.take()
    queue.stop_running()
    assert (first.token.is_cancelled, second.token.is_cancelled) == (True, False)


def test_closing_ends_what_waits_and_accepts_nothing(listener: Listener) -> None:
    queue, running, waiting = make_queue(listener), make_job(), make_job()
    queue.submit(running)
    queue.take()
    queue.submit(waiting)
    call = queue.call(lambda engine: engine)
    queue.close()
    assert waiting.done.result(timeout=0).stage is JobStage.ERROR
    with pytest.raises(ServerStoppingError):
        call.result(timeout=0)
    assert not running.done.done()
    assert queue.take() is None
    with pytest.raises(ServerStoppingError):
        queue.submit(make_job())
    with pytest.raises(ServerStoppingError):
        queue.call(lambda engine: engine)


def test_listener_that_fails_does_not_touch_the_job(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view: JobView) -> None:
        raise OSError("no connection")

    queue = JobQueue(
        size=1,
        history=0,
        on_finished=fail,
        on_dropped=listener.dropped.append,
        clock=make_clock(),
    )
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


def finish(queue: JobQueue, job: Job, *, keep: bool = False) -> None:
    queue.submit(job, keep=keep)
    queue.take()
    queue.end(job, FinishReason.SUCCESS)


def test_a_job_that_is_kept_is_dropped_when_it_is_released(listener: Listener) -> None:
    queue, kept, others = make_queue(listener, history=1), make_job(), [make_job(), make_job()]
    for job in (kept, *others):
        finish(queue, job, keep=job is kept)
    assert [view.id for view in queue.view().finished] == [kept.id, others[1].id]
    assert [view.id for view in listener.dropped] == [others[0].id]
    queue.release(kept)
    assert [view.id for view in queue.view().finished] == [others[1].id]
    assert [view.id for view in listener.dropped] == [others[0].id, kept.id]


def test_a_job_whose_files_cannot_be_removed_stays(listener: Listener) -> None:
    def refuse(view: JobView) -> None:
        raise StorageError("no permission")

    queue = JobQueue(
        size=1, history=0, on_finished=listener.finished.append, on_dropped=refuse, clock=lambda: 1
    )
    job = make_job()
    finish(queue, job)
    with pytest.raises(StorageError):
        queue.delete(job.id)
    assert queue.find(job.id).id == job.id
