"""One model per workflow, shared by both versions of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from fooocus_core.choices import (
    ClothCategory,
    EnhanceOrder,
    EnhancePrompt,
    MaskModel,
    SamModel,
    UpscaleVaryMethod,
)
from fooocusapi.schemas import examples
from fooocusapi.schemas.parameters import (
    DescribeKindName,
    Distance,
    EnhanceOrderName,
    EnhancePromptName,
    EnhanceRegions,
    EnhanceRegionsV1,
    GenerationRequest,
    ImagePrompts,
    Integer,
    MaskText,
    MethodName,
    Number,
    PromptText,
    RequestModel,
    Share,
    SideNames,
)
from fooocusapi.schemas.pictures import ImageValue, PictureField


class GuidedRequest(GenerationRequest):
    """What pictures guide, whatever else is asked for."""

    image_prompts: ImagePrompts = Field(default_factory=list)


class TextToImageRequest(GenerationRequest):
    """A picture from words alone."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.TEXT_TO_IMAGE})


class GuidedTextToImageRequest(GuidedRequest):
    """A picture from words, and from pictures that guide it."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.GUIDED_TEXT_TO_IMAGE})


class UpscaleVaryRequest(GenerationRequest):
    """A picture to vary or to enlarge."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.UPSCALE_VARY})

    input_image: ImageValue
    uov_method: MethodName = UpscaleVaryMethod.UPSCALE_2
    upscale_value: Number | None = Field(
        default=None, ge=1.0, le=5.0, description="Only for `Upscale (Custom)`; not given: 2."
    )

    def picture_fields(self) -> Iterator[PictureField]:
        """Where pictures stand in this request."""
        yield PictureField(location=("input_image",), value=self.input_image, is_needed=True)


class UpscaleVaryV1(UpscaleVaryRequest):
    """A picture to vary or to enlarge; what to do has to be said."""

    uov_method: MethodName


class GuidedUpscaleVaryRequest(UpscaleVaryRequest, GuidedRequest):
    """A picture to vary or to enlarge, and others that guide it."""


class InpaintOutpaintRequest(GenerationRequest):
    """A picture with a part to paint again, or with sides to extend."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.INPAINT_OUTPAINT})

    input_image: ImageValue
    input_mask: ImageValue = Field(default=None, description="White = the part to paint again.")
    inpaint_additional_prompt: PromptText = ""
    outpaint_selections: SideNames = Field(
        default_factory=list, description="Sides to extend: `Left`, `Right`, `Top`, `Bottom`."
    )
    outpaint_distance_left: Distance = 0
    outpaint_distance_right: Distance = 0
    outpaint_distance_top: Distance = 0
    outpaint_distance_bottom: Distance = 0

    def picture_fields(self) -> Iterator[PictureField]:
        """Where pictures stand in this request."""
        is_needed = type(self).model_fields["input_image"].is_required()
        yield PictureField(location=("input_image",), value=self.input_image, is_needed=is_needed)
        yield PictureField(location=("input_mask",), value=self.input_mask, is_mask=True)


class GuidedInpaintOutpaintRequest(InpaintOutpaintRequest, GuidedRequest):
    """A picture with a part to paint again, or with sides to extend, and others that guide it."""


class ImagePromptRequest(GuidedInpaintOutpaintRequest):
    """Pictures that guide; with ``input_image`` they guide how it is inpainted or extended."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.IMAGE_PROMPT})

    input_image: ImageValue = None


class ImagePromptV2(ImagePromptRequest):
    """Pictures that guide; the list has to be given, and may be empty."""

    image_prompts: ImagePrompts


class EnhanceRequest(GenerationRequest):
    """A picture to improve in passes; one is made, whatever number is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.ENHANCE})

    enhance_input_image: ImageValue
    enhance_checkbox: bool = Field(default=True, description="Needs not be said.")
    enhance_uov_method: MethodName = UpscaleVaryMethod.VARY_STRONG
    enhance_uov_processing_order: EnhanceOrderName = EnhanceOrder.BEFORE_FIRST
    enhance_uov_prompt_type: EnhancePromptName = EnhancePrompt.ORIGINAL
    save_final_enhanced_image_only: bool = True
    enhance_ctrlnets: EnhanceRegions = Field(
        default_factory=list, description="Up to three regions to find and paint again."
    )

    def picture_fields(self) -> Iterator[PictureField]:
        """Where pictures stand in this request."""
        yield PictureField(
            location=("enhance_input_image",), value=self.enhance_input_image, is_needed=True
        )


class EnhanceRequestV1(EnhanceRequest):
    """A picture to improve in passes, as forms ask for it."""

    # Each region of a form is one of a body but for one default.
    enhance_ctrlnets: EnhanceRegionsV1 = Field(  # type: ignore[assignment]
        default_factory=list, description="Up to three regions to find and paint again."
    )


class DescribeRequest(RequestModel):
    """A picture to be described in words, and what it is."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.DESCRIBE})

    image: ImageValue
    type: DescribeKindName | None = Field(
        default=None, description="`Photo` (default, a sentence) or `Anime` (tags)."
    )
    image_type: DescribeKindName | None = Field(default=None, description="Another name of `type`.")

    def picture_fields(self) -> Iterator[PictureField]:
        """Where pictures stand in this request."""
        yield PictureField(location=("image",), value=self.image, is_needed=True)


class MaskRequest(RequestModel):
    """A picture of which a mask is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.MASK})

    image: ImageValue
    mask_model: MaskModel = MaskModel.ISNET_GENERAL_USE
    cloth_category: ClothCategory = Field(
        default=ClothCategory.FULL, description="Only for `u2net_cloth_seg`."
    )
    dino_prompt_text: MaskText = Field(
        default="", description="What to select; like all below, only for `sam`."
    )
    sam_model: SamModel = SamModel.VIT_B
    box_threshold: Share = 0.3
    text_threshold: Share = Field(
        default=0.25, description="Of the labels of boxes, which are not part of a mask."
    )
    sam_max_detections: Integer = Field(default=0, ge=0, le=10, description="0 = all.")
    dino_erode_or_dilate: Number = Field(
        default=0, ge=-64, le=64, description="Pixels to move the sides of boxes outwards by."
    )
    dino_debug: bool = Field(default=False, description="The boxes themselves are the mask.")


class ReadMetadataRequest(RequestModel):
    """A picture whose record is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.READ_METADATA})

    image: ImageValue


def find_errors(
    model: type[RequestModel], values: Mapping[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and complaint for everything in ``values`` that the model does not allow."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for entry in error.errors():
            yield entry["loc"], entry["msg"]
