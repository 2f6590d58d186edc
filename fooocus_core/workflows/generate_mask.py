"""Making the mask of a picture: what stands out in it, or what a text names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fooocus_core.choices import MaskModel
from fooocus_core.downloads import BERT_VOCABULARY, GROUNDING_DINO, foreground_file, sam_file
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.masks import fill_small_holes
from fooocus_core.params import Image, MaskParams
from fooocus_core.vision.boxes import Boxes, draw_boxes, grow_boxes
from fooocus_core.workflows.resources import Resources

Check = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """The mask of a picture.

    Attributes:
        mask: (H, W), white = selected.
        detections: How many things were found that the text names; ``None`` = none was asked for.
    """

    mask: Mask
    detections: int | None = None


def generate_mask(
    image: Image, params: MaskParams, resources: Resources, check: Check = lambda: None
) -> FoundMask:
    """Make the mask of a picture.

    Args:
        image: (H, W, 3) RGB.
        params: What to look for, and how.
        resources: Where networks are kept.
        check: Called before each of the longer steps; may raise in order to stop.

    Raises:
        InvalidInputError: The picture is too thin.
        ModelNotFoundError: A file is not in its folders.
        PackageMissingError: ONNX Runtime is not installed.
        ModelFileError: A file cannot be used.
        DeviceMemoryError: The device has not enough memory.
    """
    check()
    if params.model is not MaskModel.SAM:
        path = resources.find(foreground_file(params.model))
        network = resources.auxiliary.masks.foreground(path, params.model)
        return FoundMask(mask=network.mask(image, params.cloth_category))
    boxes = _find_boxes(image, params, resources)
    if params.show_boxes:
        mask = draw_boxes(boxes, size_of(image))
    else:
        mask = _cut_out(image, boxes[: params.max_detections or None], params, resources, check)
    return FoundMask(mask=mask, detections=len(boxes))


def _find_boxes(image: Image, params: MaskParams, resources: Resources) -> Boxes:
    path, vocabulary = resources.find(GROUNDING_DINO), resources.find(BERT_VOCABULARY)
    finder = resources.auxiliary.masks.box_finder(path, vocabulary)
    with resources.models.at_work(finder.network):
        boxes = finder.find(image, params.prompt, params.box_threshold)
    return grow_boxes(boxes, params.grow_boxes)


def _cut_out(
    image: Image, boxes: Boxes, params: MaskParams, resources: Resources, check: Check
) -> Mask:
    """What lies in any of the boxes."""
    union = np.zeros(image.shape[:2], dtype=np.uint8)
    if len(boxes) == 0:
        return union
    segmenter = resources.auxiliary.masks.segmenter(resources.find(sam_file(params.sam_model)))
    with resources.models.at_work(segmenter.network):
        for mask in segmenter.cut_out(image, boxes, check):
            np.maximum(union, fill_small_holes(mask), out=union)
    return union
