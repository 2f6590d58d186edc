"""Finding the things that a text names in a picture, with GroundingDINO.

Knows neither what is cut out of the boxes nor where files lie.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from transformers import BertTokenizer, GroundingDinoConfig, GroundingDinoForObjectDetection

from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.images.arrays import size_of
from fooocus_core.images.resize import resample
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.params import Image, Size
from fooocus_core.text.bert import load_bert_tokenizer
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.boxes import Boxes
from fooocus_core.vision.grounding_dino_weights import (
    grounding_dino_config,
    grounding_dino_weights,
    without_extras,
)

# Per channel, of pixels 0-1. Source: groundingdino/util/inference.py.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_SHORTER_SIDE, _LONGER_SIDE = 800, 1333
# Pixels from one place of the finest level to the next; each further level has twice as many.
_FINEST_STRIDE = 8


class BoxFinder:
    """Finds boxes around what a text names.

    Attributes:
        network: Its weights have to be where it computes when boxes are searched.
    """

    def __init__(
        self, network: GroundingDinoForObjectDetection, tokenizer: BertTokenizer, name: str
    ) -> None:
        """``name`` of the network's file, for messages."""
        self.network = network
        self._tokenizer = tokenizer
        self._name = name

    @torch.no_grad()
    def find(self, image: Image, text: str, threshold: float) -> Boxes:
        """Find boxes in the order of the network's queries.

        The network is shown the picture with *red and blue exchanged*, as Fooocus does it: it asks
        for BGR where it is given RGB.

        Args:
            image: (H, W, 3) RGB.
            text: What to look for; phrases end with full stops.
            threshold: How likely, 0-1, the likeliest token of a box has to be at least.

        Returns:
            In pixels of the picture; boxes may reach beyond it.

        Raises:
            InvalidInputError: The picture is too thin.
            DeviceMemoryError: The device has not enough memory.
            ModelFileError: The network gave values that are not finite.

        Source:
            arXiv:2303.05499; IDEA-Research/GroundingDINO (Apache-2.0),
            groundingdino/util/inference.py.
        """
        tokens = self._tokenizer(caption(text), return_tensors="pt")["input_ids"]
        config = self.network.config
        small = shown_size(size_of(image))
        _check_places(small, size_of(image), config.num_queries, config.num_feature_levels)
        with memory_errors("looking for what the text names"):
            device = self.network.device
            found = self.network(
                pixel_values=_pixels(image, small).to(device),
                input_ids=tokens.to(device),
                # The model cuts longer texts off, but not this.
                attention_mask=torch.ones_like(tokens[:, : config.max_text_len]).to(device),
            )
        likelihoods, boxes = found.logits[0].cpu().sigmoid(), found.pred_boxes[0].cpu()
        if not (torch.isfinite(likelihoods).all() and torch.isfinite(boxes).all()):
            raise ModelFileError(
                f"{self._name} gave values that are not finite; the file is damaged."
            )
        return to_corners(boxes[likelihoods.max(dim=1).values > threshold], size_of(image))


def load_box_finder(path: Path, vocabulary: Path, plan: DevicePlan) -> BoxFinder:
    """Load a box finder to where the plan has networks of its device wait; it is float32.

    Args:
        path: The network.
        vocabulary: ``vocab.txt`` of bert-base-uncased.
        plan: Device.

    Raises:
        ModelFileError: A file is unreadable, or not such a network or vocabulary.
        DeviceMemoryError: The device has not enough memory.
    """
    return build_box_finder(read_weights(path), load_bert_tokenizer(vocabulary), plan)


def build_box_finder(file: WeightFile, tokenizer: BertTokenizer, plan: DevicePlan) -> BoxFinder:
    """As :func:`load_box_finder`, from files that are open."""
    home = plan.home_of(plan.device)
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "box finder"):
        tensors = without_extras(file.tensors)
        sizes = grounding_dino_config(tensors)
        if len(tokenizer) > sizes["text_config"]["vocab_size"]:
            raise ModelFileError(f"It knows fewer words than the {len(tokenizer)} of vocab.txt.")
        with without_memory():
            network = GroundingDinoForObjectDetection(GroundingDinoConfig(**sizes))
        weights = grounding_dino_weights(tensors)
        state = {name: tensor.to(home, torch.float32) for name, tensor in weights.items()}
        fill_weights(network, state, home)
    return BoxFinder(network, tokenizer, file.path.name)


def caption(text: str) -> str:
    """The text in small letters, without blanks around it, and with a full stop at the end."""
    stripped = text.lower().strip()
    return stripped if stripped.endswith(".") else f"{stripped}."


def shown_size(size: Size) -> Size:
    """The size a picture is shown at: shorter side 800, but no side longer than 1333.

    A side is 0 if the picture is too thin for that.
    """
    shorter, longer = min(size), max(size)
    side = _SHORTER_SIDE
    if longer / shorter * side > _LONGER_SIDE:
        side = round(_LONGER_SIDE * shorter / longer)
    if size.width < size.height:
        return Size(side, int(side * size.height / size.width))
    return Size(int(side * size.width / size.height), side)


def to_corners(boxes: Tensor, size: Size) -> Boxes:
    """Corners, in pixels, of boxes given by centre and size as shares of the picture's sides.

    Order, float32: times the sides, then centre minus and plus half the size.

    Args:
        boxes: (N, 4): x, y, width, height.
        size: Of the picture.
    """
    x, y, width, height = (boxes * torch.tensor(size * 2, dtype=torch.float32)).unbind(dim=1)
    edges = [x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height]
    corners: Boxes = torch.stack(edges, dim=1).numpy()
    return corners


def _check_places(shown: Size, size: Size, queries: int, levels: int) -> None:
    """Refuse pictures in which there are fewer places to look at than the network has queries."""
    strides = [_FINEST_STRIDE * 2**level for level in range(levels)]
    places = sum(ceil(shown.width / stride) * ceil(shown.height / stride) for stride in strides)
    if places < queries:
        raise InvalidInputError(
            f"Nothing can be searched in a picture of {size.width}x{size.height} pixels; it is too "
            "thin. Neither side may be more than 40 times as long as the other."
        )


def _pixels(image: Image, size: Size) -> Tensor:
    swapped = np.ascontiguousarray(image[..., ::-1])
    pixels = to_pixels(resample(swapped, size, PillowImage.Resampling.BILINEAR))
    mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (_MEAN, _STD))
    return (pixels - mean) / std
