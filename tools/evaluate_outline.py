"""Measures on whole pictures what the outline LoRA does to the embedded model.

Uses the project's own engine and the preset ``tiny``; the LoRA is asked for in the prompt, as a
caller may. Each prompt is painted without it, too.

    python -m tools.evaluate_outline --root DIR [--sheet FILE.png] [--count 8]
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from tools.drawing import Drawing
from tools.evaluate_tiny import Painter, make_sheet
from tools.lora_checks import Likeness, coarse_size, compare, draw_tests
from tools.train_tiny_lora import OUTLINE_FILE

logger = logging.getLogger(__name__)

TAG = f"<lora:{Path(OUTLINE_FILE).stem}:1.0>"
PLAIN, INKED = "without", "with"


class Paints(Protocol):
    """Paints a prompt."""

    def paint(self, prompt: str, seed: int) -> Image.Image:
        """Paint one picture."""


def paint_both(painter: Paints, drawings: Sequence[Drawing]) -> dict[str, list[Image.Image]]:
    """Paint the caption of each drawing without and with the LoRA, with the same seed."""
    painted: dict[str, list[Image.Image]] = {PLAIN: [], INKED: []}
    for seed, drawing in enumerate(drawings):
        painted[PLAIN].append(painter.paint(drawing.caption, seed))
        painted[INKED].append(painter.paint(f"{drawing.caption} {TAG}", seed))
    return painted


def judge(
    painted: dict[str, list[Image.Image]], drawings: Sequence[Drawing]
) -> dict[str, Likeness]:
    """Compare what was painted with the drawings, place of a latent by place."""
    return {
        name: compare([_coarse(picture) for picture in pictures], drawings)
        for name, pictures in painted.items()
    }


def _coarse(picture: Image.Image) -> Image.Image:
    return picture.resize(coarse_size(0), Image.Resampling.BOX)


def main() -> None:
    """Read the arguments, paint and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for what the engine writes")
    parser.add_argument("--sheet", type=Path, help="where the contact sheet is written")
    parser.add_argument("--count", type=int, default=8, help="prompts")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    drawings = draw_tests(arguments.count, 0)
    painted = paint_both(Painter(arguments.root, styles=False), drawings)
    for name, likeness in judge(painted, drawings).items():
        logger.info("%s: %s", name, likeness)
    if arguments.sheet:
        captions = [drawing.caption for drawing in drawings]
        shown = [
            (f"{name}: {caption}", picture)
            for name, pictures in painted.items()
            for caption, picture in zip(captions, pictures, strict=True)
        ]
        make_sheet(shown, columns=arguments.count).save(arguments.sheet)


if __name__ == "__main__":
    main()
