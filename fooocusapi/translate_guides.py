"""Request -> the pictures that guide, and the options that they have in common.

A part of ``translate.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fooocus_core.choices import ControlKind
from fooocus_core.downloads import CONTROL_FILES, image_prompt_files
from fooocus_core.images.arrays import size_of
from fooocus_core.images.resize import check_croppable
from fooocus_core.images.sizes import WorkingSize, check_searchable
from fooocus_core.params import ControlParams, ImagePrompt, Size
from fooocusapi.inputs import Pictures, is_missing
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas import parameters
from fooocusapi.schemas.parameters import AdvancedParams, GenerationRequest
from fooocusapi.schemas.pictures import Location, PictureField
from fooocusapi.schemas.requests import GuidedRequest
from fooocusapi.tolerance import Tolerance, naming

_PROMPTS = ("image_prompts",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usual:
    """How long and how strongly pictures of a kind guide if nothing else is said."""

    stop: float
    weight: float


_USUAL: Mapping[ControlKind, _Usual] = {
    ControlKind.IMAGE_PROMPT: _Usual(stop=0.5, weight=0.6),
    ControlKind.FACE_SWAP: _Usual(stop=0.9, weight=0.75),
    ControlKind.PYRA_CANNY: _Usual(stop=0.5, weight=1.0),
    ControlKind.CPDS: _Usual(stop=0.5, weight=1.0),
}


def guide_fields(request: GenerationRequest, limit: int) -> Iterator[PictureField]:
    """Where the pictures that guide stand, up to so many; the others need not be read."""
    for location, prompt in _given(request)[:limit]:
        yield PictureField(location=location, value=prompt.cn_img)


def control_params(advanced: AdvancedParams) -> ControlParams:
    """The options that all guiding pictures have in common."""
    return ControlParams(
        softness=advanced.controlnet_softness,
        canny_low=advanced.canny_low_threshold,
        canny_high=advanced.canny_high_threshold,
        skip_preprocessing=advanced.skipping_cn_preprocessor,
        show_preprocessing=advanced.debugging_cn_preprocessor,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideTranslation:
    """The translation of one request's image prompts."""

    request: GenerationRequest
    pictures: Pictures
    limit: int
    needed: NeededFiles
    tolerance: Tolerance

    def image_prompts(self, guided: WorkingSize) -> tuple[ImagePrompt, ...]:
        """The pictures that guide; none if nothing is painted that they could guide.

        Args:
            guided: What they guide the painting of.

        Raises:
            InvalidFieldError: A picture is too thin; or strict, and there are too many.
            ModelMissingError: A file that their kinds need is not there.
        """
        given = _given(self.request)
        if len(given) > self.limit:
            self.tolerance.tolerate(
                _PROMPTS,
                len(given),
                f"too many image prompts: {len(given)}",
                instead=f"only the first {self.limit} are used",
                allowed=f"at most {self.limit} with a picture",
            )
        if given and guided.is_final:
            self.tolerance.warn("image_prompts are not used: nothing is painted that they guide")
            return ()
        prompts = tuple(
            self._prompt(location, prompt, guided) for location, prompt in given[: self.limit]
        )
        control = control_params(self.request.advanced_params)
        files = (image_prompt_files(prompt.kind, control) for prompt in prompts)
        self.needed.require(dict.fromkeys(file for some in files for file in some))
        return prompts

    def _prompt(
        self, location: Location, prompt: parameters.ImagePrompt, guided: WorkingSize
    ) -> ImagePrompt:
        image, usual = self.pictures[location], _USUAL[prompt.cn_type]
        with naming(location):
            self._check_size(size_of(image), prompt.cn_type, guided)
        return ImagePrompt(
            image=image,
            kind=prompt.cn_type,
            stop=prompt.cn_stop or usual.stop,
            weight=prompt.cn_weight or usual.weight,
        )

    def _check_size(self, size: Size, kind: ControlKind, guided: WorkingSize) -> None:
        skips_preprocessing = self.request.advanced_params.skipping_cn_preprocessor
        if kind in CONTROL_FILES:
            check_croppable(size, guided.size)
        elif kind is ControlKind.FACE_SWAP and not skips_preprocessing:
            check_searchable(size)


def _given(request: GenerationRequest) -> list[tuple[Location, parameters.ImagePrompt]]:
    """The image prompts that have a picture, by where that stands."""
    if not isinstance(request, GuidedRequest):
        return []
    return [
        ((*_PROMPTS, index, "cn_img"), prompt)
        for index, prompt in enumerate(request.image_prompts)
        if not is_missing(prompt.cn_img)
    ]
