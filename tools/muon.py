"""Muon for weights that are matrices or convolutions, AdamW for all others.

Muon takes steps of the same size in all directions of a matrix. Each picture teaches the embedded
model more that way than with AdamW alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Weights, on their device, of which every one is trained.

    Attributes:
        singles: What AdamW learns.
        matrices: What Muon learns: matrices and convolutions, (outputs, ...).
        share: Of the learning rate.
    """

    singles: Sequence[nn.Parameter]
    matrices: Sequence[nn.Parameter]
    share: float = 1.0


def part_of(module: nn.Module, *, share: float = 1.0) -> Part:
    """Divide the weights of a module; embeddings, learned row by row, are AdamW's."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    singles = [w for w in module.parameters() if w.ndim == 1 or id(w) in embeddings]
    known = {id(weight) for weight in singles}
    matrices = [weight for weight in module.parameters() if id(weight) not in known]
    return Part(singles=singles, matrices=matrices, share=share)


class MuonAndAdamW:
    """Both optimisers, following the gradients of the same loss."""

    def __init__(self, parts: Sequence[Part], *, decay: float = 0.0) -> None:
        """Start without momentum.

        Args:
            parts: What is trained.
            decay: Share of a weight that is taken off it per step, times the learning rate.
        """
        self._weights = [weight for part in parts for weight in part.matrices]
        self._singles = [weight for part in parts for weight in part.singles]
        muon: list[dict[str, Any]] = []
        for part in parts:
            # The same memory, seen as matrices: (outputs, all inputs of an output).
            seen = [nn.Parameter(weight.detach().flatten(1)) for weight in part.matrices]
            muon.append({"params": seen, "share": part.share})
        adam = [{"params": [*part.singles], "share": part.share} for part in parts]
        self._matrices = [matrix for group in muon for matrix in group["params"]]
        self._muon = torch.optim.Muon(muon, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        self._adam = torch.optim.AdamW(adam, betas=(0.9, 0.99), weight_decay=decay)

    def follow(self, loss: Tensor, rate: float) -> None:
        """Take a step down a loss, (), at a learning rate; large gradients are shortened."""
        trained = [*self._weights, *self._singles]
        for weight in trained:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(trained, 1.0)
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
