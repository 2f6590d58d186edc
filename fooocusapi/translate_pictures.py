"""Request -> what is done with the pictures that came with it.

A part of ``translate.py``. Whatever a picture cannot be used for is found out here, so that no job
fails of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fooocus_core.choices import InpaintEngine, UpscaleVaryMethod
from fooocus_core.config import Defaults
from fooocus_core.downloads import UPSCALER, inpaint_files
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import size_of
from fooocus_core.images.hole import find_hole
from fooocus_core.images.sizes import check_pixel_count, working_size
from fooocus_core.params import Extension, Image, InpaintParams, UpscaleVaryParams
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas.parameters import GenerationRequest
from fooocusapi.schemas.pictures import Location
from fooocusapi.schemas.requests import InpaintOutpaintRequest, UpscaleVaryRequest
from fooocusapi.tolerance import Tolerance

_IMAGE, _MASK, _FACTOR = ("input_image",), ("input_mask",), ("upscale_value",)

Pictures = Mapping[Location, Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTranslation:
    """The translation of one request's pictures and of the options that go with them."""

    request: GenerationRequest
    pictures: Pictures
    defaults: Defaults
    needed: NeededFiles
    tolerance: Tolerance

    def upscale_vary(self) -> UpscaleVaryParams | None:
        """The picture to vary or to enlarge, if there is one.

        Raises:
            InvalidFieldError: The picture is too thin, or the result would be too large.
            ModelMissingError: The upscaler is needed and not there.
        """
        request = self.request
        if not isinstance(request, UpscaleVaryRequest):
            return None
        method, advanced = request.uov_method, request.advanced_params
        if method is UpscaleVaryMethod.DISABLED:
            return None
        is_custom = method is UpscaleVaryMethod.UPSCALE_CUSTOM
        strength = advanced.overwrite_upscale_strength
        params = UpscaleVaryParams(
            image=self.pictures[_IMAGE],
            method=method,
            factor=request.upscale_value if is_custom else None,
            vary_strength=_positive(advanced.overwrite_vary_strength),
            upscale_strength=(
                self.defaults.upscale_strength if strength is None else _positive(strength)
            ),
        )
        with _naming(_IMAGE):
            result = working_size(size_of(params.image), method, params.factor)
        with _naming(_FACTOR if is_custom else _IMAGE):
            check_pixel_count(result.size)
        if method.enlarges:
            self.needed.require([UPSCALER])
        return params

    def inpaint(self) -> InpaintParams | None:
        """The picture with something to fill or to extend, if there is one.

        Raises:
            InvalidFieldError: The picture cannot be worked on; or strict, and the engine is
                unknown.
            ModelMissingError: The upscaler, or a part of the engine, is needed and not there.
        """
        request, advanced = self.request, self.request.advanced_params
        engine = self.tolerance.choose(
            InpaintEngine, advanced.inpaint_engine, self.defaults.inpaint_engine, "inpaint_engine"
        )
        if not isinstance(request, InpaintOutpaintRequest):
            return None
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
        with _naming(_IMAGE):
            hole = find_hole(params)
        if hole is None:
            self.tolerance.warn(
                "input_image is not used: there is nothing to inpaint, as no part of input_mask is "
                "white, and no side to outpaint"
            )
            return None
        self.needed.require([UPSCALER] if hole.region.is_small else [])
        self.needed.require(() if params.show_mask else inpaint_files(engine))
        return params


def _extensions(request: InpaintOutpaintRequest) -> Iterator[Extension]:
    for side in dict.fromkeys(request.outpaint_selections):
        distance: int = getattr(request, f"outpaint_distance_{side.lower()}")
        yield Extension(side=side, pixels=distance if distance > 0 else None)


def _positive(strength: float) -> float | None:
    return strength if strength > 0 else None


@contextmanager
def _naming(location: Location) -> Iterator[None]:
    """Say which field is to blame for what the core cannot use."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidFieldError(location, str(error)) from error
