"""The start of a picture that varies or enlarges a given one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.events import GeneratedImage
from fooocus_core.images.arrays import size_of
from fooocus_core.images.resize import resample
from fooocus_core.params import Image, UpscaleVaryParams
from fooocus_core.plan import Plan
from fooocus_core.vae.codec import to_pixels
from fooocus_core.workflows.encoding import PictureEncoder, latent_size
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.records import describe_enlarging
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start

# Source: lllyasviel/Fooocus 2.5.5, modules/async_worker.py.
VARY_STRENGTHS: Mapping[UpscaleVaryMethod, float] = MappingProxyType(
    {UpscaleVaryMethod.VARY_SUBTLE: 0.5, UpscaleVaryMethod.VARY_STRONG: 0.85}
)
UPSCALE_STRENGTH = 0.382


def vary_or_enlarge(
    plan: Plan, encoder: PictureEncoder, resources: Resources, reporter: Reporter
) -> Start:
    """A start from the given picture; one that has become too large is finished.

    Raises:
        RunCancelled: The run was asked to stop.
        ModelNotFoundError: The upscaler is needed and missing.
        ModelFileError: The upscaler cannot be used.
        DeviceMemoryError: The device ran out of memory.
    """
    asked, working = plan.params.upscale_vary, plan.working_size
    assert asked is not None
    assert working is not None
    if not asked.method.enlarges:
        image = resample(asked.image, working.size)
        reporter.say("VAE encoding ...")
        return _encoded(image, asked.vary_strength or VARY_STRENGTHS[asked.method], encoder)
    if working.is_final:
        return enlarge_only(plan, resources, reporter)
    image = _enlarge(plan, asked, resources, reporter)
    reporter.advance("VAE encoding ...")
    return _encoded(image, asked.upscale_strength or UPSCALE_STRENGTH, encoder, tiled=True)


def enlarge_only(plan: Plan, resources: Resources, reporter: Reporter) -> Start:
    """The picture enlarged by the network alone, once, whatever the number of pictures.

    Raises:
        As :func:`vary_or_enlarge`.
    """
    assert plan.params.upscale_vary is not None
    image = _enlarge(plan, plan.params.upscale_vary, resources, reporter)
    finished = GeneratedImage(
        image=image, seed=plan.params.canvas.seed, record=describe_enlarging(plan.params.output)
    )
    return Start(size=size_of(image), recorded_size=size_of(image), finished=(finished,))


def _enlarge(
    plan: Plan, asked: UpscaleVaryParams, resources: Resources, reporter: Reporter
) -> Image:
    assert plan.working_size is not None
    size = size_of(asked.image)
    reporter.advance(f"Upscaling image from {tuple(size)} ...")
    enlarged = resources.auxiliary.upscaler().enlarge(asked.image, reporter.check_cancelled)
    return resample(enlarged, plan.working_size.size)


def _encoded(
    image: Image, denoise: float, encoder: PictureEncoder, *, tiled: bool = False
) -> Start:
    model = encoder.route(denoise).first
    latent = encoder.encode(to_pixels(image), model, tiled=tiled)
    size = latent_size(latent)
    return Start(size=size, recorded_size=size, latent=latent, denoise=denoise, is_tiled=tiled)
