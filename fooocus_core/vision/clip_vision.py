"""The image encoder that image prompts are read with, whatever size its file has.

Knows neither what a picture is for nor what becomes of its hidden state.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fooocus_core.downloads import IMAGE_ENCODER
from fooocus_core.errors import ModelFileError
from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.loading.architecture import clip_vision_config
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.key_maps import clip_vision_weights
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.params import Image, Size
from fooocus_core.vae.codec import to_pixels

# Per channel, of the pictures that CLIP was trained on. Source: openai/CLIP, clip/clip.py.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder:
    """Turns pictures into the hidden states of a CLIP vision tower."""

    def __init__(self, network: CLIPVisionModelWithProjection, side: int) -> None:
        """Take over a network, which has to be where it computes when a picture is encoded.

        Args:
            network: Its weights.
            side: Of the square that it sees, in pixels.
        """
        self.network = network
        self._size = Size(side, side)

    def fit(self, image: Image) -> Image:
        """What the network sees of a picture: all of it, stretched to a square.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            uint8 (S, S, 3); S = 224 for the published network.
        """
        return resize_image(image, self._size, Fit.STRETCH)

    @torch.no_grad()
    def encode(self, image: Image) -> Tensor:
        """Read a picture: the output of the last layer but one, without the final norm.

        Args:
            image: uint8 (H, W, 3), of any size.

        Returns:
            (1, places + 1, width) in the network's dtype, on its device; (1, 257, 1280) for the
            published network.

        Raises:
            DeviceMemoryError: The device has not enough memory.
            ModelFileError: The result has values that are not finite.
        """
        with memory_errors("reading an image prompt"):
            hidden = self.look(normalised(to_pixels(self.fit(image))))
        if not torch.isfinite(hidden).all():
            raise ModelFileError(
                f"{IMAGE_ENCODER.name} gave values that are not finite; the file is damaged."
            )
        return hidden

    def look(self, pixels: Tensor) -> Tensor:
        """As :meth:`encode`, for pictures that fit, with gradients and without checks.

        Args:
            pixels: From :func:`normalised`, (B, 3, S, S).

        Returns:
            (B, places + 1, width).
        """
        vision = self.network.vision_model
        embedded = vision.embeddings(pixels.to(vision.embeddings.class_embedding))
        hidden: Tensor = vision.pre_layrnorm(embedded)
        for layer in vision.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        return hidden


def load_image_encoder(path: Path, plan: DevicePlan) -> ImageEncoder:
    """Load an image encoder to where the plan has networks of its device wait.

    Args:
        path: A file in the naming of OpenCLIP or of transformers; it may hold a text encoder, too,
            which is left out.
        plan: Devices and dtypes.

    Raises:
        ModelFileError: The file is unreadable or no image encoder, or has entries missing or
            unexpected; names it and the first few entries.
        DeviceMemoryError: The device has not enough memory.
    """
    return build_image_encoder(read_weights(path), plan)


def build_image_encoder(file: WeightFile, plan: DevicePlan) -> ImageEncoder:
    """As :func:`load_image_encoder`, from a file that is open."""
    home = plan.home_of(plan.device)
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "image encoder"):
        weights = clip_vision_weights(file.tensors)
        # Of the attention implementations, eager is the closest to the reference.
        sizes = {**clip_vision_config(weights), "attn_implementation": "eager"}
        with without_memory():
            network = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes))
        state = {name: weight.to(home, plan.small) for name, weight in weights.items()}
        fill_weights(network, state, home)
    return ImageEncoder(network, sizes["image_size"])


def normalised(pixels: Tensor) -> Tensor:
    """Bring pixels to the range that networks trained like CLIP are given.

    Args:
        pixels: (1, 3, H, W), 0-1.

    Returns:
        ``(value - mean) / std`` per channel, of the same shape and dtype.
    """
    mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (_MEAN, _STD))
    return (pixels - mean) / std
