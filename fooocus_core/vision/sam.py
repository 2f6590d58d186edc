"""Cutting things out of a picture by the boxes around them, with "segment anything".

Knows neither what the things are nor how the boxes were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional
from transformers import SamConfig, SamModel

from fooocus_core.errors import ModelFileError
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.resize import resample
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.params import Image, Size
from fooocus_core.vision.boxes import Boxes
from fooocus_core.vision.sam_weights import sam_config, sam_weights

Check = Callable[[], None]

# Per channel, of pixels 0-255. Source: segment_anything/build_sam.py.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
# Decoded at once; each takes about 50 MB for the published networks.
_BATCH = 8


class Segmenter:
    """Cuts things out of pictures.

    Attributes:
        network: Its weights have to be where it computes when something is cut out.
    """

    def __init__(self, network: SamModel, side: int, name: str) -> None:
        """Take over a network.

        Args:
            network: Its weights.
            side: Of the square that it sees, in pixels.
            name: Of its file, for messages.
        """
        self.network = network
        self._side = side
        self._name = name

    @torch.no_grad()
    def cut_out(self, image: Image, boxes: Boxes, check: Check = lambda: None) -> Iterator[Mask]:
        """Make one mask per box, in their order, each when it is asked for.

        The picture is resized (bilinear) so that its longer side is the network's, normalised and
        padded with 0. What the network gives is enlarged (bilinear) to the padded square, cropped,
        resized (bilinear) to the picture, and white where above 0.

        Args:
            image: (H, W, 3) RGB.
            boxes: May reach beyond the picture.
            check: Called before each of the longer steps; may raise in order to stop.

        Returns:
            (H, W), black and white.

        Raises:
            DeviceMemoryError: The device has not enough memory.
            ModelFileError: The network gave values that are not finite.

        Source:
            arXiv:2304.02643; facebookresearch/segment-anything (Apache-2.0),
            segment_anything/predictor.py.
        """
        size = inner_size(size_of(image), self._side)
        check()
        with memory_errors("looking for what lies in the boxes"):
            features = self.network.get_image_embeddings(self._pixels(image, size))
        prompts = torch.from_numpy(scaled(boxes, size_of(image), size)).to(features)
        for some in torch.split(prompts, _BATCH):
            check()
            for value in self._decode(features, some):
                yield _to_mask(value, self._side, size, size_of(image))

    def _pixels(self, image: Image, size: Size) -> Tensor:
        small = resample(image, size, PillowImage.Resampling.BILINEAR)
        pixels = torch.from_numpy(small).to(self.network.device).permute(2, 0, 1).float()
        mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (_MEAN, _STD))
        padding = (0, self._side - size.width, 0, self._side - size.height)
        return functional.pad((pixels - mean) / std, padding).unsqueeze(0)

    @memory_errors("cutting out what lies in the boxes")
    def _decode(self, features: Tensor, boxes: Tensor) -> Tensor:
        values: Tensor = self.network(
            image_embeddings=features, input_boxes=boxes.unsqueeze(0), multimask_output=False
        ).pred_masks[0]
        if not torch.isfinite(values).all():
            raise ModelFileError(
                f"{self._name} gave values that are not finite; the file is damaged."
            )
        return values


def load_segmenter(path: Path, plan: DevicePlan) -> Segmenter:
    """Load a segmenter to where the plan has networks of its device wait; it is float32.

    Raises:
        ModelFileError: The file is unreadable or not such a network.
        DeviceMemoryError: The device has not enough memory.
    """
    return build_segmenter(read_weights(path), plan)


def build_segmenter(file: WeightFile, plan: DevicePlan) -> Segmenter:
    """As :func:`load_segmenter`, from a file that is open."""
    home = plan.home_of(plan.device)
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "segmenter"):
        # Of the attention implementations, eager is the closest to the original.
        sizes = {**sam_config(file.tensors), "attn_implementation": "eager"}
        with without_memory():
            network = SamModel(SamConfig(**sizes))
        state = {name: t.to(home, torch.float32) for name, t in sam_weights(file.tensors).items()}
        fill_weights(network, state, home)
    return Segmenter(network, sizes["vision_config"]["image_size"], file.path.name)


def inner_size(size: Size, side: int) -> Size:
    """The size at which the longer side of a picture is ``side``; halves are rounded up."""
    scale = side / max(size)
    return Size(*(max(int(length * scale + 0.5), 1) for length in size))


def scaled(boxes: Boxes, size: Size, new_size: Size) -> Boxes:
    """Where boxes lie in a picture that was resized."""
    ratios = [new / old for new, old in zip(new_size, size, strict=True)]
    return boxes * np.array(ratios * 2, dtype=np.float32)


@memory_errors("enlarging a mask")
def _to_mask(values: Tensor, side: int, inner: Size, size: Size) -> Mask:
    values = _resized(values.unsqueeze(0), Size(side, side))
    values = _resized(values[..., : inner.height, : inner.width], size)
    mask: Mask = (values[0, 0] > 0).to(torch.uint8).mul(255).cpu().numpy()
    return mask


def _resized(values: Tensor, size: Size) -> Tensor:
    shape = (size.height, size.width)
    return functional.interpolate(values, shape, mode="bilinear", align_corners=False)
