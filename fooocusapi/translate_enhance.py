"""Request -> the passes that are made over a picture. A part of ``translate.py``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fooocus_core.choices import InpaintEngine, UpscaleVaryMethod
from fooocus_core.config import Defaults
from fooocus_core.downloads import enhance_files
from fooocus_core.images.arrays import size_of
from fooocus_core.images.sizes import check_pixel_count, working_size
from fooocus_core.params import EnhanceParams, EnhanceRegion, Image, MaskParams
from fooocus_core.passes import asks_for_passes
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.inputs import Pictures
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas import parameters
from fooocusapi.schemas.pictures import Location
from fooocusapi.schemas.requests import EnhanceRequest
from fooocusapi.tolerance import Tolerance, naming
from fooocusapi.translate_pictures import upscale_strength, vary_strength

_IMAGE, _METHOD, _REGIONS = ("enhance_input_image",), ("enhance_uov_method",), ("enhance_ctrlnets",)
# As many as Fooocus shows.
_MAX_REGIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhanceTranslation:
    """The translation of one request for passes over a picture."""

    request: EnhanceRequest
    pictures: Pictures
    defaults: Defaults
    needed: NeededFiles
    tolerance: Tolerance

    def params(self, *, single: bool) -> EnhanceParams:
        """The passes.

        Args:
            single: Hand over one picture whatever the request says.

        Raises:
            InvalidFieldError: There is nothing to do, or the picture cannot be used; or strict, and
                something would have to be tolerated.
            ModelMissingError: A file is needed and not there.
        """
        request, advanced = self.request, self.request.advanced_params
        params = EnhanceParams(
            image=self.pictures[_IMAGE],
            method=request.enhance_uov_method,
            vary_strength=vary_strength(advanced),
            upscale_strength=upscale_strength(advanced, self.defaults),
            order=request.enhance_uov_processing_order,
            prompt_source=request.enhance_uov_prompt_type,
            regions=tuple(self._regions()),
            final_only=single or request.save_final_enhanced_image_only,
            show_masks=advanced.debugging_enhance_masks_checkbox and not single,
        )
        if not asks_for_passes(params):
            raise InvalidFieldError(
                _METHOD,
                "there is nothing to do: no region is enabled and the method is Disabled",
                request.enhance_uov_method,
            )
        _check_size(self.pictures[_IMAGE], params.method)
        self.needed.require(enhance_files(params))
        return params

    def _regions(self) -> Iterator[EnhanceRegion]:
        """The enabled ones among the first."""
        listed = self.request.enhance_ctrlnets
        if len(listed) > _MAX_REGIONS:
            self.tolerance.tolerate(
                _REGIONS,
                len(listed),
                f"too many regions to enhance: {len(listed)}",
                instead=f"only the first {_MAX_REGIONS} are looked at",
                allowed=f"at most {_MAX_REGIONS}",
            )
        for index, region in enumerate(listed[:_MAX_REGIONS]):
            if region.enhance_enabled:
                yield self._region((*_REGIONS, index), region)

    def _region(self, place: Location, region: parameters.EnhanceRegion) -> EnhanceRegion:
        return EnhanceRegion(
            mask=self._mask(region),
            prompt=region.enhance_prompt,
            negative_prompt=region.enhance_negative_prompt,
            engine=self.tolerance.choose(
                InpaintEngine,
                region.enhance_inpaint_engine,
                self.defaults.inpaint_engine,
                "enhance_inpaint_engine",
                place,
            ),
            strength=region.enhance_inpaint_strength,
            field=region.enhance_inpaint_respective_field,
            grow=int(region.enhance_inpaint_erode_or_dilate),
            invert=region.enhance_mask_invert,
            from_noise=region.enhance_inpaint_disable_initial_latent,
        )

    def _mask(self, region: parameters.EnhanceRegion) -> MaskParams:
        advanced = self.request.advanced_params
        return MaskParams(
            model=region.enhance_mask_model,
            cloth_category=region.enhance_mask_cloth_category,
            prompt=region.enhance_mask_dino_prompt,
            sam_model=region.enhance_mask_sam_model,
            box_threshold=region.enhance_mask_box_threshold,
            text_threshold=region.enhance_mask_text_threshold,
            max_detections=region.enhance_mask_sam_max_detections,
            grow_boxes=advanced.dino_erode_or_dilate,
            show_boxes=advanced.debugging_dino,
        )


def _check_size(image: Image, method: UpscaleVaryMethod) -> None:
    """Refuse a picture that cannot be varied or enlarged; regions keep its size."""
    if method is UpscaleVaryMethod.DISABLED:
        return
    with naming(_IMAGE):
        check_pixel_count(working_size(size_of(image), method).size)
