"""The networks behind image prompts of the embedded model, and the files that come of them.

The image encoder sees a picture as mean colours: its first convolution is constructed and stays.
Everything behind that is trained. Encoder and adapter are made of the files' tensors by the
pipeline's own code, so what is trained is what is served. Knows nothing about drawings.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fooocus_core.downloads import IMAGE_ENCODER, IP_ADAPTER, IP_NEGATIVE, ModelFile
from fooocus_core.loading.architecture import clip_vision_config
from fooocus_core.loading.key_maps import clip_vision_weights
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts, ReadPicture
from fooocus_core.unet.ip_adapter import AdapterNetwork
from fooocus_core.unet.resampler import ResamplerSizes
from fooocus_core.unet.size_conditioning import PromptSide
from fooocus_core.vision.clip_vision import ImageEncoder
from tools.coarse_unet import frozen_pyramid
from tools.guide_lessons import Lesson
from tools.image_prompt_lessons import SIDE

PATCH = 28
WIDTH, HIDDEN, LAYERS = 64, 128, 3  # the pipeline reads what the last layer but one gives
TOKENS = 4
QUARTERS = 2  # per side of a patch: as many colours are seen in it
# What the layers of the UNet scale keys by at the usual weight, 0.6 * 128 / 1280, is made good.
KEY_GAIN, VALUE_GAIN = 12.0, 4.0
ENCODER_START = "visual."
NEGATIVE_NAME = "data"

StateDict = dict[str, Tensor]


class ImagePromptModel:
    """An image encoder, an adapter for one UNet, and the tokens of no picture."""

    def __init__(self, unet: Any, *, seed: int, device: str) -> None:
        """Make all of them without training; the UNet stays as it is."""
        generator = torch.Generator().manual_seed(seed)
        self._unet, self.pyramid = unet, frozen_pyramid(unet)
        self.encoder = {
            name: nn.Parameter(tensor.to(device), requires_grad=name != "visual.conv1.weight")
            for name, tensor in make_encoder(generator).items()
        }
        self.adapter = make_adapter(unet, generator).to(device)
        self.negative = nn.Parameter(torch.zeros(1, TOKENS, self.width, device=device))
        sizes = clip_vision_config(clip_vision_weights(self.encoder))
        config = CLIPVisionConfig(**{**sizes, "attn_implementation": "eager"})
        self._seeing = _Seeing(CLIPVisionModelWithProjection(config)).to(device)

    @property
    def width(self) -> int:
        """Of the tokens."""
        return int(self.adapter.image_proj.proj_out.out_features)

    @property
    def learning(self) -> list[nn.Parameter]:
        """What is trained."""
        encoder = [tensor for tensor in self.encoder.values() if tensor.requires_grad]
        return [*encoder, *self.adapter.parameters(), self.negative]

    def __call__(self, lesson: Lesson, weight: float, absent: Tensor) -> Tensor:
        """Predict the noise with image prompts, times 2**level: (B, 4, h, w).

        Args:
            lesson: Shows what the encoder is given of each picture.
            weight: Of the image prompts.
            absent: (B,) bool: which rows have no picture, as on the side of the negative prompt.
        """
        guide = ImageGuide(picture=self.read(lesson.shown, absent), weight=weight, stop=1.0)
        prompts = ImagePrompts([guide])
        prompts.begin_call([PromptSide.POSITIVE], 0.0)
        with prompts.attached(self._unet):
            return self.plain(lesson)

    def plain(self, lesson: Lesson) -> Tensor:
        """Predict the noise without image prompts, times 2**level: (B, 4, h, w)."""
        prediction: Tensor = self.pyramid(*lesson.latents, lesson.said, level=lesson.level)
        return prediction.float().cpu()

    def read(self, pixels: Tensor, absent: Tensor) -> ReadPicture:
        """Read what the encoder is given of pictures, (B, 3, SIDE, SIDE); see :meth:`__call__`."""
        weights = clip_vision_weights(self.encoder)
        state = {f"network.{name}": weight for name, weight in weights.items()}
        tokens = self.adapter.image_proj(functional_call(self._seeing, state, pixels))
        tokens = torch.where(absent.to(tokens.device)[:, None, None], self.negative, tokens)
        layers = tuple(layer(tokens) for layer in self.adapter.ip_adapter.values())
        return ReadPicture(adapter=IP_ADAPTER.name, sides={PromptSide.POSITIVE: layers})

    def write(self, root: Path) -> None:
        """Write the three files below a models root, each replaced by a whole one."""
        tables: dict[str, StateDict] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in self.adapter.state_dict().items():
            table, _, rest = name.partition(".")
            kept = tensor.half() if table == "ip_adapter" else tensor
            tables[table][rest] = kept.cpu().clone()
        negative = {NEGATIVE_NAME: self.negative.detach().cpu().half()}
        encoder = {name: t.detach().cpu().half() for name, t in self.encoder.items()}
        _replace(root, IP_ADAPTER, lambda path: torch.save(tables, path))
        _replace(root, IP_NEGATIVE, lambda path: save_file(negative, path))
        _replace(root, IMAGE_ENCODER, lambda path: save_file(encoder, path))


class _Seeing(nn.Module):
    """The encoder as the pipeline runs it, for weights that are given in each call."""

    def __init__(self, network: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return ImageEncoder(self.network, SIDE).look(pixels)


def make_encoder(generator: torch.Generator) -> StateDict:
    """Make an image encoder in OpenCLIP's names that sees mean colours and where they are."""
    places = (SIDE // PATCH) ** 2 + 1
    tensors = {
        "conv1.weight": mean_colours(),
        "class_embedding": torch.randn(WIDTH, generator=generator),
        "positional_embedding": torch.randn(places, WIDTH, generator=generator),
        "proj": torch.randn(WIDTH, WIDTH, generator=generator) / math.sqrt(WIDTH),
    }
    norms = ["ln_pre", "ln_post"]
    for layer in range(LAYERS):
        block = f"transformer.resblocks.{layer}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        tensors |= {
            **_linear(f"{block}.attn.in_proj_", 3 * WIDTH, WIDTH, generator),
            **_linear(f"{block}.attn.out_proj.", WIDTH, WIDTH, generator),
            **_linear(f"{block}.mlp.c_fc.", HIDDEN, WIDTH, generator),
            **_linear(f"{block}.mlp.c_proj.", WIDTH, HIDDEN, generator),
        }
    for norm in norms:
        tensors |= {f"{norm}.weight": torch.ones(WIDTH), f"{norm}.bias": torch.zeros(WIDTH)}
    return {ENCODER_START + name: tensor for name, tensor in tensors.items()}


def mean_colours() -> Tensor:
    """Weights of a convolution that gives mean colours of the quarters of each patch.

    Returns:
        (WIDTH, 3, PATCH, PATCH); the first rows are the quarters' colours, the others nothing.
    """
    weight = torch.zeros(WIDTH, 3, PATCH, PATCH)
    size = PATCH // QUARTERS
    for place in range(QUARTERS**2):
        y, x = (size * index for index in divmod(place, QUARTERS))
        for colour in range(3):
            weight[3 * place + colour, colour, y : y + size, x : x + size] = 1 / size**2
    return weight


def cross_attention(unet: Any) -> list[Any]:
    """The layers of a UNet that attend to prompts, in the order of an adapter's file."""
    names = (name.removesuffix(".processor") for name in unet.attn_processors)
    return [unet.get_submodule(name) for name in names if name.endswith("attn2")]


def make_adapter(unet: Any, generator: torch.Generator) -> AdapterNetwork:
    """Make an adapter whose projections are scaled copies of those that the UNet has for text."""
    layers = cross_attention(unet)
    sizes = ResamplerSizes(
        features=WIDTH,
        width=WIDTH,
        queries=TOKENS,
        output=unet.config.cross_attention_dim,
        depth=2,
        heads=2,
        head_width=64,
        hidden=4 * WIDTH,
    )
    # The published files number keys and values of a layer together.
    widths = {str(2 * n + 1): layer.to_k.out_features for n, layer in enumerate(layers)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        network = AdapterNetwork(sizes, widths)
    with torch.no_grad():
        network.image_proj.latents.copy_(torch.randn(1, TOKENS, WIDTH, generator=generator))
        own_layers: list[Any] = list(network.ip_adapter.values())
        for own, layer in zip(own_layers, layers, strict=True):
            own.to_k_ip.weight.copy_(KEY_GAIN * layer.to_k.weight)
            own.to_v_ip.weight.copy_(VALUE_GAIN * layer.to_v.weight)
    return network


def _linear(name: str, rows: int, columns: int, generator: torch.Generator) -> StateDict:
    weight = torch.randn(rows, columns, generator=generator) / math.sqrt(columns)
    return {f"{name}weight": weight, f"{name}bias": torch.zeros(rows)}


def _replace(root: Path, file: ModelFile, write: Any) -> None:
    path = root / file.kind.value / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    write(part)
    part.replace(path)
