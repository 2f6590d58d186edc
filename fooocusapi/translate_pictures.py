"""Request -> what is done with the pictures that came with it.

A part of ``translate.py``. Whatever a picture cannot be used for is found out here, so that no job
fails of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fooocus_core.choices import InpaintEngine, UpscaleVaryMethod
from fooocus_core.config import Defaults
from fooocus_core.downloads import UPSCALER, inpaint_files
from fooocus_core.images.arrays import size_of
from fooocus_core.images.hole import find_hole
from fooocus_core.images.sizes import (
    WorkingSize,
    check_pixel_count,
    latent_grid_size,
    working_size,
)
from fooocus_core.params import Extension, ImagePrompt, InpaintParams, Size, UpscaleVaryParams
from fooocusapi.inputs import Pictures
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas.parameters import AdvancedParams, GenerationRequest
from fooocusapi.schemas.requests import (
    ImagePromptRequest,
    InpaintOutpaintRequest,
    UpscaleVaryRequest,
)
from fooocusapi.tolerance import Tolerance, naming
from fooocusapi.translate_guides import GuideTranslation, guide_fields

_IMAGE, _MASK, _FACTOR = ("input_image",), ("input_mask",), ("upscale_value",)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureParams:
    """What is done with the pictures of one request; what is given together is mixed."""

    upscale_vary: UpscaleVaryParams | None
    inpaint: InpaintParams | None
    image_prompts: tuple[ImagePrompt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTranslation:
    """The translation of one request's pictures and of the options that go with them."""

    request: GenerationRequest
    pictures: Pictures
    defaults: Defaults
    needed: NeededFiles
    tolerance: Tolerance

    def params(self, blank: Size) -> PictureParams:
        """What is done with the pictures.

        Args:
            blank: Size asked for; a picture to work on brings its own.

        Raises:
            InvalidFieldError: A picture is too thin, or the result would be too large; or strict,
                and something would have to be tolerated.
            ModelMissingError: A file is needed and not there.
        """
        if isinstance(self.request, ImagePromptRequest) and not self.pictures:
            self.tolerance.warn("no picture is given: the prompt alone makes the picture")
        upscale_vary, work = self._upscale_vary(WorkingSize(size=blank))
        inpaint, work = self._inpaint(work)
        guides = GuideTranslation(
            request=self.request,
            pictures=self.pictures,
            limit=self.defaults.max_image_prompts,
            needed=self.needed,
            tolerance=self.tolerance,
        )
        return PictureParams(
            upscale_vary=upscale_vary, inpaint=inpaint, image_prompts=guides.image_prompts(work)
        )

    def _upscale_vary(self, blank: WorkingSize) -> tuple[UpscaleVaryParams | None, WorkingSize]:
        """The picture to vary or to enlarge, if there is one, and the size it is painted at."""
        request = self.request
        if not isinstance(request, UpscaleVaryRequest):
            return None, blank
        method, advanced = request.uov_method, request.advanced_params
        if method is UpscaleVaryMethod.DISABLED:
            return None, blank
        is_custom = method is UpscaleVaryMethod.UPSCALE_CUSTOM
        params = UpscaleVaryParams(
            image=self.pictures[_IMAGE],
            method=method,
            factor=request.upscale_value if is_custom else None,
            vary_strength=vary_strength(advanced),
            upscale_strength=upscale_strength(advanced, self.defaults),
        )
        with naming(_IMAGE):
            result = working_size(size_of(params.image), method, params.factor)
        with naming(_FACTOR if is_custom else _IMAGE):
            check_pixel_count(result.size)
        if method.enlarges and (result.is_final or not self._shows_guides):
            self.needed.require([UPSCALER])
        return params, replace(result, size=latent_grid_size(result.size))

    def _inpaint(self, before: WorkingSize) -> tuple[InpaintParams | None, WorkingSize]:
        """The picture with something to fill or to extend, and the size it is painted at."""
        request, advanced = self.request, self.request.advanced_params
        engine = self.tolerance.choose(
            InpaintEngine, advanced.inpaint_engine, self.defaults.inpaint_engine, "inpaint_engine"
        )
        if not isinstance(request, InpaintOutpaintRequest):
            return None, before
        if _IMAGE not in self.pictures:
            self._tell_idle_fields(request)
            return None, before
        params = InpaintParams(
            image=self.pictures[_IMAGE],
            mask=self.pictures.get(_MASK),
            invert=advanced.invert_mask_checkbox,
            grow=advanced.inpaint_erode_or_dilate,
            extend=tuple(_extensions(request)),
            prompt=request.inpaint_additional_prompt,
            engine=engine,
            strength=advanced.inpaint_strength,
            from_noise=advanced.inpaint_disable_initial_latent,
            field=advanced.inpaint_respective_field,
            show_mask=advanced.debugging_inpaint_preprocessor,
        )
        with naming(_IMAGE):
            hole = find_hole(params)
        if hole is None:
            self.tolerance.warn(
                "input_image is not used: there is nothing to inpaint, as no part of input_mask is "
                "white, and no side to outpaint"
            )
            return None, before
        if params.show_mask or not self._shows_guides:
            self.needed.require([UPSCALER] if hole.region.is_small else [])
            self.needed.require(() if params.show_mask else inpaint_files(engine))
        size = latent_grid_size(hole.working_size)
        return params, WorkingSize(size=size, is_final=params.show_mask)

    @property
    def _shows_guides(self) -> bool:
        """Whether the pictures that guide are shown, unless there is nothing that they guide."""
        is_asked = self.request.advanced_params.debugging_cn_preprocessor
        return is_asked and any(guide_fields(self.request, limit=1))

    def _tell_idle_fields(self, request: InpaintOutpaintRequest) -> None:
        given = {
            "input_mask": _MASK in self.pictures,
            "outpaint_selections": request.outpaint_selections,
            "inpaint_additional_prompt": request.inpaint_additional_prompt,
        }
        idle = ", ".join(name for name, value in given.items() if value)
        if idle:
            self.tolerance.warn(f"not used, as there is no input_image to inpaint: {idle}")


def vary_strength(advanced: AdvancedParams) -> float | None:
    """What wins over the denoising strength of the methods that vary; ``None`` = nothing."""
    return _positive(advanced.overwrite_vary_strength)


def upscale_strength(advanced: AdvancedParams, defaults: Defaults) -> float | None:
    """What wins over the denoising strength of the methods that enlarge; ``None`` = nothing."""
    asked = advanced.overwrite_upscale_strength
    return defaults.upscale_strength if asked is None else _positive(asked)


def _extensions(request: InpaintOutpaintRequest) -> Iterator[Extension]:
    for side in dict.fromkeys(request.outpaint_selections):
        distance: int = getattr(request, f"outpaint_distance_{side.lower()}")
        yield Extension(side=side, pixels=distance if distance > 0 else None)


def _positive(strength: float) -> float | None:
    return strength if strength > 0 else None
