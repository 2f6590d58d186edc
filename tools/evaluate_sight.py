"""Measures how well the embedded model's companions say what pictures show, and where.

Uses the project's own engine and the preset ``tiny``, so what is measured is what is served. The
pictures are drawings that training did not see, in the listed sizes, so that what they show is
known. With a sheet it also paints prompts, and shows what is said and masked of these.

    python -m tools.evaluate_sight --root DIR [--count 200] [--sheet FILE.png]
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image as PillowImage

from fooocus_core.choices import DescribeKind, MaskModel
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.params import Image, MaskParams
from tools.drawing import Drawing, draw
from tools.evaluate_tiny import SHOWN, Painter, make_sheet
from tools.mask_model import SIGNATURES
from tools.outlines import Mask, overlap, thing_mask
from tools.scores import Score
from tools.telling import missing_in, sentence
from tools.train_tiny import draw_size

logger = logging.getLogger(__name__)

SEED = 1_000_003
ALL_NAMED = "colours and kinds"
FOUND = 127  # brightness above which a place of a mask is selected


class Viewer:
    """Asks the engine of the embedded model what a picture shows."""

    def __init__(self, root: Path) -> None:
        config = load_config(root=root, preset="tiny", environ={})
        self._engine: Engine = create_engine(config, DeviceOptions())

    def describe(self, image: Image) -> str:
        """Describe a picture in a sentence."""
        return self._engine.describe(image, DescribeKind.PHOTO)

    def mask(self, image: Image, model: MaskModel) -> Mask:
        """Where a mask model sees what it looks for: (H, W)."""
        return self._engine.generate_mask(image, MaskParams(model=model)) > FOUND


def held_out(count: int) -> list[Drawing]:
    """Draw pictures that training does not see."""
    rng = random.Random(SEED)
    return [draw(rng, draw_size(rng)) for _ in range(count)]


def score_words(viewer: Viewer, drawings: list[Drawing]) -> dict[str, Score]:
    """Count what is said rightly of drawings."""
    scores = {ALL_NAMED: Score(), "every word": Score()}
    for drawing in drawings:
        said, wanted = viewer.describe(np.array(drawing.image)), sentence(drawing.facts)
        missing = missing_in(said, drawing.facts)
        if missing:
            logger.debug("%s | %s", wanted, said)
        scores[ALL_NAMED].add(right=not missing)
        scores["every word"].add(right=said == wanted)
    return scores


def score_masks(viewer: Viewer, drawings: list[Drawing]) -> Mapping[MaskModel, tuple[float, Score]]:
    """Compare masks with where things are.

    Returns:
        Of each model the mean intersection over union where there is something to find, and how
        often the mask is empty where there is nothing.
    """
    found = {}
    for model in SIGNATURES:
        overlaps, empty = [], Score()
        for drawing in drawings:
            wanted = thing_mask(drawing)
            mask = viewer.mask(np.array(drawing.image), model)
            if wanted.any():
                overlaps.append(overlap(mask, wanted))
            else:
                empty.add(right=not mask.any())
        found[model] = mean(overlaps), empty
    return found


def show_painted(viewer: Viewer, painter: Painter, seed: int) -> PillowImage.Image:
    """Paint prompts, and put pictures, what is said of them and their masks on a sheet."""
    shown = []
    for index, prompt in enumerate(SHOWN):
        picture = painter.paint(prompt, seed + index)
        image = np.array(picture)
        mask = viewer.mask(image, MaskModel.ISNET_GENERAL_USE)
        said = viewer.describe(image)
        logger.info("%s | %s", prompt, said)
        shown += [(said, picture), ("", PillowImage.fromarray(mask))]
    return make_sheet(shown, columns=4)


def main() -> None:
    """Read the arguments, look at pictures and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for what the engine writes")
    parser.add_argument("--count", type=int, default=200, help="drawings that are looked at")
    parser.add_argument("--sheet", type=Path, help="where a sheet of painted pictures is written")
    parser.add_argument("--seed", type=int, default=1000, help="of the first painted picture")
    parser.add_argument("--verbose", action="store_true", help="log what is wrong")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logger.setLevel(logging.DEBUG if arguments.verbose else logging.INFO)
    viewer, drawings = Viewer(arguments.root), held_out(arguments.count)
    if drawings:
        for name, score in score_words(viewer, drawings).items():
            logger.info("%s: %s", name, score)
        for model, (overlapping, empty) in score_masks(viewer, drawings).items():
            logger.info("%s: overlap %.3f, empty masks %s", model, overlapping, empty)
    if arguments.sheet:
        painter = Painter(arguments.root, styles=False)
        show_painted(viewer, painter, arguments.seed).save(arguments.sheet)


if __name__ == "__main__":
    main()
