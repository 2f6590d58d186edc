"""POST /v2/generation/*: JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep, WantsPng
from fooocusapi.routers.answers import GENERATION_ANSWERS
from fooocusapi.schemas.parameters import ImagePrompts
from fooocusapi.schemas.requests import (
    GuidedInpaintOutpaintRequest,
    GuidedTextToImageRequest,
    GuidedUpscaleVaryRequest,
    ImagePromptRequest,
)
from fooocusapi.schemas.vocabulary import JobKind

router = APIRouter(prefix="/v2/generation", tags=["Generation"])


class ImagePromptV2(ImagePromptRequest):
    """Pictures that guide; the list has to be given, and may be empty."""

    image_prompts: ImagePrompts


REQUESTS = (
    GuidedTextToImageRequest,
    GuidedUpscaleVaryRequest,
    GuidedInpaintOutpaintRequest,
    ImagePromptV2,
)


@router.post(
    "/text-to-image-with-ip",
    operation_id="text_to_image_with_ip",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(GuidedTextToImageRequest),
)
async def text_to_image_with_ip(
    body: Annotated[GuidedTextToImageRequest, Depends(read_body(GuidedTextToImageRequest))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Make pictures from a prompt, guided by pictures."""
    return await services.submitter.submit(body, JobKind.TEXT_TO_IMAGE, wants_png=png)


@router.post(
    "/image-upscale-vary",
    operation_id="image_upscale_vary_v2",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(GuidedUpscaleVaryRequest),
)
async def image_upscale_vary(
    body: Annotated[GuidedUpscaleVaryRequest, Depends(read_body(GuidedUpscaleVaryRequest))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Vary a picture or enlarge it."""
    return await services.submitter.submit(body, JobKind.UPSCALE_VARY, wants_png=png)


@router.post("/image-inpait-outpaint", include_in_schema=False, response_model=None)
@router.post(
    "/image-inpaint-outpaint",
    operation_id="image_inpaint_outpaint_v2",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(GuidedInpaintOutpaintRequest),
)
async def image_inpaint_outpaint(
    body: Annotated[GuidedInpaintOutpaintRequest, Depends(read_body(GuidedInpaintOutpaintRequest))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Paint a part of a picture again, or extend its sides."""
    return await services.submitter.submit(body, JobKind.INPAINT_OUTPAINT, wants_png=png)


@router.post(
    "/image-prompt",
    operation_id="image_prompt_v2",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(ImagePromptV2),
)
async def image_prompt(
    body: Annotated[ImagePromptV2, Depends(read_body(ImagePromptV2))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Let pictures guide a new one, or what a picture is inpainted or extended with."""
    return await services.submitter.submit(body, JobKind.IMAGE_PROMPT, wants_png=png)
