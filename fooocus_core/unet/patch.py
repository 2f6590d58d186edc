"""Temporary changes to a UNet: what they have in common, and applying several.

Knows none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


class UNetPatch(Protocol):
    """A change to a UNet that can be put on and taken off."""

    def attached(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:
        """Change ``unet`` for the time of a ``with`` block; after it, it equals what it was."""


@contextmanager
def patched(unet: UNet2DConditionModel, patches: Sequence[UNetPatch]) -> Iterator[None]:
    """Attach patches in their order for the time of a ``with`` block, and detach them in reverse.

    Whatever is already attached is detached when attaching a later one, or the block, fails.
    """
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch.attached(unet))
        yield
