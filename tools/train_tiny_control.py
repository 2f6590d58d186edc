"""Trains a small control-LoRA of the embedded model, for edges or for CPDS.

The frozen UNet draws, the control net learns to help it: with the control picture and the caption,
the noise that was laid over the drawing is to be predicted better. The control net is made of the
file's tensors by the pipeline's own loader in each step. First the pictures are small, then whole.
Every step is a function of the seed and its number, so a run that was stopped goes on from its last
state file as if it had not been.

    python -m tools.train_tiny_control PyraCanny --folder DIR [--steps 120] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.control_lora import control_weights, empty_control_net
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.params import ControlParams, Image, ImagePrompt, Size
from fooocus_core.unet.controlnet import Control, control_residuals, make_hint
from fooocus_core.workflows.image_prompt import control_picture
from tools.control_tensors import PUSHES, make_tensors, read_tensors, write_file
from tools.descent import Descent, add_arguments, run
from tools.guide_lessons import PIXELS, Course, Lesson, Show, draw_lesson
from tools.inpaint_lessons import Words
from tools.latents import noise_loss
from tools.train_tiny_inpaint import CHECKPOINT

logger = logging.getLogger(__name__)

# Until which share of the steps lessons are drawn how.
COURSES = ((0.5, Course(count=12, part=4)), (0.9, Course(count=6, part=2)), (1, Course(count=2)))
USUAL = ControlParams()
TEST_SIGMAS = (12.0, 6.0, 3.0, 1.5)
TEST_SEED = 1_000_003


class Trainer:
    """One training run: the frozen UNet, the tensors of the file, and where it is."""

    def __init__(
        self,
        kind: ControlKind,
        folder: Path,
        *,
        seed: int,
        steps: int,
        rate: float,
        start: Path | None = None,
    ) -> None:
        """Begin with an untrained control-LoRA, or with the one in the file ``start``."""
        self.seed = seed
        self.show: Show = partial(show, kind)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._plan = plan_device(None, DeviceOptions())
        checkpoint = build_checkpoint(read_weights(CHECKPOINT), self._plan)
        self.words = Words(checkpoint)
        self.unet: Any = checkpoint.unet
        self.unet.requires_grad_(requires_grad=False).to(self.device)
        tensors = read_tensors(start) if start else make_tensors(self.unet, PUSHES[kind], seed)
        self.tensors = {name: nn.Parameter(x.to(self.device)) for name, x in tensors.items()}
        weights = list(self.tensors.values())
        self.descent = Descent(folder / f"{kind}.pt", weights, steps=steps, rate=rate)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        step, steps = self.descent.step, self.descent.steps
        course = next(course for end, course in COURSES if step < end * steps)
        return self.learn(
            draw_lesson(random.Random(f"{self.seed} {step}"), self.words, self.show, course)
        )

    def learn(self, lesson: Lesson) -> float:
        """Run one step on given pictures; returns its loss."""
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.predict(lesson.on(self.device))
        return self.descent.follow(noise_loss(prediction, lesson.noise, 0))

    def predict(self, lesson: Lesson, *, controlled: bool = True) -> Tensor:
        """Predict the noise, with the control net or without: (B, 4, h, w)."""
        controls = [self._control(lesson)] if controlled else []
        residuals = control_residuals(controls, *lesson.latents, **lesson.prompts)
        prediction: Tensor = self.unet(*lesson.latents, **lesson.prompts, **residuals).sample
        return prediction.float().cpu()

    def _control(self, lesson: Lesson) -> Control:
        network = empty_control_net(self.tensors, self.unet)
        state = control_weights(self.tensors, network, self.unet, self._plan)
        filled: Any = partial(_call, network, state)
        return Control(
            network=filled, hint=lesson.shown, weight=1.0, stop=1.0, softness=USUAL.softness
        )


def show(kind: ControlKind, picture: Image) -> Tensor:
    """Make what a control net of a kind is given of a picture: (1, 3, H, W)."""
    height, width = picture.shape[:2]
    prompt = ImagePrompt(image=picture, kind=kind, stop=1.0, weight=1.0)
    drawn = control_picture(prompt, Size(width, height), USUAL)
    return make_hint(drawn, height // PIXELS, width // PIXELS)


def _call(network: nn.Module, state: dict[str, Tensor], *inputs: Tensor, **named: Any) -> Any:
    return functional_call(network, state, inputs, named)


@torch.no_grad()
def clean_errors(
    trainer: Trainer, pictures: int, *, part: int = 2
) -> list[tuple[float, float, float]]:
    """Compare the model without and with its control net on drawings that training does not see.

    Args:
        trainer: Its tensors are judged.
        pictures: How many at each level.
        part: Divides their sides.

    Returns:
        Per noise level of ``TEST_SIGMAS``: the level, then the root mean square error of the
        estimated clean latent, without and with the control net.
    """
    found = []
    for sigma in TEST_SIGMAS:
        course = Course(count=1, part=part, sigma=sigma)
        plain = ours = 0.0
        for index in range(pictures):
            rng = random.Random(f"{TEST_SEED} {sigma} {index}")
            lesson = draw_lesson(rng, trainer.words, trainer.show, course).on(trainer.device)
            plain += lesson.squared_error(trainer.predict(lesson, controlled=False))
            ours += lesson.squared_error(trainer.predict(lesson))
        found.append((sigma, math.sqrt(plain / pictures), math.sqrt(ours / pictures)))
    return found


def main() -> None:
    """Read the arguments, train, write the file and compare without and with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", type=ControlKind, choices=list(CONTROL_FILES))
    add_arguments(parser, steps=120, rate=1e-3)
    parser.add_argument("--output", type=Path, help="folder where the control-LoRA is written")
    parser.add_argument("--start", type=Path, help="control-LoRA to begin with")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        arguments.kind,
        arguments.folder,
        seed=arguments.seed,
        steps=arguments.steps,
        rate=arguments.rate,
        start=arguments.start,
    )
    trainer.descent.load()
    run(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    trainer.descent.settle()
    if arguments.output:
        write_file(trainer.tensors, arguments.output / CONTROL_FILES[arguments.kind].name)
    for sigma, plain, ours in clean_errors(trainer, arguments.pictures):
        logger.info("sigma %.1f: error %.3f without, %.3f with", sigma, plain, ours)


if __name__ == "__main__":
    main()
