"""Muon for weights that are matrices or convolutions, AdamW for all others.

Muon takes steps of the same size in all directions of a matrix. Each picture teaches the embedded
model more that way than with AdamW alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 0.01


class MuonAndAdamW:
    """Both optimisers, following the gradients of the same loss."""

    def __init__(self, shares: Mapping[nn.Module, float]) -> None:
        """Divide the weights; embeddings, whose rows are learned one by one, are AdamW's.

        Args:
            shares: Modules, on their device, of which every weight is trained -> their share of
                the learning rate.
        """
        self._weights: list[nn.Parameter] = []
        self._matrices: list[nn.Parameter] = []
        muon: list[dict[str, Any]] = []
        adam: list[dict[str, Any]] = []
        for module, share in shares.items():
            singles, weights = _divided(module)
            # The same memory, seen as matrices: (outputs, all inputs of an output).
            matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in weights]
            self._weights += weights
            self._matrices += matrices
            muon.append({"params": matrices, "share": share})
            adam.append({"params": singles, "share": share})
        self._muon = torch.optim.Muon(
            muon, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
        )
        self._adam = torch.optim.AdamW(adam, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
        self._all = [*self._weights, *(w for group in adam for w in group["params"])]

    def follow(self, loss: Tensor, rate: float) -> None:
        """Take a step down a loss, (), at a learning rate; large gradients are shortened."""
        for weight in self._all:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self._all, 1.0)
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in (self._muon, self._adam):
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.step()  # type: ignore[no-untyped-call]  # torch has no types here

    def state_dict(self) -> dict[str, Any]:
        """Return what goes into a state file."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as in a state file."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


def _divided(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return what AdamW learns of a module, and what Muon does."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    singles: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    for weight in module.parameters():
        (singles if weight.ndim == 1 or id(weight) in embeddings else weights).append(weight)
    return singles, weights
