"""The spine every generation goes through: load, encode, work on pictures, paint, hand over.

Calls the rest in order and computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fooocus_core.choices import InpaintEngine
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.errors import ImageSkipped, NotFiniteError
from fooocus_core.events import GeneratedImage
from fooocus_core.loading.soundness import check_control_net, check_finite
from fooocus_core.loading.store import Models
from fooocus_core.performance import MODES
from fooocus_core.plan import Plan
from fooocus_core.workflows.censor import censor
from fooocus_core.workflows.encoding import PictureEncoder
from fooocus_core.workflows.image_prompt import control_nets, make_guides, show_guides
from fooocus_core.workflows.inpaint_outpaint import paint_hole, show_hole
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import CHECKING, Reporter
from fooocus_core.workflows.prompts import encode_prompts
from fooocus_core.workflows.records import describe_picture
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start
from fooocus_core.workflows.text_to_image import blank_start
from fooocus_core.workflows.upscale_vary import enlarge_only, vary_or_enlarge


def generate(plan: Plan, resources: Resources, reporter: Reporter) -> Iterator[GeneratedImage]:
    """Make the pictures of a plan, each handed out as soon as it is finished.

    Raises:
        RunCancelled: The run was asked to stop; pictures handed out before are kept.
        FooocusError: A file is broken, or missing and cannot be fetched; a picture cannot be used;
            or the device ran out of memory.
    """
    announce(plan, reporter)
    resources.require(plan.files, reporter)
    if not plan.needs_models:
        yield from hand_over(make_finished(plan, resources, reporter), plan, resources, reporter)
        return
    reporter.say("Loading models ...", percent=2)
    models = resources.prepare(plan, reporter)
    reporter.say("Processing prompts ...", percent=3)
    prompts = encode_prompts(plan, models.base, resources, reporter)
    start = make_start(plan, models, resources, reporter)
    if start.finished:
        yield from hand_over(start, plan, resources, reporter)
        return
    guides = make_guides(plan, resources, reporter)
    reporter.say("Moving model to GPU ...")
    progress = reporter.sampling(plan.steps, len(prompts))
    painter = make_painter(plan, models, resources, reporter, progress, guides)
    for index, prompt in enumerate(prompts):
        progress.start_image(index)
        try:
            with explained(plan, models, resources):
                image = start.finish(painter.paint(start, prompt))
            reporter.check_skipped()
        except ImageSkipped:
            progress.leave_image()
            continue
        record = describe_picture(plan, start.recorded_size, prompt, resources)
        if plan.params.output.censor:
            progress.check_image()
            image = censor(image, resources)
        progress.finish_image()
        yield GeneratedImage(image=image, seed=prompt.composed.seed, record=record)


def announce(plan: Plan, reporter: Reporter) -> None:
    """Say what goes before loading, and what was asked for and could not be had."""
    for warning in plan.warnings:
        reporter.warn(warning)
    params = plan.params
    component = MODES[params.sampling.performance].component
    if component:
        reporter.say(f"Downloading {component} components ...", percent=1)
    if params.upscale_vary and params.upscale_vary.method.enlarges:
        reporter.say("Downloading upscale models ...", percent=1)
    if params.inpaint:
        reporter.say("Downloading upscale models ...", percent=1)
        if params.inpaint.engine is not InpaintEngine.NONE:
            reporter.say("Downloading inpainter ...", percent=1)
    if params.image_prompts:
        reporter.say("Downloading control models ...", percent=1)
    reporter.say("Loading control models ...", percent=1)
    reporter.say("Initializing ...")


def make_start(plan: Plan, models: Models, resources: Resources, reporter: Reporter) -> Start:
    """What the painting of all pictures begins from."""
    start = blank_start(plan.size)
    params = plan.params
    if not (params.upscale_vary or params.inpaint or params.image_prompts):
        return start
    reporter.advance("Image processing ...")
    encoder = PictureEncoder(plan, models, resources, reporter)
    if params.upscale_vary:
        start = vary_or_enlarge(plan, encoder, resources, reporter)
    if params.inpaint and not start.finished:
        start = paint_hole(plan, encoder, resources, reporter, start)
    return start


def make_finished(plan: Plan, resources: Resources, reporter: Reporter) -> Start:
    """What is handed over without painting: an enlarged picture, those of a hole, or the guides."""
    reporter.advance("Image processing ...")
    if plan.working_size and plan.working_size.is_final:
        return enlarge_only(plan, resources, reporter)
    if plan.params.inpaint and plan.params.inpaint.show_mask:
        return show_hole(plan, resources, reporter)
    return show_guides(plan, resources, reporter)


@contextmanager
def explained(plan: Plan, models: Models, resources: Resources) -> Iterator[None]:
    """Say which file is to blame, if a picture has no values because of weights that have none."""
    try:
        yield
    except NotFiniteError:
        check_finite(models.base, vae=plan.params.models.vae)
        if models.refiner is not None:
            check_finite(models.refiner)
        for kind, network in control_nets(plan, resources).items():
            check_control_net(CONTROL_FILES[kind].name, network)
        raise


def hand_over(
    start: Start, plan: Plan, resources: Resources, reporter: Reporter
) -> Iterator[GeneratedImage]:
    """Hand over what is finished."""
    finished = start.finished
    if plan.params.output.censor:
        reporter.say(CHECKING, percent=100)
        finished = tuple(replace(made, image=censor(made.image, resources)) for made in finished)
    reporter.say("Saving image to system ...", percent=100)
    yield from finished
