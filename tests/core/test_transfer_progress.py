"""Words for bytes, and telling of them not too often."""

from __future__ import annotations

import pytest

from fooocus_core.transfer_progress import at_intervals, shown_size, shown_transfer


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (213_777, "214 kB"),
        (395_733_680, "396 MB"),
        (7_100_000_000, "7.1 GB"),
        (2 * 10**15, "2000.0 TB"),
        (None, "unknown size"),
    ],
)
def test_sizes_are_shown_in_the_largest_unit(size: int | None, text: str) -> None:
    assert shown_size(size) == text


def test_a_transfer_of_unknown_size_shows_what_is_there() -> None:
    assert shown_transfer(5_000_000, 34_000_000) == "5 MB of 34 MB"
    assert shown_transfer(5_000_000, None) == "5 MB"


def test_the_first_the_complete_and_some_between_are_told() -> None:
    told: list[int] = []
    times = iter([0, 1, 2, 3, 4, 5])
    tell = at_intervals(lambda done, _: told.append(done), 2, lambda: next(times))
    for done in (10, 20, 30, 40, 50, 60):
        tell(done, 60)
    assert told == [10, 30, 50, 60]
