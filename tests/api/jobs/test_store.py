"""The store: what goes in comes out, in order, after the file was closed as well."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from fooocusapi.exceptions import StoreError
from fooocusapi.jobs.database import open_database
from fooocusapi.jobs.job import Delivery, Failure, JobView, SavedImage
from fooocusapi.jobs.store import JobFilter, JobStore, KeyUse
from fooocusapi.schemas.vocabulary import (
    ErrorCode,
    FinishReason,
    JobKind,
    JobStage,
    JobStatus,
    SaveExtension,
)
from tests.jobs import make_stored, make_view


@pytest.fixture
def store(store_url: URL) -> Iterator[JobStore]:
    store = JobStore(open_database(store_url))
    yield store
    store.close()


def accept(store: JobStore, **changes: object) -> JobView:
    view = make_view(**changes)
    store.accept(view, make_stored())
    return view


def ended(store: JobStore, **changes: object) -> JobView:
    """A job that was accepted and has ended, with its pictures noted."""
    final = make_view(
        **{"stage": JobStage.SUCCESS, "reason": FinishReason.SUCCESS, "finished_ms": 5, **changes}
    )
    store.accept(make_view(id=final.id, kind=final.kind), make_stored())
    for position, image in enumerate(final.images):
        store.add_image(final.id, position, image)
    store.save(final)
    return final


def image(name: str, size_bytes: int = 10) -> SavedImage:
    return SavedImage(date="2026-01-02", name=name, seed=2**63 - 1, size_bytes=size_bytes)


def test_everything_about_a_job_comes_back_after_a_restart(store: JobStore, store_url: URL) -> None:
    view = ended(
        store,
        kind=JobKind.INPAINT_OUTPAINT,
        delivery=Delivery(
            extension=SaveExtension.WEBP, name="é", base64=True, webhook="http://x.example"
        ),
        seed=2**63 - 1,
        stage=JobStage.ERROR,
        reason=FinishReason.ERROR,
        failure=Failure(code=ErrorCode.MODEL_CORRUPT, text="bad \ud800 \0 text"),
        warnings=("one \ud800", "two"),
        attempt=2,
        images=(image("a.png"), image("b.png")),
        started_ms=3,
    )
    store.close()
    again = JobStore(open_database(store_url))
    record = again.find(view.id)
    again.close()
    assert record is not None
    assert record.view == view
    assert record.stored == make_stored()


def test_unfinished_jobs_come_out_in_the_order_of_acceptance(store: JobStore) -> None:
    views = [accept(store, queued_ms=1000 - number) for number in range(20)]
    store.start(make_view(id=views[7].id, stage=JobStage.RUNNING, attempt=1))
    ended(store)
    assert [record.view.id for record in store.unfinished()] == [view.id for view in views]


def test_the_number_of_a_removed_job_is_not_used_again(store: JobStore) -> None:
    first = accept(store)
    found = store.find(first.id)
    assert store.remove(first.id)
    assert not store.remove(first.id)
    second = store.find(accept(store).id)
    assert found is not None
    assert second is not None
    assert second.number > found.number


def test_a_job_whose_key_cannot_be_stored_is_not_stored_either(store: JobStore) -> None:
    use = KeyUse(scope="s", key="k", fingerprint="f")
    first, second = make_view(), make_view()
    store.accept(first, make_stored(), use)
    with pytest.raises(StoreError):
        store.accept(second, make_stored(), use)
    assert store.find(second.id) is None
    assert store.find_key("s", "k") == ("f", first.id)
    assert store.find_key("other", "k") is None


def test_old_keys_are_dropped(store: JobStore) -> None:
    for made in (1, 5):
        use = KeyUse(scope="s", key=str(made), fingerprint="f")
        store.accept(make_view(queued_ms=made), make_stored(), use)
    store.drop_keys(5)
    assert store.find_key("s", "1") is None
    assert store.find_key("s", "5") is not None


def test_a_picture_that_was_noted_but_never_finished_is_not_part_of_the_end(
    store: JobStore,
) -> None:
    view = accept(store)
    store.add_image(view.id, 0, image("a.png"))
    store.add_image(view.id, 1, image("b.png"))
    store.add_image(view.id, 1, image("b-1.png"))
    noted = store.find(view.id)
    assert noted is not None
    assert [saved.name for saved in noted.view.images] == ["a.png", "b-1.png"]
    store.save(make_view(id=view.id, stage=JobStage.ERROR, images=(image("a.png"),)))
    final = store.find(view.id)
    assert final is not None
    assert [saved.name for saved in final.view.images] == ["a.png"]


def test_counts_and_bytes_are_those_of_ended_jobs(store: JobStore) -> None:
    waiting = accept(store)
    store.add_image(waiting.id, 0, image("x.png", 1000))
    assert (store.count_finished(), store.finished_bytes(), store.latest_ms()) == (0, 0, 1)
    ended(store, images=(image("a.png", 20), image("b.png", 30)), finished_ms=77)
    assert (store.count_finished(), store.finished_bytes(), store.latest_ms()) == (1, 50, 77)


def test_pages_are_filtered(store: JobStore) -> None:
    waiting = accept(store)
    done = ended(store)
    failed = ended(store, stage=JobStage.ERROR, reason=FinishReason.ERROR)
    cancelled = ended(store, is_cancelled=True, kind=JobKind.UPSCALE_VARY)

    def ids(wanted: JobFilter) -> list[str]:
        return [record.view.id for record in store.page(wanted, 10)]

    assert ids(JobFilter()) == [cancelled.id, failed.id, done.id, waiting.id]
    assert ids(JobFilter(statuses=[JobStatus.SUCCEEDED])) == [done.id]
    assert ids(JobFilter(statuses=[JobStatus.CANCELED, JobStatus.QUEUED])) == [
        cancelled.id,
        waiting.id,
    ]
    assert ids(JobFilter(statuses=[JobStatus.EXPIRED])) == []
    assert ids(JobFilter(kinds=[JobKind.UPSCALE_VARY])) == [cancelled.id]
    number = store.page(JobFilter(), 10)[1].number
    assert ids(JobFilter(before=number)) == [done.id, waiting.id]
    assert [record.view.id for record in store.finished(limit=2, offset=1)] == [failed.id, done.id]
    assert [record.view.id for record in store.finished(limit=9, job_id=done.id)] == [done.id]
    assert [record.view.id for record in store.oldest_finished(1)] == [done.id]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_page_of_a_long_history_is_quick(store: JobStore) -> None:
    with store._engine.begin() as connection:
        row = "'00000000-0000-0000-0000-' || printf('%012d', n)"
        connection.exec_driver_sql(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
            "WHERE n < 10000) INSERT INTO fooocusapi_jobs SELECT NULL, "
            f"{row}, 'Text to Image', 'SUCCESS', 'SUCCESS', 0, 1, 0, 1, 1, 1, '{{}}', '{{}}', 0, "
            '\'{"extension": "png", "name": "", "base64": false, "webhook": null}\', \'[]\', '
            "NULL, NULL FROM numbers"
        )
    began = time.process_time()
    assert len(store.page(JobFilter(before=5000), 50)) == 50
    assert len(store.finished(limit=50, offset=5000)) == 50
    assert store.unfinished() == []
    # 50 ms each is what is promised; this machine may be busy.
    assert time.process_time() - began < 1
