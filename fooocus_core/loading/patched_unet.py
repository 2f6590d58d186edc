"""A UNet's weights with a patch file merged on top of its LoRAs, at hand beside its own.

Does not know what the patch is for, nor where the UNet computes.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from fooocus_core.loading.lora import match_lora, read_lora
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import weights_state
from fooocus_core.loading.weight_patches import PatchSet, patched_weights

_log = logging.getLogger(__name__)


class PatchedUNet:
    """Two sets of weights: one is in the UNet, the other one waits in main memory."""

    def __init__(self, unet: nn.Module, plan: DevicePlan) -> None:
        """Start without a patch."""
        self._unet = unet
        self._plan = plan
        self._other: dict[str, Tensor] = {}
        self._state: Hashable = None
        self._warnings: tuple[str, ...] = ()

    def prepare(self, file: Path | None, loras: Hashable) -> tuple[str, ...]:
        """Have the weights with this patch at hand, or no others than the UNet's own.

        Args:
            file: The patch, merged at strength 1; one that is at hand and has not changed is not
                read again.
            loras: What is merged into the UNet now.

        Returns:
            What of the file could not be used, one sentence each.

        Raises:
            ModelFileError: The file cannot be read; no patch is at hand then.
            DeviceMemoryError: The device has not enough memory; no patch is at hand then.
        """
        state = None if file is None else (weights_state(file), loras)
        if state != self._state:
            self.free()
            if file is not None:
                self._merge(file)
            self._state = state
        return self._warnings

    @property
    def state(self) -> Hashable:
        """Equal whenever the same patch is at hand, on top of the same LoRAs."""
        return self._state

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the patch in the UNet for the time of a ``with`` block.

        The two sets of weights change places, and change back: no bit is computed again. If they
        cannot, none does. No weight may be lent when the block begins or ends.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def free(self) -> None:
        """Forget the patch."""
        self._other, self._state, self._warnings = {}, None, ()

    def _merge(self, file: Path) -> None:
        _log.info("Patch %s", file.name)
        match = match_lora(read_lora(file), source=file.name, unet=self._unet)
        with memory_errors(f"merging {file.name}"):
            patched = patched_weights(
                self._unet,
                PatchSet(source=file.name, patches=match.unet, strength=1.0),
                device=self._plan.device,
                rounding=self._plan.unet,
            )
        self._other = dict(patched.values)
        self._warnings = (*match.warnings, *patched.warnings)

    def _exchange(self) -> None:
        exchanged: list[str] = []
        try:
            for name in self._other:
                self._exchange_weight(name)
                exchanged.append(name)
        except BaseException:
            for name in exchanged:
                self._exchange_weight(name)
            raise

    def _exchange_weight(self, name: str) -> None:
        weight, other = self._unet.get_parameter(name), self._other[name]
        own = weight.data
        if own.device.type == "cpu":
            weight.data, self._other[name] = other, own
        else:
            # In place, so that the device needs memory for one set only.
            self._other[name] = own.cpu()
            own.copy_(other)
