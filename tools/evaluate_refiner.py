"""Measures on whole pictures what the refiner makes of those that the embedded model begins.

Uses the project's own engine and the preset ``tiny``, so what is measured is what is served. Every
prompt is painted by the base model alone, and with the refiner taking over.

    python -m tools.evaluate_refiner --root DIR --sheet FILE.png [--switch 0.6] [--part 1]
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image as PillowImage

from fooocus_core.params import Image, Size
from tools.evaluate_tiny import DEFAULT_SIZE, Painter, make_sheet

logger = logging.getLogger(__name__)

REFINER = "tiny_refiner.safetensors"
PROMPTS: tuple[str, ...] = (
    "a red circle on a blue background",
    "a large yellow star, black background",
    "a green square on white",
    "red and white stripes",
    "a blue house at night",
    "a green field on a sunny day",
    "a cat",
    "two orange triangles on a purple background",
)
SEED = 1000
FLAT = 1.5  # change of brightness from pixel to pixel up to which a place is flat
CELLS = 8  # per side: where colours are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How crisp a picture is.

    Attributes:
        sharpness: Change of brightness from pixel to pixel, averaged over places as they
            contribute to all change: the same step is sharper the fewer pixels it takes.
        flat: Share of places without change.
    """

    sharpness: float
    flat: float


def look(picture: Image) -> Look:
    """Measure a picture, uint8 (H, W, 3)."""
    down, across = np.gradient(picture.astype(np.float64).mean(2))
    change = np.hypot(down, across)
    total = float(change.sum())
    return Look(
        sharpness=float(np.square(change).sum()) / total if total else 0.0,
        flat=float((change <= FLAT).mean()),
    )


def colours_apart(one: Image, other: Image) -> float:
    """How far the mean colours of the cells of two pictures are apart, 0 to 255."""
    cells = [
        np.asarray(PillowImage.fromarray(x).resize((CELLS, CELLS), PillowImage.Resampling.BOX))
        for x in (one, other)
    ]
    return float(np.abs(cells[0].astype(np.float64) - cells[1]).mean())


def main() -> None:
    """Read the arguments, paint and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for what the engine writes")
    parser.add_argument("--sheet", type=Path, required=True, help="where the sheet is written")
    parser.add_argument("--switch", type=float, default=0.6, help="share of the steps")
    parser.add_argument("--part", type=int, default=1, help="divides the sides of the pictures")
    parser.add_argument("--count", type=int, default=len(PROMPTS), help="how many prompts")
    parser.add_argument("--styles", action="store_true", help="with the default styles")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    painter = Painter(arguments.root, styles=arguments.styles)
    size = Size(*(side // arguments.part for side in DEFAULT_SIZE))
    shown, apart = [], []
    looks: dict[str, list[Look]] = {"base alone": [], "with refiner": []}
    for index, prompt in enumerate(PROMPTS[: arguments.count]):
        painted = {
            "base alone": painter.paint(prompt, SEED + index, size=size),
            "with refiner": painter.paint(
                prompt, SEED + index, size=size, refiner=REFINER, switch=arguments.switch
            ),
        }
        apart.append(colours_apart(*(np.array(picture) for picture in painted.values())))
        logger.info("%s: colours %.1f apart", prompt, apart[-1])
        for name, picture in painted.items():
            looks[name].append(look(np.array(picture)))
            shown.append((f"{name}: {prompt}", picture))
    make_sheet(shown, columns=4).save(arguments.sheet)
    for name, found in looks.items():
        sharpness, flat = mean(x.sharpness for x in found), mean(x.flat for x in found)
        logger.info("%s: sharpness %.2f, flat %.2f", name, sharpness, flat)
    logger.info("colours %.1f apart", mean(apart))


if __name__ == "__main__":
    main()
