"""The start of a picture with a hole or with new sides, and pasting it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from fooocus_core.events import GeneratedImage
from fooocus_core.images.arrays import Mask, size_of, to_rgb
from fooocus_core.images.fill import fill_hole
from fooocus_core.images.masks import make_mask
from fooocus_core.images.outpaint import extend_sides
from fooocus_core.images.region import Region, cut_out, find_region, paste_back
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
class Hole:
    """The part of a picture that is worked on.

    Attributes:
        image, mask: The whole picture with its new sides, uint8 (H, W, 3), and its mask, (H, W).
        region: Where the part is.
        crop, crop_mask: The part at its working size, uint8 (h, w, 3), and its mask, (h, w).
        fill: The part with the hole filled in, as the sampling begins from it; like ``crop``.
    """

    image: Image
    mask: Mask
    region: Region
    crop: Image
    crop_mask: Mask
    fill: Image

    def paste(self, painted: Image) -> Image:
        """The whole picture with the painted part in it."""
        return paste_back(self.image, self.mask, self.region, painted)


def find_hole(asked: InpaintParams, enlarge: Callable[[Image], Image]) -> Hole:
    """Cut out the part of a picture that is worked on.

    Args:
        asked: Picture, mask, sides.
        enlarge: The upscaler; only called for small parts.

    Raises:
        InvalidInputError: The part is too thin, or the picture with its new sides too large.
    """
    drawn = make_mask(asked.mask, size_of(asked.image), grow=asked.grow, invert=asked.invert)
    image, mask = extend_sides(asked.image, drawn, asked.extend)
    region = find_region(mask, asked.field)
    crop, crop_mask = cut_out(image, mask, region, enlarge)
    fill = fill_hole(crop, crop_mask) if asked.strength > _FILL_ABOVE else crop
    return Hole(image=image, mask=mask, region=region, crop=crop, crop_mask=crop_mask, fill=fill)


def show_hole(plan: Plan, resources: Resources, reporter: Reporter) -> Start:
    """Instead of a picture: the filled part, its mask, and the part itself.

    Raises:
        As :func:`paint_hole`.
    """
    hole = find_hole(_asked(plan), _enlarger(resources, reporter))
    images = (hole.fill, to_rgb(hole.crop_mask), hole.crop)
    seed = plan.params.canvas.seed
    finished = tuple(GeneratedImage(image=image, seed=seed) for image in images)
    return Start(size=size_of(hole.crop), recorded_size=size_of(hole.crop), finished=finished)


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
        InvalidInputError: As for :func:`find_hole`.
        ModelNotFoundError: The upscaler or the inpaint head is needed and missing.
        ModelFileError: One of them cannot be used.
        DeviceMemoryError: The device ran out of memory.
    """
    asked = _asked(plan)
    hole = find_hole(asked, _enlarger(resources, reporter))
    mask = latent_mask(hole.crop_mask)
    route = encoder.route(asked.strength)
    reporter.advance("VAE Inpaint encoding ...")
    surroundings = encoder.encode(
        hide_hole(to_pixels(hole.crop), hole.crop_mask), route.first, crop=False
    )
    fills = _encode_fill(hole, route, encoder, reporter)
    size = latent_size(mask)
    return Start(
        size=size,
        recorded_size=size,
        latent=_left_by(before, mask, reporter) if asked.from_noise else fills[route.first],
        denoise=asked.strength,
        known={model: KnownPart(latent=fill, mask=mask) for model, fill in fills.items()},
        patches=_inpaint_patches(plan, mask, surroundings, resources),
        is_tiled=before.is_tiled,
        finish=hole.paste,
    )


def _asked(plan: Plan) -> InpaintParams:
    assert plan.params.inpaint is not None
    return plan.params.inpaint


def _enlarger(resources: Resources, reporter: Reporter) -> Callable[[Image], Image]:
    def enlarge(image: Image) -> Image:
        return resources.auxiliary.upscaler().enlarge(image, reporter.check_cancelled)

    return enlarge


def _encode_fill(
    hole: Hole, route: Route, encoder: PictureEncoder, reporter: Reporter
) -> Mapping[Model, Tensor]:
    """The latent of the filled part for each model that paints."""
    encode = partial(encoder.encode, to_pixels(hole.fill))
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
