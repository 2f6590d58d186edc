"""POST /v1/generation/*: forms; JSON is read as the second version of the API reads it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep, WantsPng
from fooocusapi.routers.answers import GENERATION_ANSWERS
from fooocusapi.routers.generation_v2 import ImagePromptV2
from fooocusapi.schemas.parameters import MethodName
from fooocusapi.schemas.requests import (
    GuidedInpaintOutpaintRequest,
    GuidedUpscaleVaryRequest,
    ImagePromptRequest,
    InpaintOutpaintRequest,
    TextToImageRequest,
    UpscaleVaryRequest,
)
from fooocusapi.schemas.vocabulary import JobKind

router = APIRouter(prefix="/v1/generation", tags=["Generation"])


class UpscaleVaryV1(UpscaleVaryRequest):
    """A picture to vary or to enlarge; what to do has to be said."""

    uov_method: MethodName


REQUESTS = (TextToImageRequest, UpscaleVaryV1, InpaintOutpaintRequest, ImagePromptRequest)


@router.post(
    "/text-to-image",
    operation_id="text_to_image",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(TextToImageRequest),
)
async def text_to_image(
    body: Annotated[TextToImageRequest, Depends(read_body(TextToImageRequest))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Make pictures from a prompt."""
    return await services.submitter.submit(body, JobKind.TEXT_TO_IMAGE, wants_png=png)


@router.post(
    "/image-upscale-vary",
    operation_id="image_upscale_vary_v1",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(GuidedUpscaleVaryRequest, form=UpscaleVaryV1),
)
async def image_upscale_vary(
    body: Annotated[
        UpscaleVaryRequest, Depends(read_body(GuidedUpscaleVaryRequest, form=UpscaleVaryV1))
    ],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Vary a picture or enlarge it."""
    return await services.submitter.submit(body, JobKind.UPSCALE_VARY, wants_png=png)


@router.post("/image-inpait-outpaint", include_in_schema=False, response_model=None)
@router.post(
    "/image-inpaint-outpaint",
    operation_id="image_inpaint_outpaint_v1",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(GuidedInpaintOutpaintRequest, form=InpaintOutpaintRequest),
)
async def image_inpaint_outpaint(
    body: Annotated[
        InpaintOutpaintRequest,
        Depends(read_body(GuidedInpaintOutpaintRequest, form=InpaintOutpaintRequest)),
    ],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Paint a part of a picture again, or extend its sides."""
    return await services.submitter.submit(body, JobKind.INPAINT_OUTPAINT, wants_png=png)


@router.post(
    "/image-prompt",
    operation_id="image_prompt_v1",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(ImagePromptV2, form=ImagePromptRequest),
)
async def image_prompt(
    body: Annotated[ImagePromptRequest, Depends(read_body(ImagePromptV2, form=ImagePromptRequest))],
    png: WantsPng,
    services: ServicesDep,
) -> Response:
    """Let pictures guide a new one, or what a picture is inpainted or extended with."""
    return await services.submitter.submit(body, JobKind.IMAGE_PROMPT, wants_png=png)
