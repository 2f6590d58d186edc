"""Small networks in the layouts of published files, with weights that anybody can make again."""

from __future__ import annotations

import re
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fooocus_core.loading.weight_file import WeightFile
from tests.golden import load_json

# One module that the file has several times.
_ALIAS = re.compile(r"^(transformer\.decoder\.)?bbox_embed\.\d+")


def published_tensors(layout: str) -> dict[str, Tensor]:
    """Seeded tensors, named and shaped as ``components/segmentation.json`` lists them.

    Normal numbers of PCG64, seeded with the crc32 of the name, float32: one-dimensional weights
    (and gammas) times 0.1 plus 1, other vectors times 0.05, the rest divided by the square root of
    the number of inputs.
    """
    shapes = load_json("components/segmentation")[layout]
    return {name: _tensor(_ALIAS.sub("bbox_embed", name), shape) for name, shape in shapes.items()}


def published_file(layout: str, **changes: Tensor | None) -> WeightFile:
    """A file of these tensors, some of them changed or (``None``) left out."""
    tensors = {**published_tensors(layout), **changes}
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return WeightFile(path=Path(f"{layout}.pth"), tensors=given, metadata={})


def _tensor(name: str, shape: list[int]) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if len(shape) > 1:
        return values / prod(shape[1:]) ** 0.5
    is_scale = name.endswith("weight") or "gamma" in name
    return 1 + 0.1 * values if is_scale else 0.05 * values


def write_vocabulary(path: Path) -> Path:
    """Write a small vocabulary with the landmarks of bert-base-uncased and a few words."""
    entries = [
        *("[PAD]", *(f"[unused{number}]" for number in range(99))),
        *("[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    ]
    entries += [f"x{number}" for number in range(len(entries), 1012)] + ["."]
    entries += [f"y{number}" for number in range(len(entries), 1029)] + ["?"]
    entries += ["face", "hand", "left", "a", "cat", "##s"]
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return path
