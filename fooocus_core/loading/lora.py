"""LoRA and patch files on disk -> weight patches for the UNet and both text encoders.

Does not merge anything, and knows neither strengths nor the order of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.lora_formats import Entries, EntryTable, read_patches
from fooocus_core.loading.lora_names import clip_g_names, clip_l_names, unet_names
from fooocus_core.loading.weight_file import read_torch_file, read_weights
from fooocus_core.loading.weight_patches import WeightPatch

MAX_UNMATCHED = 12
_SHOWN = 3

Patches = dict[str, WeightPatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraMatch:
    """What of a LoRA file goes where.

    Attributes:
        source: File name.
        unet, clip_l, clip_g: Patches by parameter name; empty if the file is ignored.
        unmatched: Entries that belong to none of the networks.
        absent: Parameters the file addresses that this size of network does not have.
    """

    source: str
    unet: Mapping[str, WeightPatch] = field(default_factory=dict)
    clip_l: Mapping[str, WeightPatch] = field(default_factory=dict)
    clip_g: Mapping[str, WeightPatch] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def is_ignored(self) -> bool:
        """Whether so much is unmatched that the file is meant for another architecture."""
        return len(self.unmatched) > MAX_UNMATCHED

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should be told."""
        found = []
        if self.is_ignored:
            found.append(
                f"{self.source} was not applied: {len(self.unmatched)} of its entries do not "
                f"belong to this model (first: {_first(self.unmatched)})."
            )
        elif self.unmatched:
            found.append(
                f"{self.source}: {len(self.unmatched)} entries do not belong to this model and "
                f"were left out (first: {_first(self.unmatched)})."
            )
        if self.absent:
            found.append(
                f"{self.source}: {len(self.absent)} entries are for weights that this model does "
                f"not have (first: {_first(self.absent)})."
            )
        return tuple(found)


def read_lora(path: Path) -> Entries:
    """Read a LoRA or patch file.

    Returns:
        Entries by name: tensors, or triples (uint8 tensor, minimum, maximum).

    Raises:
        ModelFileError: The file is missing, damaged, empty, holds anything but tensors and plain
            containers, or has values that are not finite.
    """
    entries = read_weights(path).tensors if path.suffix == ".safetensors" else _torch_entries(path)
    for name, entry in entries.items():
        for tensor in entry if isinstance(entry, tuple | list) else (entry,):
            _check_finite(path, name, tensor)
    return entries


def match_lora(
    entries: Entries,
    *,
    source: str,
    unet: nn.Module,
    clip_l: nn.Module | None = None,
    clip_g: nn.Module | None = None,
) -> LoraMatch:
    """Match the entries of a file with the weights of networks: UNet first, then text encoders.

    Several entries for the same weight: the name found later wins. With more than
    ``MAX_UNMATCHED`` entries left over the file gives no patches at all.

    Args:
        entries: What :func:`read_lora` returned.
        source: File name, for messages.
        unet: ``UNet2DConditionModel`` of any size.
        clip_l, clip_g: Text encoders; those of a model that has none are ``None``.

    Source:
        The rule of twelve is Fooocus's own (lllyasviel/Fooocus, modules/core.py).
    """
    table = EntryTable(entries=entries)
    unet_patches = _match(table, unet_names(unet))
    clip_l_patches = _match(table, {} if clip_l is None else clip_l_names(clip_l))
    clip_g_patches = _match(table, {} if clip_g is None else clip_g_names(clip_g))
    unmatched = tuple(name for name in entries if name not in table.taken)
    if len(unmatched) > MAX_UNMATCHED:
        return LoraMatch(source=source, unmatched=unmatched)
    absent = [
        *_drop_absent(unet_patches, unet),
        *_drop_absent(clip_l_patches, clip_l),
        *_drop_absent(clip_g_patches, clip_g),
    ]
    return LoraMatch(
        source=source,
        unet=unet_patches,
        clip_l=clip_l_patches,
        clip_g=clip_g_patches,
        unmatched=unmatched,
        absent=tuple(absent),
    )


def _match(table: EntryTable, names: Mapping[str, str]) -> Patches:
    patches: Patches = {}
    for name, parameter in names.items():
        patches.update(read_patches(table, name, parameter))
    return patches


def _drop_absent(patches: Patches, network: nn.Module | None) -> list[str]:
    present = set() if network is None else {name for name, _ in network.named_parameters()}
    absent = [name for name in patches if name not in present]
    for name in absent:
        del patches[name]
    return absent


def _torch_entries(path: Path) -> Entries:
    content = read_torch_file(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path.name} does not hold a table of tensors.")
    if not content:
        raise ModelFileError(f"{path.name} holds no tensors.")
    return {str(name): entry for name, entry in content.items()}


def _check_finite(path: Path, name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return
    # Through float32 because torch has no such test for the 8-bit formats.
    if not bool(torch.isfinite(tensor.float()).all()):
        raise ModelFileError(f"{path.name}: {name} holds values that are not finite.")


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN])
