"""Draws with the embedded model as the server would, and counts how often pictures follow prompts.

Uses the project's own engine and the preset ``tiny``, so what is measured is what is served.

    python -m tools.evaluate_tiny --root DIR --sheet FILE.png [--styles] [--only-sheet]
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fooocus_core.config import CoreConfig, DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ImagePrompt,
    ModelParams,
    PromptParams,
    Size,
)
from tools.picture_checks import Scores, cases

logger = logging.getLogger(__name__)

SHOWN: tuple[str, ...] = (
    "a red circle on a blue background",
    "a large yellow star, black background",
    "a green square on white",
    "a blue house at night",
    "a sunset over the sea",
    "mountains at night",
    "a green field on a sunny day",
    "red and white stripes",
    "a small pink heart in the top left corner on a green background",
    "two orange triangles on a purple background",
    "a cat",
    "A bear",
    "1girl sitting on the ground",
    "1girl sitting on the chair",
    "a red house in a green field",
    "a yellow circle to the left of a blue square on gray",
    "a black and white checkerboard",
    "a tree in a green field",
    "a white ring on a red background",
    "the moon and stars over the sea",
)
DEFAULT_SIZE = CanvasParams().size
COLUMNS = 5
CELL = (288, 224)
CAPTION_HEIGHT = 14


class Painter:
    """Draws prompts with the engine and the preset of the embedded model."""

    def __init__(self, root: Path, *, styles: bool) -> None:
        self._config: CoreConfig = load_config(root=root, preset="tiny", environ={})
        self._engine: Engine = create_engine(self._config, DeviceOptions())
        self._styles = self._config.defaults.styles if styles else ()

    def paint(
        self,
        prompt: str,
        seed: int,
        *,
        size: Size = DEFAULT_SIZE,
        image_prompts: tuple[ImagePrompt, ...] = (),
        refiner: str | None = None,
        switch: float = 0.5,
    ) -> Image.Image:
        """Draw one picture; a refiner takes over at a share of the steps."""
        models = ModelParams(
            base=self._config.defaults.model, refiner=refiner, refiner_switch=switch
        )
        params = GenerationParams(
            models=models,
            prompt=PromptParams(positive=prompt, styles=self._styles),
            canvas=CanvasParams(size=size, seed=seed),
            image_prompts=image_prompts,
        )
        begun = time.monotonic()
        (generated,) = self._engine.generate(params, lambda _: None, CancelToken())
        logger.info("%.1f s for %s", time.monotonic() - begun, prompt)
        return Image.fromarray(np.asarray(generated.image))


def make_sheet(pictures: list[tuple[str, Image.Image]], columns: int = COLUMNS) -> Image.Image:
    """Put pictures with their prompts on one sheet."""
    rows = -(-len(pictures) // columns)
    width, height = CELL[0], CELL[1] + CAPTION_HEIGHT
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (words, picture) in enumerate(pictures):
        x, y = index % columns * width, index // columns * height
        sheet.paste(picture.resize(CELL, Image.Resampling.BOX), (x, y))
        pen.text((x + 2, y + CELL[1] + 1), words[:48], fill="black")
    return sheet


def evaluate(painter: Painter, seed: int, every: int) -> None:
    """Draw every n-th case of the checks and log what is wrong, then the scores."""
    scores = Scores()
    for index, case in enumerate(cases()[::every]):
        wrong = scores.add(case, painter.paint(case.prompt, seed + index))
        if wrong:
            logger.info("%s: %s", case.prompt, wrong)
    logger.info("%s", scores)


def main() -> None:
    """Read the arguments, draw and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for what the engine writes")
    parser.add_argument("--sheet", type=Path, help="where the contact sheet is written")
    parser.add_argument("--styles", action="store_true", help="with the default styles")
    parser.add_argument("--only-sheet", action="store_true", help="without the counting")
    parser.add_argument("--every", type=int, default=1, help="count only every n-th prompt")
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    painter = Painter(arguments.root, styles=arguments.styles)
    if arguments.sheet:
        drawn = [
            (prompt, painter.paint(prompt, arguments.seed + i)) for i, prompt in enumerate(SHOWN)
        ]
        make_sheet(drawn).save(arguments.sheet)
    if not arguments.only_sheet:
        evaluate(painter, arguments.seed, arguments.every)


if __name__ == "__main__":
    main()
