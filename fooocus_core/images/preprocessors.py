"""Control pictures: what a control net is shown of a picture.

Does not know the control nets, nor which size they need.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fooocus_core.images.arrays import to_rgb
from fooocus_core.params import Image

_PYRAMID = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_COARSE_WEIGHT = 0.75
_FINE_WEIGHT = 0.25
_EDGE_PERCENTILES = (1.0, 99.0)
_BLUR_SIGMA = 0.8
_GREY_PERCENTILES = (4.0, 96.0)


def canny_pyramid(image: Image, *, low: int, high: int) -> Image:
    """Draw the edges of a picture; those that are seen at many sizes are the brightest.

    Order, float32: :func:`trace_edges`, sum of the channels, stretched so that its percentiles 1
    and 99 become 0 and 255, clip, *truncate*. A picture without edges gives black.

    Args:
        image: uint8 (H, W, 3) RGB, of the size that the control picture is to have.
        low, high: Thresholds of the edge finder, 0-255.

    Returns:
        uint8 (H, W, 3), three equal channels.

    Source:
        lllyasviel/Fooocus, extras/preprocessors.py.
    """
    edges: NDArray[np.float32] = trace_edges(image, low=low, high=high).sum(axis=2)
    return to_rgb(_stretch(edges, _EDGE_PERCENTILES))


def trace_edges(image: Image, *, low: int, high: int) -> NDArray[np.float32]:
    """Find the edges of each channel at nine sizes, from a fifth of the picture to all of it.

    Order: shrink the picture, find its edges (0 or 1), and mix a quarter of them with three
    quarters of what the smaller sizes gave, enlarged to this size.

    Args:
        image: uint8 (H, W, 3); a shrunk side has at least one pixel.
        low, high: Thresholds of the edge finder, 0-255.

    Returns:
        (H, W, 3), 0.0-1.0.

    Source:
        lllyasviel/Fooocus, extras/preprocessors.py.
    """
    height, width = image.shape[:2]
    sizes = [(max(int(width * k), 1), max(int(height * k), 1)) for k in _PYRAMID]
    traced = _edges(_shrink(image, sizes[0]), low, high)
    for size in sizes[1:]:
        fine = _edges(_shrink(image, size), low, high)
        coarse = cv2.resize(traced, size, interpolation=cv2.INTER_LINEAR)
        traced = _COARSE_WEIGHT * coarse + _FINE_WEIGHT * fine
    return traced


def cpds(image: Image) -> Image:
    """Draw the structure of a picture in grey: a decolourisation that preserves contrast.

    Order: blur, decolourise, grey plus the distance of each blurred colour from its boosted one
    (float32), stretched so that the percentiles 4 and 96 become 0 and 255, clip, *truncate*. A
    picture of one colour gives black.

    Args:
        image: uint8 (H, W, 3) RGB, of the size that the control picture is to have.

    Returns:
        uint8 (H, W, 3), three equal channels.

    Source:
        lllyasviel/Fooocus, extras/preprocessors.py; the decolourisation is OpenCV's.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), _BLUR_SIGMA)
    # OpenCV takes the channels for blue, green, red; the reference passes them as they are.
    grey, boosted = cv2.decolor(blurred)
    difference = blurred.astype(np.float32) - boosted.astype(np.float32)
    distance = np.sqrt(np.sum(difference**2, axis=2))
    return to_rgb(_stretch(grey.astype(np.float32) + distance, _GREY_PERCENTILES))


def _shrink(image: Image, size: tuple[int, int]) -> Image:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _edges(image: NDArray[np.uint8], low: int, high: int) -> NDArray[np.float32]:
    channels = [
        cv2.Canny(np.ascontiguousarray(image[..., channel]), low, high) for channel in range(3)
    ]
    return np.stack(channels, axis=2).astype(np.float32) / 255.0


def _stretch(values: NDArray[np.float32], percentiles: tuple[float, float]) -> NDArray[np.uint8]:
    lowest, highest = np.percentile(values, percentiles).astype(np.float32)
    if lowest == highest:
        # Where the reference divides by zero: infinite is clipped, not a number becomes black.
        return np.where(values > lowest, 255, 0).astype(np.uint8)
    stretched: NDArray[np.float32] = (values - lowest) / (highest - lowest) * np.float32(255.0)
    return stretched.clip(0, 255).astype(np.uint8)
