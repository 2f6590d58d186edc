"""Messages in the database: what is due, and what is told together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import URL

from fooocusapi.jobs.database import connected, open_database
from fooocusapi.jobs.outbox import Message, Outbox, new_message_id, write_messages
from fooocusapi.jobs.store import JobStore
from fooocusapi.schemas.vocabulary import DeliveryStatus, FinishReason, JobStage, MessageType
from tests.jobs import make_stored, make_view


class Bench:
    """An outbox, and messages in it."""

    def __init__(self, url: URL) -> None:
        self.database = open_database(url)
        self.outbox = Outbox(self.database)

    def write(self, **changes: object) -> Message:
        message = replace(make_message(), **changes)  # type: ignore[arg-type]
        with connected(self.database) as connection:
            write_messages(connection, [message])
        return message


def make_message(body: str = "{}", now_ms: int = 100) -> Message:
    return Message(
        id=new_message_id(),
        job_id="a job",
        type=MessageType.IMAGE,
        target="http://receiver.example/",
        body=body,
        made_ms=now_ms,
        due_ms=now_ms,
    )


@pytest.fixture
def bench(store_url: URL) -> Iterator[Bench]:
    bench = Bench(store_url)
    yield bench
    bench.database.dispose()


def test_what_waits_longest_is_due_first_and_busy_targets_are_left_out(bench: Bench) -> None:
    late, early = bench.write(due_ms=20), bench.write(due_ms=10, target=None)
    bench.write(due_ms=1, status=DeliveryStatus.DELIVERED)
    future = bench.write(due_ms=31)
    due = bench.outbox.due
    assert [one.id for one in due(30, 9)] == [early.id, late.id]
    assert [one.id for one in due(30, 1)] == [early.id]
    assert [one.id for one in due(30, 9, [None])] == [late.id]
    assert [one.id for one in due(30, 9, [late.target])] == [early.id]
    assert bench.outbox.next_due_ms(30) == future.due_ms
    assert bench.outbox.next_due_ms(31) is None


def test_pictures_are_told_together_unless_one_was_sent_already(bench: Bench) -> None:
    outbox = bench.outbox
    for body, now_ms in (("1", 1000), ("2", 1100), ("3", 1200)):
        outbox.add_output(make_message(body, now_ms))
    found = [record.message for record in outbox.page(limit=9)][::-1]
    assert [(one.body, one.due_ms) for one in found] == [("1", 1000), ("3", 1500)]
    outbox.note_attempt(replace(found[1], attempts=1, due_ms=9000))
    outbox.add_output(make_message("4", 1600))
    assert [record.message.body for record in outbox.page(limit=9)] == ["4", "3", "1"]


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "nobody wants to know"])
def test_the_end_of_a_job_is_stored_together_with_its_message(bench: Bench, is_told: bool) -> None:
    view = make_view()
    message = make_message()
    store = JobStore(bench.database, lambda _view, _event: [message] if is_told else [])
    store.accept(view, make_stored())
    assert bench.outbox.page(limit=1) == []
    ended = replace(view, stage=JobStage.SUCCESS, reason=FinishReason.SUCCESS)
    store.save(ended)
    found = [record.message for record in bench.outbox.page(limit=1)]
    assert found == ([message] if is_told else [])
