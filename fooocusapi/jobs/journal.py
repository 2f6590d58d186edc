"""What has happened lately, numbered, for whoever follows it; bounded, and open to late comers.

Knows nothing of jobs but the words for what happens to them, and no wire form.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Generic, TypeVar

from fooocusapi.schemas.vocabulary import JobEvent

Fact = TypeVar("Fact")

CAPACITY = 1024
"""So many events can be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[Fact]):
    """One event.

    Attributes:
        number: From 1, without end.
        fact: What was so then.
    """

    number: int
    kind: JobEvent
    fact: Fact


class Journal(Generic[Fact]):
    """Events in their order; written by one thread, read by others.

    Of previews only the newest is kept, because it is large and the older ones are of no use; at
    the end it goes, too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry[Fact]] = deque()
        self._preview: Entry[Fact] | None = None
        self._newest = 0
        self._dropped = 0
        self._listener: Callable[[], None] | None = None

    def add(self, kind: JobEvent, fact: Fact) -> None:
        """Write down an event."""
        with self._lock:
            self._newest += 1
            entry = Entry(number=self._newest, kind=kind, fact=fact)
            if kind is JobEvent.PREVIEW:
                self._preview = entry
            else:
                self._entries.append(entry)
                self._preview = None if kind.is_last else self._preview
            while len(self._entries) > CAPACITY:
                self._dropped = self._entries.popleft().number
            listener = self._listener
        if listener is not None:
            listener()

    def since(self, number: int) -> list[Entry[Fact]]:
        """Events after the one of that number, in their order."""
        with self._lock:
            # From the end, because many ask for the newest alone.
            news = takewhile(lambda entry: entry.number > number, reversed(self._entries))
            found = list(news)[::-1]
            if self._preview is not None and self._preview.number > number:
                found.append(self._preview)
        return sorted(found, key=lambda entry: entry.number)

    def is_gone(self, number: int) -> bool:
        """Whether any event after the one of that number cannot be read any more."""
        with self._lock:
            return number < self._dropped

    @property
    def newest(self) -> int:
        """Number of the newest event."""
        with self._lock:
            return self._newest

    @property
    def is_over(self) -> bool:
        """Whether no event follows."""
        with self._lock:
            return bool(self._entries) and self._entries[-1].kind.is_last

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Have somebody called at each event, on the thread that writes; ``None`` = nobody."""
        with self._lock:
            self._listener = listener
