"""Weights that are lent to another device or dtype for a while, and taken back as they were.

Lending copies and taking back only lets go of the copies, so that no weight is rounded twice or
carried home. What changes weights must wait until none of them is lent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from fooocus_core.loading.memory import DevicePlan, Streaming

Carry = Callable[[Tensor], Tensor]
"""Copies a tensor to another device or dtype; may return the same one."""

# A block of an SDXL UNet is then one transformer layer or one residual block.
_PORTIONS = 16


class CarryTo(Protocol):
    """Copies a tensor to a device; may return the same one."""

    def __call__(self, tensor: Tensor, device: torch.device) -> Tensor:
        """The copy."""


class Lease:
    """The weights and buffers of a module, lent out between :meth:`begin` and :meth:`end`."""

    def __init__(self, module: nn.Module, carry: Carry) -> None:
        self._module = module
        self._carry = carry
        self._kept: list[tuple[Tensor, Tensor]] = []

    def begin(self) -> None:
        """Give the module copies of its tensors; call :meth:`end` also if that fails."""
        for tensor in chain(self._module.parameters(), self._module.buffers()):
            kept = tensor.data
            tensor.data = self._carry(kept)
            self._kept.append((tensor, kept))

    def end(self) -> None:
        """Give the module its own tensors back."""
        while self._kept:
            tensor, kept = self._kept.pop()
            tensor.data = kept


def lend_during_forward(module: nn.Module, carry: Carry) -> None:
    """Lend a module's weights whenever it computes, for good.

    The later of two such arrangements of one module copies what the earlier one copied.
    """
    lease = Lease(module, carry)
    module.register_forward_pre_hook(lambda *_: lease.begin())
    # First in, last out; and also when the module fails, as for lack of memory.
    module.register_forward_hook(lambda *_: lease.end(), prepend=True, always_call=True)


def carry_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device."""
    return tensor.to(device)


def stream_weights(network: nn.Module, plan: DevicePlan, carry: CarryTo = carry_to) -> None:
    """Bring a network's weights to the plan's device in its portions, whenever it computes.

    Args:
        network: Its weights lie in main memory; its parts are called as modules.
        plan: Portions and device; without portions nothing is done.
        carry: Copies to the device.
    """
    if plan.streaming is None:
        return
    weights = _size(network)
    largest = weights // _PORTIONS if plan.streaming is Streaming.BLOCKS else 0
    for module in portions(network, largest):
        lend_during_forward(module, partial(carry, device=plan.device))


def portions(network: nn.Module, largest: int) -> Iterator[nn.Module]:
    """Split a network into modules of at most ``largest`` weights; a layer may have more."""
    for child in network.children():
        size = _size(child)
        # A list of modules is never called itself.
        is_small = size <= largest and not isinstance(child, nn.ModuleList)
        if size and (is_small or not any(child.children())):
            yield child
        elif size:
            yield from portions(child, largest)


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
