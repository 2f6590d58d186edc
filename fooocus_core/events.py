"""What a run tells its caller while it goes on, and how the caller stops it.

Knows neither jobs nor HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fooocus_core.choices import MetadataScheme
from fooocus_core.errors import ImageSkipped, RunCancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingStep:
    """Place of a sampling step inside the whole run; all numbers 0-based but the totals."""

    step: int
    steps: int
    image: int
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The core's own progress number (0-100) and status text."""

    percent: int
    text: str
    sampling: SamplingStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A small picture of the unfinished image, uint8 (H/4, W/4, 3)."""

    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something asked for was left out or replaced while running."""

    text: str


Event = Progress | Preview | Warned
EventSink = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """What is known about how a picture was made.

    Attributes:
        scheme: Format of ``text``.
        text: The text to embed into the file; ``None`` embeds nothing.
        rows: Ordered (label, key, value) rows for logs.
        positive, negative: The texts that were encoded, one by one.
    """

    scheme: MetadataScheme
    text: str | None
    rows: tuple[tuple[str, str, Any], ...]
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """A finished picture: uint8 (H, W, 3) RGB, its seed, and its record if one was asked for."""

    image: NDArray[np.uint8]
    seed: int
    record: ImageRecord | None = None


class CancelToken:
    """A one-way switch that ends one run; it belongs to that run alone.

    With it the picture being made can be ended, too, whereupon the run goes on with the next one.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._skip = threading.Event()

    def cancel(self) -> None:
        """Ask the run to stop at its next check."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was asked to stop."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise :class:`RunCancelled` if the run was asked to stop."""
        if self._event.is_set():
            raise RunCancelled

    def skip(self) -> None:
        """Ask the run to leave the picture being made at its next check."""
        self._skip.set()

    def raise_if_skipped(self) -> None:
        """Raise :class:`ImageSkipped`, once for a picture that was asked to be left."""
        if self._skip.is_set():
            self._skip.clear()
            raise ImageSkipped
