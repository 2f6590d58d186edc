"""What is removed, when, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fooocusapi.exceptions import StorageError
from fooocusapi.jobs.job import JobView, SavedImage
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.retention import Limits, Retention
from fooocusapi.jobs.store import JobStore, KeyUse
from fooocusapi.schemas.vocabulary import FinishReason
from tests.jobs import make_job, make_stored, make_view, open_store

DAY_MS = 24 * 3600 * 1000


class Bench:
    """A store with ended jobs, one per day, each with a picture of 100 bytes."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = DAY_MS
        self.store: JobStore = open_store(folder)
        self.queue = JobQueue(
            store=self.store, size=10, on_finished=lambda _: None, clock=lambda: self.now_ms
        )
        self.inputs: list[str] = []
        self.removed: list[str] = []
        self.failure: StorageError | None = None

    def retention(self, **limits: int) -> Retention:
        return Retention(self.queue, self.store, Limits(**limits), self.inputs.append, self._remove)

    def _remove(self, view: JobView) -> None:
        if self.failure is not None:
            raise self.failure
        self.removed.append(view.id)

    def end_job(self) -> str:
        job = make_job(queued_ms=self.now_ms)
        self.queue.submit(job)
        self.queue.take()
        image = SavedImage(date="d", name=f"{job.id}.png", seed=0, size_bytes=100)
        self.store.add_image(job.id, 0, image)
        job.add_image(image)
        self.queue.end(job, FinishReason.SUCCESS)
        self.now_ms += DAY_MS
        return job.id

    def left(self) -> list[str]:
        return [record.view.id for record in self.store.oldest_finished(1000)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def run_once(retention: Retention) -> None:
    retention.start()
    retention.stop()


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, 5),
        ({"count": 2}, 2),
        ({"count": 9}, 5),
        ({"days": 3}, 3),
        ({"size_bytes": 250}, 2),
        ({"size_bytes": 99}, 0),
        ({"count": 4, "days": 3, "size_bytes": 150}, 1),
    ],
    ids=str,
)
def test_jobs_beyond_a_limit_go_the_oldest_first(
    bench: Bench, limits: dict[str, int], kept: int
) -> None:
    ids = [bench.end_job() for _ in range(5)]
    waiting = make_view()
    bench.store.accept(waiting, make_stored())
    run_once(bench.retention(**limits))
    assert bench.left() == ids[5 - kept :]
    assert bench.removed == ids[: 5 - kept]
    assert [record.view.id for record in bench.store.unfinished()] == [waiting.id]
    assert [view.id for view in bench.queue.view().finished] == bench.left()


def test_many_superfluous_jobs_go_at_once(bench: Bench) -> None:
    ids = [bench.end_job() for _ in range(120)]
    run_once(bench.retention(count=3))
    assert bench.left() == ids[-3:]


def test_a_job_that_is_kept_goes_when_it_is_released(bench: Bench) -> None:
    ids = [bench.end_job() for _ in range(3)]
    retention = bench.retention(count=1)
    retention.keep(ids[0])
    run_once(retention)
    assert bench.left() == [ids[0]]
    after = bench.retention(count=0, size_bytes=1)
    after.keep(ids[0])
    after.release(ids[0])
    run_once(after)
    assert bench.left() == []


def test_inputs_of_ended_jobs_go(bench: Bench) -> None:
    retention = bench.retention()
    retention.look("a job")
    run_once(retention)
    assert bench.inputs == ["a job"]


def test_a_job_whose_files_cannot_be_removed_stays(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [bench.end_job() for _ in range(2)]
    bench.failure = StorageError("no permission")
    retention = bench.retention(count=1)
    run_once(retention)
    assert bench.left() == ids
    assert "no permission" in caplog.text
    with pytest.raises(StorageError):
        retention.delete(ids[0])
    assert bench.left() == ids


def test_keys_are_forgotten_after_a_day(bench: Bench) -> None:
    use = KeyUse(scope="s", key="k", fingerprint="f")
    bench.store.accept(make_view(queued_ms=bench.now_ms), make_stored(), use)
    bench.now_ms += DAY_MS
    run_once(bench.retention())
    assert bench.store.find_key("s", "k") is not None
    bench.now_ms += 1
    run_once(bench.retention())
    assert bench.store.find_key("s", "k") is None
