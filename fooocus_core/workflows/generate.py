"""The spine every generation goes through: load, encode, paint, hand over.

Calls the rest in order and computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from fooocus_core.events import GeneratedImage
from fooocus_core.performance import MODES
from fooocus_core.plan import Plan
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.prompts import encode_prompts
from fooocus_core.workflows.records import describe_picture
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.text_to_image import blank_start


def generate(plan: Plan, resources: Resources, reporter: Reporter) -> Iterator[GeneratedImage]:
    """Make the pictures of a plan, each handed out as soon as it is finished.

    Raises:
        RunCancelled: The run was asked to stop; pictures handed out before are kept.
        FooocusError: A file is missing or broken, or the device ran out of memory.
    """
    announce(plan, reporter)
    reporter.say("Loading models ...", percent=2)
    models = resources.prepare(plan, reporter)
    reporter.say("Processing prompts ...", percent=3)
    prompts = encode_prompts(plan, models.base, resources, reporter)
    start = blank_start(plan.size)
    reporter.say("Moving model to GPU ...")
    progress = reporter.sampling(plan.steps, len(prompts))
    painter = make_painter(plan, models, resources, reporter, progress)
    for index, prompt in enumerate(prompts):
        progress.start_image(index)
        image = painter.paint(start, prompt)
        record = describe_picture(plan, prompt, resources)
        progress.finish_image()
        yield GeneratedImage(image=image, seed=prompt.composed.seed, record=record)


def announce(plan: Plan, reporter: Reporter) -> None:
    """Say what goes before loading, and what was asked for and could not be had."""
    for warning in plan.warnings:
        reporter.warn(warning)
    component = MODES[plan.params.sampling.performance].component
    if component:
        reporter.say(f"Downloading {component} components ...", percent=1)
    reporter.say("Loading control models ...", percent=1)
    reporter.say("Initializing ...")
