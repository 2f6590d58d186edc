"""The networks of the embedded model, and how its UNet is trained from coarse to fine.

The UNet halves the picture four times. Averaging a noisy latent over blocks of s x s pixels gives
the same picture, coarser, under noise of 1/s the strength; so the lower levels of the UNet can be
trained alone on coarse latents, with noise of 1/s, and afterwards see in the whole UNet just what
they were trained on. Level 0 is the whole UNet, level 4 its lowest level alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tools.prompts import END, PromptBatch

TEXT_WIDTH = 64
TEXT_LAYERS = 3
# 64 at the top on purpose: with 32 channels each of the 32 normalisation groups holds one channel,
# and the mean colour of the picture cannot pass the last normalisation.
CHANNELS = (64, 64, 64, 128, 128)
ATTENTION_LEVELS = 3
HEAD_WIDTH = 64
SIZE_WIDTH = 256
HIGHWAY = 4  # one channel per channel of the latent
HIGHWAY_GAIN = 16.0  # what it holds is small under strong noise, and must be exact just there
SMOOTH = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16


def make_unet() -> Any:
    """Build the UNet with fresh weights, in the layout of SDXL."""
    plain = len(CHANNELS) - ATTENTION_LEVELS
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]  # diffusers has no types
        sample_size=128,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * ATTENTION_LEVELS,
        up_block_types=("CrossAttnUpBlock2D",) * ATTENTION_LEVELS + ("UpBlock2D",) * plain,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        transformer_layers_per_block=1,
        cross_attention_dim=2 * TEXT_WIDTH,
        attention_head_dim=tuple(width // HEAD_WIDTH for width in CHANNELS),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * SIZE_WIDTH,
    )


def _text_config(vocabulary: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=1,
        hidden_act=activation,
        projection_dim=TEXT_WIDTH,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=0,
    )


class TextEncoders(nn.Module):
    """Both text encoders over the rows of a word table."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.first = CLIPTextModel(_text_config(vocabulary, "quick_gelu"))
        self.second = CLIPTextModelWithProjection(_text_config(vocabulary, "gelu"))
        with torch.no_grad():
            for embeddings in (self.first.embeddings, self.second.text_model.embeddings):
                embeddings.token_embedding.weight.normal_(0, 0.6)
                embeddings.position_embedding.weight.normal_(0, 0.1)
        self.clear_unknown()

    def clear_unknown(self) -> None:
        """Set the row of unknown words back to zero."""
        with torch.no_grad():
            self.first.embeddings.token_embedding.weight[0] = 0
            self.second.text_model.embeddings.token_embedding.weight[0] = 0

    def forward(self, batch: PromptBatch) -> tuple[Tensor, Tensor]:
        """Return the context (B, 77 n, 128) and the added-up pooled vectors (B, 64)."""
        size, count, _ = batch.second.shape
        rows, places = torch.unique(
            torch.cat([batch.first, batch.second], -1).flatten(0, 1), dim=0, return_inverse=True
        )
        first, second = rows.chunk(2, dim=1)
        left = self.first(first, output_hidden_states=True).hidden_states[-2]
        output = self.second.text_model(second, output_hidden_states=True)
        ends = (second == END).int().argmax(1)
        last = output.last_hidden_state[torch.arange(len(ends)), ends]
        pooled = self.second.text_projection(last)[places].view(size, count, -1)
        hidden = torch.cat([left, output.hidden_states[-2]], -1)[places]
        weighted = (pooled * batch.pooled_weights[..., None].to(pooled)).sum(1)
        return hidden.reshape(size, count * hidden.shape[1], -1), weighted


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What the UNet is told beside the latent and the timestep."""

    context: Tensor  # (B, T, 128)
    pooled: Tensor  # (B, 64)
    size_numbers: Tensor  # (B, 6): height, width, 0, 0, target height, target width

    def to(self, device: torch.device | str) -> Conditioning:
        """The same on a device."""
        return Conditioning(
            context=self.context.to(device),
            pooled=self.pooled.to(device),
            size_numbers=self.size_numbers.to(device),
        )


class Pyramid(nn.Module):
    """A UNet whose lower levels can run alone on coarser latents.

    The inlets that this takes exist for training only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet: Any = make_unet()
        # Plain products of matrices: on a CPU twice as fast as the fused attention of torch.
        self.unet.set_attn_processor(AttnProcessor())
        below = range(1, len(CHANNELS))
        self.inlets = nn.ModuleDict({str(k): nn.Conv2d(4, CHANNELS[k - 1], 1) for k in below})
        self._prepare()

    @torch.no_grad()
    def _prepare(self) -> None:
        """Start with levels that pass coarse pictures on: averages down, copies up."""
        for name, module in self.unet.named_modules():
            if name.endswith(("conv2", "proj_out")):
                module.weight.mul_(0.1)
        for level, block in enumerate(self.unet.down_blocks[:-1]):
            convolution = block.downsamplers[0].conv
            convolution.weight.mul_(0.1)
            convolution.bias.zero_()
            for channel in range(CHANNELS[level]):
                convolution.weight[channel, channel, 1:, 1:] += 0.25
        for block in self.unet.up_blocks:
            for resnet in block.resnets:
                shortcut = resnet.conv_shortcut.weight
                shortcut.mul_(0.3)
                shortcut[:, : shortcut.shape[0], 0, 0] += torch.eye(shortcut.shape[0])
            for sampler in block.upsamplers or ():
                sampler.conv.weight.mul_(0.1)
                sampler.conv.weight[:, :, 1, 1] += torch.eye(sampler.conv.weight.shape[0])
        self._lay_highways()

    @torch.no_grad()
    def _lay_highways(self) -> None:
        """Reserve four channels that carry the coarse prediction through the levels.

        They hold the latent less its noise. Only residual branches and attention write on them. The
        last block turns them into eight: what is taken for noise, and its negative. Each such pair
        is one group of the last normalisation, which would otherwise remove mean colours: two
        channels of a group keep only their difference, and noise is always of unit strength, so
        that the group's scale hardly changes it.
        """
        unet = self.unet
        for block in unet.up_blocks:
            for resnet in block.resnets:
                _pass_channels(resnet.conv_shortcut, torch.ones(1, 1))
                _silence(resnet.conv2, HIGHWAY)
            for sampler in block.upsamplers or ():
                _pass_channels(sampler.conv, SMOOTH)
        _silence(unet.up_blocks[-1].resnets[-1].conv2, 2 * HIGHWAY)
        unet.conv_out.weight.zero_()
        for channel in range(HIGHWAY):
            unet.conv_out.weight[channel, 2 * channel, 1, 1] = 1
            unet.conv_out.weight[channel, 2 * channel + 1, 1, 1] = -1

    @torch.no_grad()
    def grow(self, level: int, below: int) -> None:
        """Start a level from a trained one below it, which then sees what it saw before."""
        block, inlet = self.unet.down_blocks[level].resnets[0], self._inlet(level)
        old = self._inlet(below)
        if block.conv_shortcut is None:
            inlet.weight.zero_()
            centre = inlet.weight.shape[-1] // 2
            inlet.weight[:, :, centre, centre] = old.weight[:, :, 0, 0]
            inlet.bias.copy_(old.bias)
        else:
            back = torch.linalg.pinv(inlet.weight[:, :, 0, 0])
            inlet.bias.zero_()
            block.conv_shortcut.weight[:, :, 0, 0] = old.weight[:, :, 0, 0] @ back
            block.conv_shortcut.bias.copy_(old.bias)
        if level == 0:
            self._take_input_for_noise()

    def _take_input_for_noise(self) -> None:
        """Make the last block put out the latent less the coarse prediction, in pairs."""
        inlet = self.unet.conv_in
        back = torch.linalg.pinv(inlet.weight[:, :, 1, 1])  # (4, 64): channels back to the latent
        shortcut = self.unet.up_blocks[-1].resnets[-1].conv_shortcut
        hidden = shortcut.in_channels - inlet.out_channels
        for channel in range(HIGHWAY):
            for row, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                shortcut.weight[row] = 0
                shortcut.weight[row, channel] = -sign / HIGHWAY_GAIN
                shortcut.weight[row, hidden:, 0, 0] = sign * back[channel]
                shortcut.bias[row] = -sign * (back[channel] @ inlet.bias)

    def _inlet(self, level: int) -> Any:
        return self.inlets[str(level)] if level else self.unet.conv_in

    def forward(
        self,
        latent: Tensor,
        timestep: Tensor,
        conditioning: Conditioning,
        *,
        level: int = 0,
        residuals: Sequence[Tensor] = (),
    ) -> Tensor:
        """Predict the noise of latents at a level, times 2**level: (B, 4, h, w).

        ``residuals``, if any, are those of a control net: one for each skip connection from the
        level down, and one for the middle.
        """
        unet = self.unet
        embedding = self._embedding(latent, timestep, conditioning)
        x: Tensor = self._inlet(level)(latent)
        skips = [x]
        for block in unet.down_blocks[level:]:
            x, passed = _run_down(block, x, embedding, conditioning.context)
            skips.extend(passed)
        x = unet.mid_block(x, embedding, encoder_hidden_states=conditioning.context)
        if residuals:
            *skips, x = (a + b for a, b in zip([*skips, x], residuals, strict=True))
        blocks = unet.up_blocks[: len(CHANNELS) - level]
        for block in blocks:
            x = _run_up(block, x, skips, embedding, conditioning.context)
            if block is not blocks[-1]:
                x = block.upsamplers[0](x, skips[-1].shape[2:])
        if level:
            return (latent - x[:, :HIGHWAY] / HIGHWAY_GAIN) * 2.0**level
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))  # type: ignore[no-any-return]

    def _embedding(self, latent: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        unet = self.unet
        time: Tensor = unet.time_embedding(unet.time_proj(timestep).to(latent))
        sizes = unet.add_time_proj(conditioning.size_numbers.flatten()).view(len(latent), -1)
        return time.add(unet.add_embedding(torch.cat([conditioning.pooled, sizes.to(latent)], -1)))


class Networks(nn.Module):
    """All networks that are trained together."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.pyramid = Pyramid()
        self.text = TextEncoders(vocabulary)


def _silence(convolution: Any, rows: int) -> None:
    convolution.weight[:rows] = 0
    convolution.bias[:rows] = 0


def _pass_channels(convolution: Any, kernel: Tensor) -> None:
    """Make the highway's channels go through unchanged but for a kernel."""
    _silence(convolution, HIGHWAY)
    for channel in range(HIGHWAY):
        convolution.weight[channel, channel] = kernel


def _run_down(
    block: Any, x: Tensor, embedding: Tensor, context: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    context_only = {"encoder_hidden_states": context} if hasattr(block, "attentions") else {}
    output: tuple[Tensor, tuple[Tensor, ...]] = block(x, embedding, **context_only)
    return output


def _run_up(
    block: Any, x: Tensor, skips: list[Tensor], embedding: Tensor, context: Tensor
) -> Tensor:
    """Run an up block without its upsampler; takes its skips off the list."""
    for index, resnet in enumerate(block.resnets):
        x = resnet(torch.cat([x, skips.pop()], 1), embedding)
        if hasattr(block, "attentions"):
            x = block.attentions[index](x, encoder_hidden_states=context, return_dict=False)[0]
    return x
