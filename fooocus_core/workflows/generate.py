"""The spine every generation goes through: load, encode, work on pictures, paint, hand over.

Calls the rest in order and computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from fooocus_core.choices import InpaintEngine
from fooocus_core.errors import ImageSkipped
from fooocus_core.events import GeneratedImage
from fooocus_core.loading.store import Models
from fooocus_core.performance import MODES
from fooocus_core.plan import Plan
from fooocus_core.workflows.encoding import PictureEncoder
from fooocus_core.workflows.enhance import enhance
from fooocus_core.workflows.finish import finish_picture, finish_unpainted
from fooocus_core.workflows.image_prompt import make_guides, show_guides
from fooocus_core.workflows.inpaint_outpaint import paint_hole, show_hole
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.prompts import encode_prompts
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
    asked = plan.params.enhance
    if asked is None:
        yield from _make_pictures(plan, resources, reporter)
        return
    pictures = []
    if asked.image is not None:
        reporter.share_out(_steps_of_passes(plan))
        pictures.append(GeneratedImage(image=asked.image, seed=plan.params.canvas.seed))
    else:
        for picture in _make_pictures(plan, resources, reporter):
            pictures.append(picture)
            if not asked.final_only:
                yield picture
    yield from enhance(pictures, plan, resources, reporter)


def _make_pictures(
    plan: Plan, resources: Resources, reporter: Reporter
) -> Iterator[GeneratedImage]:
    if not plan.needs_models:
        start = make_finished(plan, resources, reporter)
        yield from finish_unpainted(start, plan, resources, reporter)
        return
    reporter.say("Loading models ...", percent=2)
    models = resources.prepare(plan, reporter)
    reporter.say("Processing prompts ...", percent=3)
    prompts = encode_prompts(plan, models.base, resources, reporter)
    start = make_start(plan, models, resources, reporter)
    if start.finished:
        yield from finish_unpainted(start, plan, resources, reporter)
        return
    guides = make_guides(plan, resources, reporter)
    reporter.say("Moving model to GPU ...")
    later = _steps_of_passes(plan) * len(prompts)
    progress = reporter.sampling(plan.steps, len(prompts), later)
    painter = make_painter(plan, models, resources, reporter, progress, guides)
    for index, prompt in enumerate(prompts):
        progress.start_image(index)
        try:
            picture = finish_picture(painter, start, prompt)
        except ImageSkipped:
            progress.leave_image()
            continue
        yield picture


def _steps_of_passes(plan: Plan) -> int:
    """Sampling steps of all passes over one picture."""
    return sum(one.plan.steps for one in plan.passes)


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
