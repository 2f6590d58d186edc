"""Remembers what took long to make, as long as it is not crowded out by what was made later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fooocus_core.params import Image

Made = TypeVar("Made")


class Recent(Generic[Made]):
    """The last few things that were asked for, by what they are made of."""

    def __init__(self, limit: int) -> None:
        """Start empty; at most ``limit`` things are kept."""
        self._limit = limit
        self._made: dict[Hashable, Made] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The thing of this key; made if it is not there. What fails leaves nothing."""
        made = self._made.pop(key) if key in self._made else make()
        # Last in the order of the table, whose first is what was not asked for the longest.
        self._made[key] = made
        if len(self._made) > self._limit:
            del self._made[next(iter(self._made))]
        return made

    def clear(self) -> None:
        """Forget all of them."""
        self._made.clear()


def content_key(image: Image) -> Hashable:
    """Equal for pictures, uint8 (H, W, 3), that show the same."""
    return image.shape, hashlib.sha256(image.tobytes()).digest()
