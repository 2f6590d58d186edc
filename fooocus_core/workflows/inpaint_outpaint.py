"""The start of a picture with a hole or with new sides, and pasting it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from fooocus_core.events import GeneratedImage
from fooocus_core.images.arrays import Mask, size_of, to_rgb
from fooocus_core.images.fill import fill_hole
from fooocus_core.images.hole import Hole
from fooocus_core.images.region import cut_out, paste_back
from fooocus_core.params import Image, InpaintParams
from fooocus_core.plan import Plan
from fooocus_core.sampling.inpaint_blend import KnownPart
from fooocus_core.sampling.refiner import Model, Route
from fooocus_core.sampling.run import latent_format
from fooocus_core.unet.inpaint_head import hide_hole, latent_mask
from fooocus_core.unet.patch import UNetPatch
from fooocus_core.vae.codec import to_pixels
from fooocus_core.workflows.encoding import PictureEncoder, latent_size
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start

# From this strength on nothing of what was in the hole is worth keeping.
_FILL_ABOVE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crop:
    """What is cut out around a hole, at its working size.

    Attributes:
        hole: Where it belongs.
        image, mask: uint8 (h, w, 3), and 255 in the hole, else 0, uint8 (h, w).
        fill: ``image`` with the hole filled in, as the sampling begins from it.
    """

    hole: Hole
    image: Image
    mask: Mask
    fill: Image

    def paste(self, painted: Image) -> Image:
        """The whole picture with the painted part in it."""
        return paste_back(self.hole.image, self.hole.mask, self.hole.region, painted)


def crop_hole(hole: Hole, strength: float, enlarge: Callable[[Image], Image]) -> Crop:
    """Cut out what is worked on, and fill the hole if nothing of what it shows will be kept.

    Args:
        hole: Picture, mask, and the part that is worked on.
        strength: Denoising strength, 0-1.
        enlarge: The upscaler; only called for small parts.
    """
    image, mask = cut_out(hole.image, hole.mask, hole.region, enlarge)
    fill = fill_hole(image, mask) if strength > _FILL_ABOVE else image
    return Crop(hole=hole, image=image, mask=mask, fill=fill)


def show_hole(plan: Plan, resources: Resources, reporter: Reporter) -> Start:
    """Instead of a picture: the filled part, its mask, and the part itself.

    Raises:
        As :func:`paint_hole`.
    """
    _, crop = _asked(plan, resources, reporter)
    images = (crop.fill, to_rgb(crop.mask), crop.image)
    seed = plan.params.canvas.seed
    finished = tuple(GeneratedImage(image=image, seed=seed) for image in images)
    return Start(size=size_of(crop.image), recorded_size=size_of(crop.image), finished=finished)


def paint_hole(
    plan: Plan,
    encoder: PictureEncoder,
    resources: Resources,
    reporter: Reporter,
    before: Start,
) -> Start:
    """A start from the part of the given picture that is worked on.

    Args:
        before: From an earlier stage; only its latent counts, and that only if this one brings
            none.

    Raises:
        RunCancelled: The run was asked to stop.
        ModelNotFoundError: The upscaler or the inpaint head is needed and missing.
        ModelFileError: One of them cannot be used.
        DeviceMemoryError: The device ran out of memory.
    """
    asked, crop = _asked(plan, resources, reporter)
    mask = latent_mask(crop.mask)
    route = encoder.route(asked.strength)
    reporter.advance("VAE Inpaint encoding ...")
    surroundings = encoder.encode(
        hide_hole(to_pixels(crop.image), crop.mask), route.first, crop=False
    )
    fills = _encode_fill(crop.fill, route, encoder, reporter)
    size = latent_size(mask)
    return Start(
        size=size,
        recorded_size=size,
        latent=_left_by(before, mask, reporter) if asked.from_noise else fills[route.first],
        denoise=asked.strength,
        known={model: KnownPart(latent=fill, mask=mask) for model, fill in fills.items()},
        patches=_inpaint_patches(plan, mask, surroundings, resources),
        is_tiled=before.is_tiled,
        finish=crop.paste,
    )


def _asked(plan: Plan, resources: Resources, reporter: Reporter) -> tuple[InpaintParams, Crop]:
    def enlarge(image: Image) -> Image:
        return resources.auxiliary.upscaler().enlarge(image, reporter.check_cancelled)

    asked = plan.params.inpaint
    assert asked is not None
    assert plan.hole is not None
    return asked, crop_hole(plan.hole, asked.strength, enlarge)


def _encode_fill(
    fill: Image, route: Route, encoder: PictureEncoder, reporter: Reporter
) -> Mapping[Model, Tensor]:
    """The latent of the filled part for each model that paints."""
    encode = partial(encoder.encode, to_pixels(fill))
    fills = {}
    if route.last is not route.first and encoder.has_vae(route.last):
        reporter.say("VAE SD15 encoding ...")
        fills[route.last] = encode(route.last)
    reporter.advance("VAE encoding ...")
    fills[route.first] = encode(route.first)
    return {route.last: fills[route.first], **fills}


def _left_by(before: Start, mask: Tensor, reporter: Reporter) -> Tensor | None:
    """What an earlier stage left to begin from; ``None`` = nothing, or nothing of this size."""
    if before.latent is None or before.latent.shape[-2:] == mask.shape[-2:]:
        return before.latent
    reporter.warn(
        "The hole is painted from noise: the varied or enlarged picture has another size than the "
        "part around the hole."
    )
    return None


def _inpaint_patches(
    plan: Plan, mask: Tensor, surroundings: Tensor, resources: Resources
) -> tuple[UNetPatch, ...]:
    if plan.inpaint_patch is None:
        return ()
    head = resources.auxiliary.inpaint_head()
    latent = latent_format(plan.params.sampling.scheduler).to_sampler(surroundings)
    return (head.feature(mask, latent),)
