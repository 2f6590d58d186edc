from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.params import Image
from tools.evaluate_refiner import colours_apart, look


def edge(width: int) -> Image:
    """A dark and a bright half with a slope of some pixels between them."""
    across = np.clip((np.arange(128) - 64) / width + 0.5, 0, 1) * 200 + 20
    return np.repeat(np.tile(across, (96, 1))[..., None], 3, axis=2).astype(np.uint8)


def blotched(picture: Image) -> Image:
    rng = np.random.default_rng(0)
    return (picture + rng.integers(0, 12, picture.shape)).astype(np.uint8)


def test_a_steeper_edge_is_sharper() -> None:
    assert look(edge(4)).sharpness > 2 * look(edge(16)).sharpness


def test_blotches_make_a_picture_less_flat_and_less_sharp() -> None:
    clean, rough = look(edge(8)), look(blotched(edge(8)))

    assert rough.flat < clean.flat
    assert rough.sharpness < clean.sharpness


def test_a_plain_picture_is_flat() -> None:
    seen = look(np.full((64, 64, 3), 90, np.uint8))

    assert (seen.sharpness, seen.flat) == (0.0, 1.0)


def test_colours_are_compared_and_edges_are_not() -> None:
    assert colours_apart(edge(4), edge(8)) < 3
    assert colours_apart(edge(4), edge(4) + np.uint8(30)) == pytest.approx(30, abs=0.5)
