"""The numbered events of a job."""

from __future__ import annotations

from fooocusapi.jobs.journal import CAPACITY, Journal
from fooocusapi.schemas.vocabulary import JobEvent


def numbers(journal: Journal[str], since: int = 0) -> list[int]:
    return [entry.number for entry in journal.since(since)]


def test_events_are_numbered_and_can_be_read_from_any_place() -> None:
    journal: Journal[str] = Journal()
    for kind in (JobEvent.QUEUED, JobEvent.STARTED, JobEvent.PROGRESS):
        journal.add(kind, kind)
    assert numbers(journal) == [1, 2, 3]
    assert [entry.fact for entry in journal.since(2)] == ["progress"]
    assert journal.since(3) == []
    assert (journal.newest, journal.is_over) == (3, False)


def test_the_oldest_events_go_when_there_are_too_many_and_that_is_known() -> None:
    journal: Journal[str] = Journal()
    for _ in range(CAPACITY + 3):
        journal.add(JobEvent.PROGRESS, "x")
    assert numbers(journal) == list(range(4, CAPACITY + 4))
    assert [journal.is_gone(number) for number in (2, 3, 4)] == [True, False, False]


def test_only_the_newest_preview_is_kept_and_none_after_the_end() -> None:
    journal: Journal[str] = Journal()
    for number in range(3):
        journal.add(JobEvent.PREVIEW, f"picture {number}")
        journal.add(JobEvent.PROGRESS, "x")
    assert numbers(journal) == [2, 4, 5, 6]
    journal.add(JobEvent.COMPLETED, "end")
    assert numbers(journal) == [2, 4, 6, 7]
    assert journal.is_over


def test_a_listener_is_told_of_each_event_until_it_is_taken_away() -> None:
    journal: Journal[str] = Journal()
    heard: list[int] = []
    journal.listen(lambda: heard.append(journal.newest))
    journal.add(JobEvent.QUEUED, "x")
    journal.listen(None)
    journal.add(JobEvent.STARTED, "x")
    assert heard == [1]
