"""The life of jobs, whatever order things happen in: one final state each, and none forgotten."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fooocusapi.exceptions import JobFinishedError, JobNotFoundError
from fooocusapi.input_files import InputFiles
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.database import embedded_url, open_database
from fooocusapi.jobs.job import Failure, Job, JobView, SavedImage
from fooocusapi.jobs.outbox import Message, Outbox, new_message_id
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.store import JobStore
from fooocusapi.recovery import Recovery
from fooocusapi.schemas.vocabulary import (
    ErrorCode,
    FinishReason,
    JobStage,
    MessageType,
    WebhookEvent,
)
from fooocusapi.storage import Storage
from tests.fakes import WAIT_S
from tests.jobs import MemoryStore, make_job

MAX_ATTEMPTS = 2


class Life(RuleBasedStateMachine):
    """Jobs that are submitted, begun, cancelled, finished, and servers that crash or stop."""

    store: JobStore
    outbox: Outbox
    queue: JobQueue

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.accepted: list[str] = []
        self.ended: dict[str, JobView] = {}
        self.attempts: dict[str, int] = {}
        self.running: Job | None = None
        self.start_server()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def start_server(self) -> None:
        database = open_database(embedded_url(self.folder))
        self.store = JobStore(database, self.messages)
        self.outbox = Outbox(database)
        self.queue = JobQueue(
            store=self.store,
            size=1000,
            on_finished=self.note_end,
            clock=make_clock(self.store.latest_ms()),
        )
        storage = Storage(self.folder, "http://x", today=lambda: None)  # type: ignore[arg-type,return-value]
        Recovery(
            store=self.store,
            queue=self.queue,
            storage=storage,
            input_files=InputFiles(self.folder),
            remove_images=lambda _: None,
            max_attempts=MAX_ATTEMPTS,
        ).run()

    def messages(self, view: JobView, event: WebhookEvent) -> tuple[Message, ...]:
        """Somebody wants to know of every end."""
        now_ms = self.queue.now_ms()
        message = Message(
            id=new_message_id(),
            job_id=view.id,
            type=MessageType.COMPLETED,
            target=None,
            body="{}",
            made_ms=now_ms,
            due_ms=now_ms,
        )
        return (message,) if event is WebhookEvent.COMPLETED else ()

    def note_end(self, view: JobView) -> None:
        assert view.id not in self.ended, "a job ended twice"
        self.ended[view.id] = view

    @rule()
    def submit(self) -> None:
        job = make_job(queued_ms=self.queue.now_ms())
        self.queue.submit(job)
        self.accepted.append(job.id)

    @precondition(lambda self: self.running is None and self.waiting())
    @rule()
    def take(self) -> None:
        expected = self.waiting()[0]
        job = self.queue.take()
        assert isinstance(job, Job)
        assert job.id == expected
        self.running = job
        self.attempts[job.id] = self.attempts.get(job.id, 0) + 1
        assert job.view().attempt == self.attempts[job.id] <= MAX_ATTEMPTS

    @precondition(lambda self: self.running is not None)
    @rule()
    def make_image(self) -> None:
        job = self.require_running()
        position = len(job.view().images)
        image = SavedImage(date="d", name=f"{position}.png", seed=position)
        self.store.add_image(job.id, position, image)
        job.add_image(image)

    @precondition(lambda self: self.running is not None)
    @rule(succeeds=st.booleans())
    def finish(self, succeeds: bool) -> None:
        job = self.require_running()
        self.running = None
        failure = Failure(code=ErrorCode.ENGINE_ERROR, text="x")
        if succeeds:
            self.queue.end(job, FinishReason.SUCCESS)
        else:
            self.queue.end(job, FinishReason.ERROR, failure)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.accepted))
        before = self.ended.get(job_id)
        try:
            self.queue.cancel(job_id)
        except JobFinishedError:
            assert before is not None
            assert not before.is_cancelled
        except JobNotFoundError:
            assert before is not None, "only of an earlier run"
        if self.running is None or self.running.id != job_id:
            assert job_id in self.ended

    @rule()
    def crash(self) -> None:
        """The process ends without a word."""
        self.store.close()
        running, self.running = self.running, None
        self.start_server()
        if running is None:
            return
        if running.is_cancel_asked:
            assert self.ended[running.id].is_cancelled
        elif self.attempts[running.id] >= MAX_ATTEMPTS:
            assert self.ended[running.id].failure is not None
        else:
            assert running.id not in self.ended

    @rule()
    def stop(self) -> None:
        """The server is told to stop: what runs goes back and does not count."""
        self.queue.close()
        if self.running is not None:
            cancelled = self.running.is_cancel_asked
            self.queue.put_back(self.running)
            if not cancelled:
                self.attempts[self.running.id] -= 1
            self.running = None
        self.store.close()
        self.start_server()

    @invariant()
    def every_job_is_where_it_should_be(self) -> None:
        unfinished = [record.view for record in self.store.unfinished()]
        expected = [job_id for job_id in self.accepted if job_id not in self.ended]
        assert [view.id for view in unfinished] == expected
        assert [view.id for view in self.queue.view().unfinished] == expected
        running = [view.id for view in unfinished if view.stage is JobStage.RUNNING]
        assert running == ([] if self.running is None else [self.running.id])
        for view in self.ended.values():
            record = self.store.find(view.id)
            assert record is not None
            assert record.view.reason is view.reason
            assert record.view.images == view.images
            assert view.queued_ms <= max(view.started_ms, view.queued_ms) <= view.finished_ms

    @invariant()
    def every_end_is_to_be_told_once(self) -> None:
        told = [record.message.job_id for record in self.outbox.page(limit=1000)]
        assert sorted(told) == sorted(self.ended)

    def waiting(self) -> list[str]:
        return [view.id for view in self.queue.view().unfinished if view.stage is JobStage.WAITING]

    def require_running(self) -> Job:
        assert self.running is not None
        return self.running


Life.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLife = Life.TestCase


@pytest.mark.parametrize("rounds", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_f26_two_cancels_and_a_finish_at_the_same_moment_give_one_final_state(rounds: int) -> None:
    """On threads that begin each round together."""
    ended: list[JobView] = []
    ticks = itertools.count()
    queue = JobQueue(
        store=MemoryStore(), size=10, on_finished=ended.append, clock=lambda: next(ticks)
    )
    gate = threading.Barrier(3)
    jobs: list[Job] = []

    def cancel() -> int:
        refused = 0
        for number in range(rounds):
            gate.wait(WAIT_S)
            try:
                queue.cancel(jobs[number].id)
            except JobFinishedError:
                refused += 1
            gate.wait(WAIT_S)
        return refused

    with ThreadPoolExecutor(2) as pool:
        cancellers = [pool.submit(cancel) for _ in range(2)]
        for _ in range(rounds):
            job, other = make_job(), make_job()
            queue.submit(job)
            queue.submit(other)
            assert queue.take() is job
            jobs.append(job)
            gate.wait(WAIT_S)
            queue.end(job, FinishReason.SUCCESS)
            gate.wait(WAIT_S)
            assert other.view().stage is JobStage.WAITING
            assert not other.token.is_cancelled
            queue.take()
            queue.end(other, FinishReason.SUCCESS)
        refused = [canceller.result(WAIT_S) for canceller in cancellers]
    assert [view.id for view in ended[::2]] == [job.id for job in jobs]
    cancelled = [job.view().is_cancelled for job in jobs]
    # Both cancels of a round are answered alike, by what became of the job.
    assert refused == [rounds - sum(cancelled)] * 2
