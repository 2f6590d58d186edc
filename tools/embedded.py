"""The embedded checkpoint as the trainings of its companions take it: frozen.

Knows neither what is trained nor on which pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.checkpoint import Checkpoint, build_checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.prompt.styles import load_styles
from fooocus_core.text.encoder import TextEncoder
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.text.tokens import Tokenizer
from tools.tiny_model import Conditioning

CHECKPOINT = Path("fooocus_core/data/tiny/checkpoints/tiny.safetensors")
STYLES = ("", "", "Fooocus Sharp", "Fooocus Masterpiece")  # what trainings tell captions in
GUIDANCE = 4.0  # of the default request


class Words:
    """The frozen text encoders of the checkpoint, told captions as requests tell them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.clip_l is None or checkpoint.clip_g is None:
            raise SystemExit("the checkpoint has no text encoders")
        self._encoder = TextEncoder(
            checkpoint.clip_l,
            checkpoint.clip_g,
            tokenizer=Tokenizer(),
            inversions=TextualInversions([], lambda _: None),
            check=lambda: None,
        )
        self._styles = load_styles(None)

    def encode(self, captions: list[str], style: str) -> tuple[Tensor, Tensor]:
        """Return the context (B, 77 n, 128) and the pooled vectors (B, 64) of captions."""
        said = []
        for caption in captions:
            lines = self._styles.get(style).positive_lines(caption) if style else [caption]
            said.append(self._encoder.encode(lines, pooled_texts=len(lines), clip_skip=2))
        # All of one style are equally long but for captions of more than 75 tokens.
        return torch.cat([x.embeddings for x in said]), torch.cat([x.pooled for x in said])


def say(words: Words, captions: Sequence[str], style: str, numbers: Tensor) -> Conditioning:
    """Tell captions as requests with a style tell them; ``numbers`` (B, 6)."""
    context, pooled = words.encode(list(captions), style)
    return Conditioning(context=context, pooled=pooled, size_numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedModel:
    """What companions are trained beside.

    Attributes:
        file: What it was read from.
        unet: A ``UNet2DConditionModel`` on the device, without gradients.
        words: Stay on the CPU.
        device: The accelerator, if there is one.
    """

    file: WeightFile
    unet: Any
    words: Words
    device: str


def read_embedded() -> EmbeddedModel:
    """Read the embedded checkpoint."""
    file = read_weights(CHECKPOINT)
    checkpoint = build_checkpoint(file, plan_device(None, DeviceOptions()))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet: Any = checkpoint.unet
    # Plain products of matrices, as in tools/tiny_model.py: on a CPU faster to learn through.
    unet.set_attn_processor(AttnProcessor())
    return EmbeddedModel(
        file=file,
        unet=unet.requires_grad_(requires_grad=False).to(device),
        words=Words(checkpoint),
        device=device,
    )
