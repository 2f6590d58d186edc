"""Low-rank changes of a UNet's layers, trained beside it, and the LoRA files that come of them.

Every convolution and every linear layer of the blocks gets one; the outermost layers, norms and
biases stay as they are. Knows nothing about pictures.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fooocus_core.loading.lora_names import unet_layers

LEFT_OUT = ("input_blocks.0.", "time_embed.", "label_emb.", "out.")

StateDict = dict[str, Tensor]


class Spelling(StrEnum):
    """How the published file of a kind names the layers of the UNet."""

    ORIGINAL = "original"  # input_blocks_1_0_in_layers_2
    DIFFUSERS = "diffusers"  # down_blocks_0_resnets_0_conv1


class LowRankLayers:
    """Trainable low-rank changes beside the frozen weights of a UNet."""

    def __init__(self, unet: Any, *, rank: int, seed: int) -> None:
        """Start with changes of nought.

        Args:
            unet: A ``UNet2DConditionModel``, already on its device; it stays as it is.
            rank: Of every change.
            seed: Of the first factors.
        """
        self.rank = rank
        generator = torch.Generator().manual_seed(seed)
        weights = dict(unet.named_parameters())
        self._base: dict[str, Tensor] = {}
        self._originals: dict[str, str] = {}
        self._down: dict[str, nn.Parameter] = {}
        self._up: dict[str, nn.Parameter] = {}
        for original, layer in unet_layers(unet):
            weight = weights.get(f"{layer}.weight")
            if weight is None or weight.ndim < 2 or original.startswith(LEFT_OUT):
                continue
            self._base[layer], self._originals[layer] = weight.detach(), original
            first = torch.randn(rank, *weight.shape[1:], generator=generator)
            first /= math.sqrt(weight[0].numel())
            second = torch.zeros(len(weight), rank, *(1,) * (weight.ndim - 2))
            self._down[layer] = nn.Parameter(first.to(weight.device))
            self._up[layer] = nn.Parameter(second.to(weight.device))

    @property
    def learning(self) -> list[nn.Parameter]:
        """What is trained."""
        return [*self._down.values(), *self._up.values()]

    def weights(self, strength: float) -> StateDict:
        """The changed weights of the UNet by parameter name; they lead back to what is trained.

        Args:
            strength: The weight that the file will be given in a request.
        """
        changed = {}
        for layer, base in self._base.items():
            change = self._up[layer].flatten(1) @ self._down[layer].flatten(1)
            changed[f"{layer}.weight"] = base + strength * change.view(base.shape)
        return changed

    def tensors(self, spelling: Spelling) -> StateDict:
        """The tensors of the file, fp16, as the published ones of a kind are laid out."""
        tensors = {}
        for layer, original in self._originals.items():
            spelt = original if spelling is Spelling.ORIGINAL else layer
            name = f"lora_unet_{spelt.replace('.', '_')}"
            tensors[f"{name}.lora_down.weight"] = _stored(self._down[layer])
            tensors[f"{name}.lora_up.weight"] = _stored(self._up[layer])
            tensors[f"{name}.alpha"] = _stored(torch.tensor(float(self.rank)))
        return tensors

    def write(self, path: Path, spelling: Spelling) -> None:
        """Write the file; an older one is replaced by a whole one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        save_file(self.tensors(spelling), part)
        part.replace(path)


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().half().contiguous()
