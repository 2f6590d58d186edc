from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from PIL import Image

from tools.figures import SHAPES, THINGS, Pen, Place
from tools.picture_checks import Mask, kind_of

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def drawn_mask(kind: str, size: float) -> Mask:
    sheet = Image.new("RGB", (432, 336), WHITE)
    pen = Pen(sheet, Place(x=170, y=160, size=size))
    if kind in SHAPES:
        SHAPES[kind](pen, BLACK, WHITE)
    else:
        THINGS[kind](pen, BLACK, random.Random(1))
    mask: Mask = np.asarray(sheet).min(-1) < 255
    return mask


def ragged(mask: Mask, reach: float) -> Mask:
    """Let the rim of a mask stray to either side, by ``reach`` pixels in most places."""
    noise = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    waves = cv2.GaussianBlur(noise, (0, 0), 3)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    depth -= cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    strayed: Mask = depth > reach * waves / waves.std()
    return strayed


@pytest.mark.parametrize("size", [30.0, 60.0, 120.0])
@pytest.mark.parametrize("kind", [*SHAPES, *THINGS])
def test_things_are_recognised_at_every_size(kind: str, size: float) -> None:
    assert kind_of(drawn_mask(kind, size)) == kind


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_with_ragged_rims_are_recognised(kind: str) -> None:
    mask = drawn_mask(kind, 40.0)
    rough = ragged(mask, reach=3.0)

    assert not np.array_equal(rough, mask)
    assert kind_of(rough) == kind


def test_shapes_without_their_mark_are_others() -> None:
    ring = drawn_mask("ring", 60.0) | drawn_mask("circle", 40.0)
    headless = drawn_mask("tree", 60.0)
    headless[:165] = False

    assert kind_of(ring) == "circle"
    assert kind_of(drawn_mask("triangle", 60.0)[::-1]) != "triangle"
    assert kind_of(headless) != "tree"
