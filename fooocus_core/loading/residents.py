"""Which networks' weights are on the device now; the others wait in main memory.

Used by the engine's one thread; knows nothing of what the networks are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from fooocus_core.errors import DeviceMemoryError
from fooocus_core.loading.leases import CarryTo, Lease, carry_to
from fooocus_core.loading.memory import (
    DevicePlan,
    free_bytes,
    free_cached_memory,
    memory_errors,
)

# What sampling and decoding a large picture need beside the weights.
WORKING_MEMORY = 8 * 2**30


class Residents:
    """Brings networks to their device; the others leave it if they would be in the way.

    Where the plan has networks stay on their device, there is nothing to bring.
    """

    def __init__(
        self,
        plan: DevicePlan,
        carry: CarryTo = carry_to,
        free: Callable[[torch.device], int] = free_bytes,
    ) -> None:
        """Start with nothing on the device.

        Args:
            plan: Where networks run.
            carry: Copies a tensor to a device.
            free: Tells how many bytes of a device are free.
        """
        self._plan = plan
        self._carry = carry
        self._free = free
        self._leases: dict[nn.Module, Lease] = {}

    def bring(self, *networks: nn.Module, device: torch.device) -> None:
        """Have these networks on ``device``, where they stay until others need their place.

        The others leave unless, with them there, the device has ``WORKING_MEMORY`` to spare.
        Without networks everything leaves. What computes in main memory makes nothing leave.

        Raises:
            DeviceMemoryError: The device has not enough memory; nothing is on it then.
        """
        if self._plan.home_of(device) == device:
            return
        if not networks or self._is_crowded(networks, device):
            self.leave(*(network for network in self._leases if network not in networks))
        for network in networks:
            if network in self._leases:
                continue
            lease = self._leases[network] = Lease(network, partial(self._carry, device=device))
            try:
                with memory_errors("bringing a network to the device"):
                    lease.begin()
            except DeviceMemoryError:
                self.clear()
                raise

    def clear(self) -> None:
        """Have all networks leave the device."""
        self.leave(*self._leases)

    def leave(self, *networks: nn.Module) -> None:
        """Have those of these networks that are on the device leave it."""
        leases = [self._leases.pop(network) for network in networks if network in self._leases]
        for lease in leases:
            lease.end()
        if leases:
            free_cached_memory()

    def _is_crowded(self, networks: Sequence[nn.Module], device: torch.device) -> bool:
        missing = (network for network in networks if network not in self._leases)
        needed: int = sum(
            tensor.nbytes for network in missing for tensor in network.state_dict().values()
        )
        spare: int = self._free(device) - needed
        return spare < WORKING_MEMORY
