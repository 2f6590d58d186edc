"""The files of a small tagger, in the layout of the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.onnx_files import write_mean_network

NAMES = (
    *("general", "explicit", "1girl", "solo", "^_^", "hat_over_(one)_eye", "tree_(plant)"),
    *("link", "saber_(fate)"),
)
CATEGORIES = ("9", "9", "0", "0", "0", "0", "0", "4", "4")
# By which channel of the input, which is BGR, each tag goes; -1 = by none.
_CHANNELS = (2, 0, 2, 0, 2, -1, 0, 2, 0)
_SIDE = 32


def write_tagger(path: Path) -> Path:
    """A network that finds tags in red pictures, and others in blue ones."""
    weights = np.full((3, len(NAMES)), -1.0, np.float32)
    for index, channel in enumerate(_CHANNELS):
        if channel >= 0:
            weights[channel, index] = 2.0
    return write_mean_network(path, weights, _SIDE)


def write_tag_list(
    path: Path, names: Sequence[str] = NAMES, categories: Sequence[str] = CATEGORIES
) -> Path:
    """The list of tags."""
    rows = zip(names, categories, strict=True)
    lines = [f"{index},{name},{category},7" for index, (name, category) in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["tag_id,name,category,count", *lines, ""]), encoding="utf-8")
    return path
