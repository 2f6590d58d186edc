"""POST /v1/generation/*: forms; JSON is read as the second version of the API reads it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import PreferencesDep, ServicesDep
from fooocusapi.routers.answers import GENERATION_ANSWERS
from fooocusapi.schemas.parameters import MethodName
from fooocusapi.schemas.requests import (
    InpaintOutpaintRequest,
    TextToImageRequest,
    UpscaleVaryRequest,
)
from fooocusapi.schemas.vocabulary import JobKind

router = APIRouter(prefix="/v1/generation", tags=["Generation"])


class UpscaleVaryV1(UpscaleVaryRequest):
    """A picture to vary or to enlarge; what to do has to be said."""

    uov_method: MethodName


REQUESTS = (TextToImageRequest, UpscaleVaryV1)


@router.post(
    "/text-to-image",
    operation_id="text_to_image",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(TextToImageRequest),
)
async def text_to_image(
    body: Annotated[TextToImageRequest, Depends(read_body(TextToImageRequest))],
    caller: PreferencesDep,
    services: ServicesDep,
) -> Response:
    """Make pictures from a prompt."""
    return await services.submitter.submit(body, JobKind.TEXT_TO_IMAGE, caller)


@router.post(
    "/image-upscale-vary",
    operation_id="image_upscale_vary_v1",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(UpscaleVaryRequest, form=UpscaleVaryV1),
)
async def image_upscale_vary(
    body: Annotated[UpscaleVaryRequest, Depends(read_body(UpscaleVaryRequest, form=UpscaleVaryV1))],
    caller: PreferencesDep,
    services: ServicesDep,
) -> Response:
    """Vary a picture or enlarge it."""
    return await services.submitter.submit(body, JobKind.UPSCALE_VARY, caller)


@router.post("/image-inpait-outpaint", include_in_schema=False, response_model=None)
@router.post(
    "/image-inpaint-outpaint",
    operation_id="image_inpaint_outpaint_v1",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(InpaintOutpaintRequest),
)
async def image_inpaint_outpaint(
    body: Annotated[InpaintOutpaintRequest, Depends(read_body(InpaintOutpaintRequest))],
    caller: PreferencesDep,
    services: ServicesDep,
) -> Response:
    """Paint a part of a picture again, or extend its sides."""
    return await services.submitter.submit(body, JobKind.INPAINT_OUTPAINT, caller)
