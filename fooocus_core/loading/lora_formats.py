"""The formats in which a LoRA file can hold the patch of one layer.

Does not know which names exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fooocus_core.loading.weight_patches import (
    Difference,
    Glora,
    Hadamard,
    Kronecker,
    LowRank,
    Quantised,
    WeightPatch,
)

_LOW_RANK_KEYS = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
)
_HADAMARD_PARTS = ("w1_a", "w1_b", "w2_a", "w2_b")
_KRONECKER_PARTS = ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
_GLORA_PARTS = ("a1", "a2", "b1", "b2")

Entries = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class EntryTable:
    """The entries of a file, and the names of those that became part of a patch.

    Attributes:
        entries: Tensors, or triples (uint8 tensor, minimum, maximum), by name.
        taken: Names of the entries used so far.
    """

    entries: Entries
    taken: set[str] = field(default_factory=set)

    def take(self, keys: Sequence[str]) -> list[Tensor] | None:
        """The tensors under ``keys`` if all of them exist; they count as used then."""
        found = [self.entries.get(key) for key in keys]
        tensors = [tensor for tensor in found if isinstance(tensor, Tensor)]
        if len(tensors) < len(keys):
            return None
        self.taken.update(keys)
        return tensors

    def take_one(self, key: str) -> Tensor | None:
        """The tensor under ``key``, if any; it counts as used then."""
        found = self.take([key])
        return found[0] if found else None


def read_patches(table: EntryTable, name: str, parameter: str) -> Iterator[tuple[str, WeightPatch]]:
    """The patches that a file holds under one LoRA name.

    Args:
        table: The file; entries used are marked in it.
        name: A name as in :mod:`fooocus_core.loading.lora_names`.
        parameter: The parameter of that name.

    Yields:
        Parameter name (that of the bias for bias patches) and patch, in the order in which a
        later patch of the same parameter replaces an earlier one.
    """
    alpha = _take_alpha(table, name)
    for patch in (
        _quantised(table, name),
        _low_rank(table, name, alpha),
        _hadamard(table, name, alpha),
        _kronecker(table, name, alpha),
        _glora(table, name, alpha),
    ):
        if patch is not None:
            yield parameter, patch
    bias = parameter.removesuffix(".weight") + ".bias"
    for key, target in (
        ("w_norm", parameter),
        ("b_norm", bias),
        ("diff", parameter),
        ("diff_b", bias),
    ):
        value = table.take_one(f"{name}.{key}")
        if value is not None:
            yield target, Difference(value=value)


def _take_alpha(table: EntryTable, name: str) -> float | None:
    key = f"{name}.alpha"
    entry = table.entries.get(key)
    if not isinstance(entry, Tensor) or entry.numel() != 1:
        return None
    table.taken.add(key)
    return float(entry)


def _quantised(table: EntryTable, name: str) -> Quantised | None:
    entry = table.entries.get(name)
    if not isinstance(entry, tuple | list) or len(entry) != 3:
        return None
    if not all(isinstance(part, Tensor) for part in entry):
        return None
    value, minimum, maximum = entry
    if value.dtype is not torch.uint8:
        return None
    table.taken.add(name)
    return Quantised(value=value, minimum=minimum, maximum=maximum)


def _low_rank(table: EntryTable, name: str, alpha: float | None) -> LowRank | None:
    for keys in _LOW_RANK_KEYS:
        factors = table.take([name + key for key in keys])
        if factors is not None:
            mid = table.take_one(f"{name}.lora_mid.weight")
            return LowRank(up=factors[0], down=factors[1], mid=mid, alpha=alpha)
    return None


def _hadamard(table: EntryTable, name: str, alpha: float | None) -> Hadamard | None:
    factors = table.take([f"{name}.hada_{part}" for part in _HADAMARD_PARTS])
    if factors is None:
        return None
    cores = table.take([f"{name}.hada_t1", f"{name}.hada_t2"]) or (None, None)
    return Hadamard(
        **dict(zip(_HADAMARD_PARTS, factors, strict=True)), t1=cores[0], t2=cores[1], alpha=alpha
    )


def _kronecker(table: EntryTable, name: str, alpha: float | None) -> Kronecker | None:
    keys = {part: f"{name}.lokr_{part}" for part in _KRONECKER_PARTS}
    present = {part for part, key in keys.items() if isinstance(table.entries.get(key), Tensor)}
    has_first = "w1" in present or {"w1_a", "w1_b"} <= present
    has_second = "w2" in present or {"w2_a", "w2_b"} <= present
    if not (has_first and has_second):
        return None
    return Kronecker(**{part: table.take_one(keys[part]) for part in present}, alpha=alpha)


def _glora(table: EntryTable, name: str, alpha: float | None) -> Glora | None:
    factors = table.take([f"{name}.{part}.weight" for part in _GLORA_PARTS])
    if factors is None:
        return None
    return Glora(**dict(zip(_GLORA_PARTS, factors, strict=True)), alpha=alpha)
