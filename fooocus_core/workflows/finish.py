"""Finishing pictures: painted, described, looked at if that was asked for, handed over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.errors import NotFiniteError
from fooocus_core.events import GeneratedImage
from fooocus_core.loading.soundness import check_control_net, check_finite
from fooocus_core.plan import Plan
from fooocus_core.workflows.censor import censor
from fooocus_core.workflows.image_prompt import control_nets
from fooocus_core.workflows.painter import Painter
from fooocus_core.workflows.progress import CHECKING, Reporter
from fooocus_core.workflows.prompts import EncodedPrompt
from fooocus_core.workflows.records import describe_picture
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start


def finish_picture(painter: Painter, start: Start, prompt: EncodedPrompt) -> GeneratedImage:
    """Paint a picture and make it ready to be handed over.

    Raises:
        RunCancelled: The run was asked to stop.
        ImageSkipped: The picture is not wanted any more.
        FooocusError: A file is missing or broken, or the device ran out of memory.
    """
    plan, progress = painter.plan, painter.progress
    with _explained(painter):
        image = start.finish(painter.paint(start, prompt))
    painter.reporter.check_skipped()
    record = describe_picture(plan, start.recorded_size, prompt, painter.resources)
    if plan.params.output.censor:
        progress.check_image()
        image = censor(image, painter.resources)
    progress.finish_image()
    return GeneratedImage(image=image, seed=prompt.composed.seed, record=record)


def finish_unpainted(
    start: Start,
    plan: Plan,
    resources: Resources,
    reporter: Reporter,
    saving: str = "Saving image to system ...",
) -> tuple[GeneratedImage, ...]:
    """Make what needs no painting ready to be handed over.

    Args:
        start: It is finished.
        saving: Said last.

    Raises:
        RunCancelled: The run was asked to stop.
        FooocusError: A file is missing or broken, or the device ran out of memory.
    """
    finished = start.finished
    if plan.params.output.censor:
        reporter.say(CHECKING, percent=100)
        finished = tuple(replace(made, image=censor(made.image, resources)) for made in finished)
    reporter.say(saving, percent=100)
    return finished


@contextmanager
def _explained(painter: Painter) -> Iterator[None]:
    """Say which file is to blame, if a picture has no values because of weights that have none."""
    plan, models = painter.plan, painter.models
    try:
        yield
    except NotFiniteError:
        check_finite(models.base, vae=plan.params.models.vae)
        if models.refiner is not None:
            check_finite(models.refiner)
        for kind, network in control_nets(plan, painter.resources).items():
            check_control_net(CONTROL_FILES[kind].name, network)
        raise
