"""The file of a small safety checker, in the layout of the published one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.golden import load_json

# Of the published network, and of the small one.
_SIZES = {1024: 64, 4096: 128, 768: 24, 257: 5}
_LAYERS = 2


def small_tensors(threshold: float = 2.0) -> dict[str, Tensor]:
    """Entries named as in the published file, with fewer layers and smaller sides.

    Args:
        threshold: Of every concept: at 2.0 no picture is unsafe, at -2.0 each is.
    """
    generator = torch.Generator().manual_seed(6)
    tensors = {}
    for name, (kind, shape) in load_json("manifests/safety_checker").items():
        if any(f".layers.{layer}." in name for layer in range(_LAYERS, 24)):
            continue
        small = [_SIZES.get(side, side) for side in shape]
        if kind == "I64":
            tensors[name] = torch.arange(small[-1])[None]
        elif name.endswith("embeds_weights"):
            tensors[name] = torch.full(small, threshold)
        else:
            tensors[name] = _values(name, small, generator)
    return tensors


def _values(name: str, shape: list[int], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.1 * noise
    return 1 + 0.1 * noise if len(shape) == 1 else noise * shape[-1] ** -0.5


def write_checker(path: Path, threshold: float) -> Path:
    """A checker that finds every picture unsafe, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(small_tensors(threshold), path)
    return path
