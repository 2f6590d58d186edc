"""Draws the exam with the embedded model as the server would, and scores it by its pixels.

Uses the project's own engine and the preset ``tiny`` with its default styles, so what is measured
is what is served. Painted pictures are kept, so that a run that was cut off goes on.

    python -m tools.evaluate_tiny --root DIR [--performance "Extreme Speed"] [--sheet FILE.png]
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw

from fooocus_core.choices import Performance
from fooocus_core.config import CoreConfig, DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ImagePrompt,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.performance import MODES
from tools.exam import Question, exam
from tools.figures import SHAPES
from tools.picture_checks import SceneJudge, things_on
from tools.scores import Score, Scores
from tools.sheet import COLOURS

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
SEED = 1000
NEGATIVES = 48


class Painter:
    """Draws prompts with the engine and the preset of the embedded model."""

    def __init__(
        self, root: Path, *, styles: bool = True, performance: Performance = Performance.SPEED
    ) -> None:
        self._config: CoreConfig = load_config(root=root, preset="tiny", environ={})
        self._engine: Engine = create_engine(self._config, DeviceOptions())
        self._styles = self._config.defaults.styles if styles else ()
        self._performance = performance
        self.seconds: list[float] = []
        """Of the pictures painted so far, each; the first one's with the loading of the model."""

    def paint(
        self,
        prompt: str,
        seed: int,
        *,
        negative: str = "",
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
            prompt=PromptParams(positive=prompt, negative=negative, styles=self._styles),
            canvas=CanvasParams(size=size, seed=seed),
            sampling=SamplingParams(performance=self._performance),
            image_prompts=image_prompts,
        )
        begun = time.monotonic()
        (generated,) = self._engine.generate(params, lambda _: None, CancelToken())
        self.seconds.append(time.monotonic() - begun)
        logger.info("%.1f s for %s", self.seconds[-1], prompt)
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


class Album:
    """Paints what is not painted yet, and keeps it in a folder."""

    def __init__(self, painter: Painter, folder: Path) -> None:
        self._painter, self._folder = painter, folder
        folder.mkdir(parents=True, exist_ok=True)

    def picture(self, name: str, prompt: str, seed: int, *, negative: str = "") -> Image.Image:
        """Return the picture of a name."""
        path = self._folder / f"{name}.png"
        if not path.exists():
            part = path.with_suffix(".part")
            self._painter.paint(prompt, seed, negative=negative).save(part, format="png")
            part.replace(path)
        return Image.open(path)


def evaluate(album: Album, questions: tuple[Question, ...], every: int) -> Scores:
    """Draw every n-th question of the exam, and log what is wrong."""
    scores = Scores(SceneJudge())
    for index in range(0, len(questions), every):
        question = questions[index]
        wrong = scores.add(question, album.picture(f"{index:03d}", question.prompt, SEED + index))
        if wrong:
            logger.info("%s: %s", question.prompt, ", ".join(wrong))
    return scores


def evaluate_negative(album: Album, every: int) -> Score:
    """Forbid the colour that a thing gets when its prompt names none; count how often it goes."""
    score, backgrounds = Score(), list(COLOURS)
    for index in range(0, NEGATIVES, every):
        shape, background = list(SHAPES)[index % len(SHAPES)], backgrounds[index % len(COLOURS)]
        prompt, seed = f"a {shape} on a {background} background", SEED + index
        first = things_on(album.picture(f"free-{index:03d}", prompt, seed))
        if not first:
            score.add(right=False)
            continue
        colour = first[0].colour
        second = things_on(album.picture(f"without-{index:03d}", prompt, seed, negative=colour))
        score.add(right=bool(second) and second[0].colour != colour)
    return score


def machine() -> str:
    """Name of the processor and number of its cores."""
    described = Path("/proc/cpuinfo")
    text = described.read_text(encoding="utf-8") if described.exists() else ""
    return f"{processor_name(text) or platform.machine()}, {os.cpu_count()} cores"


def processor_name(described: str) -> str | None:
    """Find the name of the first processor in what Linux tells of them."""
    found = re.search(r"^model name\s*:\s*(.+)$", described, re.MULTILINE)
    return found[1] if found else None


def table(marks: Mapping[str, Score]) -> str:
    """Return the scores as rows of a Markdown table."""
    return "\n".join(f"| {name} | {score} |" for name, score in marks.items())


def main() -> None:
    """Read the arguments, draw and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for pictures and models")
    parser.add_argument("--sheet", type=Path, help="where a sheet of shown prompts is written")
    parser.add_argument("--no-styles", action="store_true", help="without the default styles")
    parser.add_argument("--only-sheet", action="store_true", help="without the exam")
    parser.add_argument("--every", type=int, default=1, help="ask only every n-th question")
    parser.add_argument(
        "--performance", type=Performance, default=Performance.SPEED, choices=list(Performance)
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    mode: Performance = arguments.performance
    painter = Painter(arguments.root, styles=not arguments.no_styles, performance=mode)
    if arguments.sheet:
        drawn = [(prompt, painter.paint(prompt, SEED + i)) for i, prompt in enumerate(SHOWN)]
        make_sheet(drawn).save(arguments.sheet)
    if not arguments.only_sheet:
        album = Album(painter, arguments.root / "exam" / mode)
        marks = {**evaluate(album, exam(), arguments.every).marks}
        if MODES[mode].lora is None:  # the others draw without guidance, where nothing can forbid
            marks["negative colour avoided"] = evaluate_negative(album, arguments.every)
        logger.info("\n%s", table(marks))
    if painter.seconds:
        logger.info("%s: %.1f s per picture in %s", machine(), median(painter.seconds), mode)


if __name__ == "__main__":
    main()
