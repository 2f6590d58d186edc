"""The UNet of the embedded model with an inpaint head, and the files that come of training it.

The head is constructed: it writes mask and latent into channels that the first convolution does
not use, so that nothing changes before the lower levels have learned to read them. Knows nothing
about pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_core.choices import InpaintEngine
from fooocus_core.downloads import INPAINT_HEAD, inpaint_files
from fooocus_core.loading.lora_names import unet_names
from fooocus_core.loading.weight_patches import Quantised
from fooocus_core.unet.inpaint_head import InpaintHead
from tools.inpaint_lessons import Lesson

PATCH_FILE = inpaint_files(InpaintEngine.V2_6)[-1].name
NAME_START = "diffusion_model."
FEED_CHANNELS = 5
HEAD_GAIN = 2.0
# What the two lowest levels are made of, less what would make the file too large, and what puts
# out the noise.
LEARNING = (
    "input_blocks.7.0.in_layers.2.weight",
    "input_blocks.7.0.out_layers.3.weight",
    "input_blocks.7.1.transformer_blocks.0.attn1.",
    "input_blocks.8.0.op.weight",
    "input_blocks.9.0.in_layers.2.weight",
    "input_blocks.9.0.out_layers.3.weight",
    "output_blocks.0.0.out_layers.3.weight",
    "output_blocks.0.0.skip_connection.weight",
    "output_blocks.1.0.in_layers.2.weight",
    "output_blocks.1.0.out_layers.3.weight",
    "output_blocks.1.0.skip_connection.weight",
    "output_blocks.1.1.transformer_blocks.0.attn1.",
    "output_blocks.1.2.conv.weight",
    "output_blocks.2.0.in_layers.2.weight",
    "output_blocks.2.0.out_layers.3.weight",
    "output_blocks.2.0.skip_connection.weight",
    "output_blocks.2.1.transformer_blocks.0.attn1.",
    "output_blocks.3.0.in_layers.2.weight",
    "output_blocks.3.0.out_layers.3.weight",
    "output_blocks.3.0.skip_connection.weight",
    "output_blocks.3.1.transformer_blocks.0.attn1.",
    "output_blocks.3.2.conv.weight",
    "output_blocks.9.0.out_layers.3.weight",
    "output_blocks.9.0.skip_connection.",
)
Parts = tuple[Tensor, Tensor, Tensor]


def make_head(first: Tensor) -> Tensor:
    """Construct the head for a first convolution: (C, 4, 3, 3) -> (C, 5, 3, 3)."""
    directions, _, _ = torch.linalg.svd(first.flatten(1).float(), full_matrices=True)
    used = first[0].numel()
    head = torch.zeros(len(first), FEED_CHANNELS, 3, 3)
    head[:, :, 1, 1] = HEAD_GAIN * directions[:, used : used + FEED_CHANNELS]
    return head


class InpaintUNet:
    """The UNet of the checkpoint, the head, and which of the UNet's weights change."""

    def __init__(self, unet: Any) -> None:
        """Take a frozen UNet; what learns of it is set free."""
        self.head = make_head(unet.conv_in.weight.detach().cpu()).to(unet.device)
        self.unet = unet
        self.changing = _parameters(unet, LEARNING)
        self.learning = [*self.changing.values()]
        for weight in self.learning:
            weight.requires_grad_(True)
        self.base = {name: weight.detach().clone() for name, weight in self.changing.items()}

    def __call__(self, lesson: Lesson) -> Tensor:
        """Predict the noise: (B, 4, h, w)."""
        mask, latent = lesson.feed[:, :1], lesson.feed[:, 1:]
        with InpaintHead(weight=self.head).feature(mask, latent).attached(self.unet):
            return self.plain(lesson)

    def plain(self, lesson: Lesson) -> Tensor:
        """Predict the noise without the head: (B, 4, h, w)."""
        device = self.head.device
        prediction: Tensor = self.unet(
            lesson.noise.noisy.to(device),
            lesson.noise.timestep.to(device),
            lesson.context,
            added_cond_kwargs={"text_embeds": lesson.pooled, "time_ids": lesson.size_numbers},
        ).sample
        return prediction.float().cpu()

    @contextmanager
    def holding(self, values: dict[str, Tensor]) -> Iterator[None]:
        """Have other values in what changes for the time of a ``with`` block."""
        before = {name: parameter.data for name, parameter in self.changing.items()}
        for name, parameter in self.changing.items():
            parameter.data = values[name]
        try:
            yield
        finally:
            for name, parameter in self.changing.items():
                parameter.data = before[name]

    def patch(self) -> dict[str, Parts]:
        """What was added to the UNet's weights, in 8 bits, under the names of patch files."""
        return {
            name: quantised(parameter.detach() - self.base[name])
            for name, parameter in self.changing.items()
        }

    def patched(self) -> dict[str, Tensor]:
        """The changed weights as they are once the patch comes from its file."""
        return {
            name: self.base[name] + restored(parts).to(self.base[name])
            for name, parts in self.patch().items()
        }


def _parameters(unet: Any, starts: tuple[str, ...]) -> dict[str, nn.Parameter]:
    wanted = tuple(NAME_START + start for start in starts)
    present = dict(unet.named_parameters())
    return {
        name: present[parameter]
        for name, parameter in unet_names(unet).items()
        if name.startswith(wanted) and parameter in present
    }


def quantised(difference: Tensor) -> Parts:
    """Put a difference into 8 bits: values, and per row the half-precision minimum and maximum."""
    rows = difference.detach().cpu().float().reshape(len(difference), -1)
    shape = (len(rows),) + (1,) * (difference.ndim - 1)
    low, high = rows.min(1).values.half(), rows.max(1).values.half()
    span = (high.float() - low.float()).clamp(min=1e-12)[:, None]
    values = ((rows - low.float()[:, None]) / span * 255).round().clamp(0, 255).to(torch.uint8)
    return values.view(difference.shape), low.view(shape), high.view(shape)


def restored(parts: Parts) -> Tensor:
    """The difference that :func:`quantised` values stand for, float32."""
    values, low, high = (part.float() for part in parts)
    return Quantised(value=values, minimum=low, maximum=high).delta(values, 1.0)


def write_files(model: InpaintUNet, folder: Path) -> None:
    """Write head and patch in the published layouts; an older file is replaced by a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {INPAINT_HEAD.name: {"head": model.head.cpu().clone()}, PATCH_FILE: model.patch()}
    for name, content in contents.items():
        part = folder / f"{name}.part"
        torch.save(content, part)
        part.replace(folder / name)
