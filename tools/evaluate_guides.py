"""Measures on whole pictures what image prompts and control pictures do to the embedded model.

Uses the project's own engine and the preset ``tiny``, so what is measured is what is served. Each
guide is a drawing that training did not see; every picture is painted without it, too.

    python -m tools.evaluate_guides --root DIR --sheet FILE.png [--count 8] [--stop 0.5]
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fooocus_core.choices import ControlKind
from fooocus_core.params import ControlParams, Image, ImagePrompt, Size
from fooocus_core.workflows.image_prompt import control_picture
from tools.drawing import Drawing, draw
from tools.evaluate_tiny import DEFAULT_SIZE, Painter, make_sheet
from tools.exam import Question, exam
from tools.lookalikes import Lookalikes, behind_things, without_background
from tools.picture_checks import SceneJudge, border_colour
from tools.scores import Scores

logger = logging.getLogger(__name__)

KINDS = (ControlKind.IMAGE_PROMPT, ControlKind.PYRA_CANNY, ControlKind.CPDS)
SEED = 1_000_003
# What requests get that name none.
STOP, WEIGHTS = 0.5, {ControlKind.IMAGE_PROMPT: 0.6}
TRIES = 100  # drawings per guide, at most
EDGE = 64  # brightness from which a place of a traced picture is an edge
REACH = 17  # pixels, about two places of a latent: how far an edge may be off, twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How alike a guide and a picture are, by what the kind of guide is to carry over.

    Attributes:
        colour: Distance of the mean colours, 0 to 255 per channel, averaged.
        rim: Whether the rims have the same nearest named colour.
        structure: Correlation of the two control pictures, -1.0 to 1.0.
        edges: Of edges in either, the share that is in both.
    """

    colour: float
    rim: bool
    structure: float
    edges: float


def compare(guide: Image, picture: Image) -> Seen:
    """Compare a guide with a picture of the same size, both uint8 (H, W, 3)."""
    colour = np.abs(guide.mean((0, 1)) - picture.mean((0, 1))).mean()
    rims = [border_colour(PillowImage.fromarray(image)) for image in (guide, picture)]
    return Seen(
        colour=float(colour),
        rim=rims[0] == rims[1],
        structure=_correlation(
            _traced(guide, ControlKind.CPDS), _traced(picture, ControlKind.CPDS)
        ),
        edges=edge_agreement(
            _traced(guide, ControlKind.PYRA_CANNY), _traced(picture, ControlKind.PYRA_CANNY)
        ),
    )


def edge_agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Intersection over union of the edges in traced pictures, (H, W), each edge made wide."""
    near = np.ones((REACH, REACH), np.uint8)
    first, second = (cv2.dilate((x >= EDGE).astype(np.uint8), near) > 0 for x in (one, other))
    either = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / either) if either else 1.0


def _traced(image: Image, kind: ControlKind) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    prompt = ImagePrompt(image=image, kind=kind, stop=1.0, weight=1.0)
    return control_picture(prompt, Size(width, height), ControlParams())[..., 0]


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    flat = [x.astype(np.float64).ravel() - x.mean() for x in (one, other)]
    norm = float(np.linalg.norm(flat[0]) * np.linalg.norm(flat[1]))
    return float(flat[0] @ flat[1]) / norm if norm else 0.0


def guides(kind: ControlKind, count: int, size: Size) -> list[Drawing]:
    """Draw guides that training does not see, and that have what their kind is to carry over.

    Raises:
        SystemExit: There are none of that size.
    """
    rng, found = random.Random(SEED), list[Drawing]()
    for _ in range(TRIES * count):
        drawing = draw(rng, (size.width, size.height))
        if has_what_it_carries(kind, drawing):
            found.append(drawing)
        if len(found) == count:
            return found
    raise SystemExit(f"too few drawings of {size} have what {kind} carries over")


def has_what_it_carries(kind: ControlKind, drawing: Drawing) -> bool:
    """Tell whether there is a plain background for image prompts, and edges where they count."""
    if kind is ControlKind.IMAGE_PROMPT:
        return isinstance(behind_things(drawing.facts), str)
    if kind is ControlKind.PYRA_CANNY:
        return bool((_traced(np.array(drawing.image), kind) >= EDGE).any())
    return True


def ask_beside(
    painter: Painter, count: int, size: Size, stop: float = STOP
) -> tuple[Scores, list[tuple[str, PillowImage.Image]]]:
    """Paint shapes of the exam on backgrounds that only an image prompt tells, and judge them.

    What guides is any picture with a background of that colour, up to ``stop`` of the steps.
    """
    asked = [question for question in exam() if _is_one_on_a_background(question)]
    lookalikes, rng = Lookalikes(SEED), random.Random(SEED)
    scores, shown = Scores(SceneJudge()), list[tuple[str, PillowImage.Image]]()
    for index in range(count):
        question = asked[index * len(asked) // count]
        guide, words = lookalikes.of(question.facts, rng), without_background(question.prompt)
        assert guide is not None, "a plain background has lookalikes"
        kind = ControlKind.IMAGE_PROMPT
        prompt = ImagePrompt(image=np.array(guide), kind=kind, stop=stop, weight=WEIGHTS[kind])
        picture = painter.paint(words, index, size=size, image_prompts=(prompt,))
        wrong = scores.add(question, picture)
        if wrong:
            logger.info("%s: %s", question.prompt, ", ".join(wrong))
        shown += [("guide", guide), (words, picture)]
    return scores, shown


def _is_one_on_a_background(question: Question) -> bool:
    is_told = without_background(question.prompt) != question.prompt
    return is_told and len(question.facts.things) == 1


def evaluate(
    painter: Painter,
    kind: ControlKind,
    drawings: Sequence[Drawing],
    size: Size,
    stop: float = STOP,
) -> list[tuple[str, PillowImage.Image]]:
    """Paint without and with a guide of a kind, log the comparison, and return what to look at.

    Pictures with an image prompt get no words, pictures with a control picture the guide's caption.
    """
    shown, seen = [], {"without": list[Seen](), "with": list[Seen]()}
    for index, drawing in enumerate(drawings):
        words = "" if kind is ControlKind.IMAGE_PROMPT else drawing.caption
        guide = np.array(drawing.image)
        prompt = ImagePrompt(image=guide, kind=kind, stop=stop, weight=WEIGHTS.get(kind, 1.0))
        painted = {
            "without": painter.paint(words, index, size=size),
            "with": painter.paint(words, index, size=size, image_prompts=(prompt,)),
        }
        shown.append((drawing.caption, drawing.image))
        for name, picture in painted.items():
            seen[name].append(compare(guide, np.array(picture)))
            shown.append((f"{name} {kind}", picture))
    for name, found in seen.items():
        logger.info(
            "%s, %s: colours %.1f apart, rim right %d/%d, structure %.2f, edges %.2f",
            kind, name,
            mean(x.colour for x in found), sum(x.rim for x in found), len(found),
            mean(x.structure for x in found), mean(x.edges for x in found),
        )  # fmt: skip
    return shown


def main() -> None:
    """Read the arguments, paint and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="for what the engine writes")
    parser.add_argument("--sheet", type=Path, required=True, help="where the sheet is written")
    parser.add_argument("--count", type=int, default=8, help="guides of each kind")
    parser.add_argument("--part", type=int, default=1, help="divides the sides of the pictures")
    parser.add_argument(
        "--stop", type=float, default=STOP, help="share of the steps that a guide acts on"
    )
    parser.add_argument("--styles", action="store_true", help="with the default styles")
    parser.add_argument(
        "--kind", type=ControlKind, nargs="+", default=[*KINDS], choices=KINDS, dest="kinds"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    painter = Painter(arguments.root, styles=arguments.styles)
    size = Size(*(side // arguments.part for side in DEFAULT_SIZE))
    shown = []
    for kind in arguments.kinds:
        shown += evaluate(painter, kind, guides(kind, arguments.count, size), size, arguments.stop)
    if ControlKind.IMAGE_PROMPT in arguments.kinds:
        scores, pictures = ask_beside(painter, arguments.count, size, arguments.stop)
        shown += pictures
        logger.info("beside words: %s", {k: str(v) for k, v in scores.marks.items() if v.asked})
    make_sheet(shown, columns=6).save(arguments.sheet)


if __name__ == "__main__":
    main()
