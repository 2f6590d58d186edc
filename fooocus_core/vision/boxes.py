"""Boxes around things in a picture: changing their size, and showing them.

Knows neither how they are found nor what is done with what lies in them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from fooocus_core.images.arrays import Mask
from fooocus_core.params import Size

Boxes = NDArray[np.float32]  # (N, 4): left, top, right, bottom in pixels
_WHITE = 255


def grow_boxes(boxes: Boxes, pixels: float) -> Boxes:
    """Move each side of boxes outwards, or inwards by a negative number of pixels.

    They may end up beyond the picture, or with left and right, top and bottom exchanged.
    """
    outwards = np.array([-pixels, -pixels, pixels, pixels], dtype=np.float32)
    return boxes + outwards


def draw_boxes(boxes: Boxes, size: Size) -> Mask:
    """Draw boxes white on black; coordinates are cut to whole numbers, both edges are inside.

    What lies beyond the picture, and boxes with sides exchanged, are not seen.
    """
    picture = PillowImage.new("L", size)
    draw = ImageDraw.Draw(picture)
    for left, top, right, bottom in boxes.tolist():
        if left <= right and top <= bottom:
            draw.rectangle((int(left), int(top), int(right), int(bottom)), fill=_WHITE)
    return np.array(picture)
