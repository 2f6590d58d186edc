"""A control-LoRA while it is trained: the control net of the embedded UNet, and its file.

The first layers of the hint block are constructed and stay as they are: they take the mean
brightness of 4 x 4 pixels apart into steps. What reads those starts as constructed, too: each place
of a latent is told its quarters. All else starts as a copy of the UNet that adds nothing, and
learns: biases and norms fully, weights by low-rank changes. Knows nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.control_lora import build_control_net, changed_weight
from fooocus_core.loading.lora_names import unet_layers
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import WeightFile
from fooocus_core.unet.controlnet import soften_residuals
from tools.coarse_control import coarse_control, skips_above
from tools.coarse_unet import Example, fit_inlet, frozen_pyramid
from tools.guide_lessons import Lesson

MARK = "lora_controlnet"
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
RANK = 32
SOFTNESS = 0.25  # what requests get that ask for none
# Of the hint block, whose layers 2, 4 and 6 halve the sides.
HINT_LAYERS = 8
CONSTRUCTED = 5  # first layers, which are not trained
STEPS = 8  # of brightness
QUARTERS = ((1, 1), (1, 2), (2, 1), (2, 2))  # taps of a layer that halves
BASE = 8.0  # added to brightness, because silu is nearly linear there
HINT_START = 0.02

StateDict = dict[str, Tensor]


class LowRank(nn.Module):
    """What is added to a weight, as the file has it."""

    def __init__(self, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(up), nn.Parameter(down)

    def forward(self, weight: Tensor) -> Tensor:
        """Add the change to a weight."""
        return changed_weight(weight, self.up, self.down)


class ControlModel:
    """The frozen UNet, its control net, and what of this learns."""

    def __init__(self, unet: Any, *, seed: int) -> None:
        """Start with a control net that adds nothing.

        Args:
            unet: Of the checkpoint, frozen; the control net runs where it does.
            seed: Of what learns.
        """
        self._layers = _layers(unet)
        start = _start(unet, self._layers, torch.Generator().manual_seed(seed))
        self.network = _build(unet, start, self._layers).to(unet.device)
        self.unet = unet
        self._pyramid = frozen_pyramid(unet)
        self._carriers: dict[int, nn.Module] = {0: nn.Identity()}
        hint = self.network.controlnet_cond_embedding
        self._hint_layers = [hint.conv_in, *hint.blocks, hint.conv_out]
        for module in self._hint_layers[:CONSTRUCTED]:
            module.requires_grad_(requires_grad=False)
        self.learning = [p for p in self.network.parameters() if p.requires_grad]

    @property
    def levels(self) -> set[int]:
        """The levels that can run."""
        return set(self._carriers)

    def prepare(self, level: int, examples: Iterable[Example]) -> float:
        """Let a level run alone.

        Args:
            level: At least 1.
            examples: With something added that is like what a control net adds.

        Returns:
            How much of what comes down to the level coarse latents explain, at most 1.0.
        """
        fit = fit_inlet(self._pyramid, level, examples)
        if fit.carried is None:
            raise ValueError("the examples have nothing added")
        self._carriers[level] = fit.carried
        return fit.explained

    @torch.no_grad()
    def look(self, hints: Tensor) -> Tensor:
        """What the layers that do not learn make of control pictures, (B, 3, 8 h, 8 w).

        Returns:
            (B, STEPS, 2 h, 2 w): for each quarter of a place, how far its brightness is above each
            step; silu of a number that grows by 1 per step.
        """
        x = hints.to(self.unet.device)
        for layer in self._hint_layers[:CONSTRUCTED]:
            x = functional.silu(layer(x))
        return x

    def hint(self, shown: Tensor, level: int) -> Tensor:
        """What is added to the first layer at a level: means of what is added at level 0.

        Args:
            shown: From :meth:`look`.
            level: Above 0, what carries these means down to it is applied, too.

        Returns:
            (B, C, h / 2**level, w / 2**level)
        """
        *layers, last = self._hint_layers[CONSTRUCTED:]
        x = shown.float()
        for layer in layers:
            x = functional.silu(layer(x))
        added: Tensor = last(x)
        carried: Tensor = self._carriers[level](functional.avg_pool2d(added, 2**level))
        return carried

    def __call__(self, lesson: Lesson, weight: float) -> Tensor:
        """Predict the noise of a lesson, times 2**level: (B, 4, h, w)."""
        level = lesson.level
        latent, _ = lesson.latents
        added = self.hint(lesson.shown, level)
        inlet = self._pyramid.inlets[str(level)] if level else self.network.conv_in
        *skips, middle = coarse_control(self.network, level, inlet)(
            *lesson.latents,
            controlnet_cond=added.repeat_interleave(len(latent) // len(added), 0),
            return_dict=False,
            **lesson.prompts,
        )
        residuals = [*skips[0], middle]
        first = skips_above(self.network, level)
        factors = soften_residuals([torch.ones(())] * (first + len(residuals)), SOFTNESS)
        scaled = [
            residual * (weight * float(factor))
            for residual, factor in zip(residuals, factors[first:], strict=True)
        ]
        return self.plain(lesson, scaled)

    def plain(self, lesson: Lesson, residuals: Sequence[Tensor] = ()) -> Tensor:
        """Predict as the UNet does without a control picture, or with these residuals."""
        prediction: Tensor = self._pyramid(
            *lesson.latents, lesson.said, level=lesson.level, residuals=residuals
        )
        return prediction.float().cpu()

    def tensors(self) -> StateDict:
        """The tensors of the file: (names of the file) -> float32."""
        return {MARK: torch.zeros(0), **dict(self._tensors())}

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, layer in self._layers.items():
            module = self.network.get_submodule(layer)
            if module.bias is not None:
                yield f"{name}.bias", module.bias
            if parametrize.is_parametrized(module):
                change = module.parametrizations.weight[0]
                yield f"{name}.up", change.up
                yield f"{name}.down", change.down
            else:
                yield f"{name}.weight", module.weight

    def write(self, path: Path) -> None:
        """Write the file, fp16; an older file is replaced by a whole one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {n: x.detach().cpu().half().contiguous() for n, x in self.tensors().items()}
        part = path.with_suffix(".part")
        save_file(tensors, part)
        part.replace(path)


def _build(unet: Any, start: StateDict, layers: dict[str, str]) -> Any:
    """Build the control net of a file, with its low-rank changes apart from the UNet's weights."""
    file = WeightFile(path=Path("start"), tensors=start, metadata={})
    network: Any = build_control_net(file, unet, plan_device(None, DeviceOptions()))
    network.requires_grad_(requires_grad=True)
    for name, layer in layers.items():
        if f"{name}.up" in start:
            module = network.get_submodule(layer)
            module.weight.requires_grad_(requires_grad=False)
            change = LowRank(start[f"{name}.up"], start[f"{name}.down"])
            parametrize.register_parametrization(module, "weight", change)
    return network


def _layers(unet: Any) -> dict[str, str]:
    """Names of the layers in the file -> in a ``ControlNetModel`` for a UNet."""
    present = {name for name, module in unet.named_modules() if hasattr(module, "weight")}
    layers = {
        original: layer
        for original, layer in unet_layers(unet)
        if original.startswith(ENCODER) and layer in present
    }
    hint = "controlnet_cond_embedding"
    inner = [f"{hint}.blocks.{index}" for index in range(HINT_LAYERS - 2)]
    for index, layer in enumerate([f"{hint}.conv_in", *inner, f"{hint}.conv_out"]):
        layers[f"input_hint_block.{2 * index}"] = layer
    for index in range(skips_above(unet, len(unet.down_blocks)) + 1):
        layers[f"zero_convs.{index}.0"] = f"controlnet_down_blocks.{index}"
    layers["middle_block_out.0"] = "controlnet_mid_block"
    return layers


def _start(unet: Any, layers: dict[str, str], generator: torch.Generator) -> StateDict:
    parameters = {name: value.detach().cpu().float() for name, value in unet.named_parameters()}
    tensors: StateDict = {MARK: torch.zeros(0)}
    for original, layer in layers.items():
        if f"{layer}.weight" not in parameters:
            continue
        weight, bias = parameters[f"{layer}.weight"], parameters.get(f"{layer}.bias")
        if bias is not None:
            tensors[f"{original}.bias"] = bias.clone()
        if weight.ndim == 1:
            tensors[f"{original}.weight"] = weight.clone()
        else:
            tensors |= _no_change(original, weight, generator)
    return tensors | _hint_block(unet, generator) | _zero_convolutions(unet)


def _no_change(name: str, weight: Tensor, generator: torch.Generator) -> StateDict:
    inputs = weight[0].numel()
    rank = min(RANK, len(weight), inputs)
    down = torch.randn(rank, *weight.shape[1:], generator=generator) / inputs**0.5
    up = torch.zeros(len(weight), rank, *(1,) * (weight.ndim - 2))
    return {f"{name}.up": up, f"{name}.down": down}


def _hint_block(unet: Any, generator: torch.Generator) -> StateDict:
    widths = (3, 1, 1, 1, 1, STEPS, STEPS, len(QUARTERS) * STEPS, unet.conv_in.out_channels)
    weights = [torch.zeros(w, r, 3, 3) for r, w in zip(widths, widths[1:], strict=False)]
    biases = [torch.zeros(width) for width in widths[1:]]
    # Brightness, its means over 2 x 2, and over 4 x 4 in steps.
    weights[0][:, :, 1, 1] = 1 / 3
    biases[0][:] = BASE
    weights[1][:, :, 1, 1] = weights[3][:, :, 1, 1] = 1
    for row, column in QUARTERS:
        weights[2][:, :, row, column] = 1 / len(QUARTERS)
        weights[4][:, :, row, column] = STEPS / len(QUARTERS)
    black = torch.tensor(BASE)
    for _ in range(CONSTRUCTED - 1):
        black = functional.silu(black)
    biases[4][:] = -STEPS * black - torch.arange(STEPS)
    # What is trained from here on: each quarter as it is, side by side, and something of each.
    weights[5][:, :, 1, 1] = torch.eye(STEPS)
    for index, (row, column) in enumerate(QUARTERS):
        weights[6][index * STEPS : (index + 1) * STEPS, :, row, column] = torch.eye(STEPS)
    weights[7].normal_(0, HINT_START, generator=generator)
    tensors: StateDict = {}
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"input_hint_block.{2 * index}.weight"] = weight
        tensors[f"input_hint_block.{2 * index}.bias"] = bias
    return tensors


def _zero_convolutions(unet: Any) -> StateDict:
    widths = [unet.config.block_out_channels[0]]
    for block in unet.down_blocks:
        outputs = block.resnets[0].out_channels
        widths += [outputs] * (len(block.resnets) + len(block.downsamplers or ()))
    layers = {f"zero_convs.{index}.0": width for index, width in enumerate(widths)}
    layers["middle_block_out.0"] = widths[-1]
    tensors: StateDict = {}
    for name, width in layers.items():
        tensors[f"{name}.weight"] = torch.zeros(width, width, 1, 1)
        tensors[f"{name}.bias"] = torch.zeros(width)
    return tensors
