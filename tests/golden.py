"""Recorded vectors: loading them and comparing with them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PillowImage

GOLDEN = Path(__file__).parent / "golden"

# Tolerances of the recording's README, section 4, as share of the expected array's std.
NETWORK = 1e-4
LATENT = 2e-3


@cache
def load_json(name: str) -> Any:
    """A recorded table, e.g. ``components/clip``."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@cache
def load_arrays(name: str) -> dict[str, NDArray[Any]]:
    """Recorded arrays, e.g. ``components/clip``, by name."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


@cache
def load_picture(name: str) -> NDArray[np.uint8]:
    """A recorded input picture, e.g. ``photo_a``: (H, W, 3)."""
    with PillowImage.open(GOLDEN / "inputs" / f"{name}.png") as picture:
        return np.asarray(picture)


def load_cases(name: str) -> list[dict[str, Any]]:
    """The cases of a recorded table whose entries are objects."""
    table = load_json(name)
    return list(table["cases"] if isinstance(table, dict) else table)


def case_id(case: dict[str, Any]) -> str:
    """A readable test id."""
    return str(case.get("key") or case.get("name") or case.get("text") or case)[:60]


def random_array(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The recording's test array "PCG64(seed)"."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal(shape, dtype=np.float32)


def assert_matches(actual: ArrayLike, expected: NDArray[Any], tolerance: float) -> None:
    """Assert that the largest difference is at most ``tolerance`` times the expected std."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    scale = float(expected.std()) or 1.0
    assert difference <= tolerance * scale, f"{difference / scale:.2e} of std, allowed {tolerance}"
