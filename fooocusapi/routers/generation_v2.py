"""POST /v2/generation/*: JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import PreferencesDep, ServicesDep
from fooocusapi.routers.answers import GENERATION_ANSWERS
from fooocusapi.schemas.requests import InpaintOutpaintRequest, UpscaleVaryRequest
from fooocusapi.schemas.vocabulary import JobKind

router = APIRouter(prefix="/v2/generation", tags=["Generation"])

REQUESTS = (UpscaleVaryRequest, InpaintOutpaintRequest)


@router.post(
    "/image-upscale-vary",
    operation_id="image_upscale_vary_v2",
    responses=GENERATION_ANSWERS,
    response_model=None,
    openapi_extra=describe_body(UpscaleVaryRequest),
)
async def image_upscale_vary(
    body: Annotated[UpscaleVaryRequest, Depends(read_body(UpscaleVaryRequest))],
    caller: PreferencesDep,
    services: ServicesDep,
) -> Response:
    """Vary a picture or enlarge it."""
    return await services.submitter.submit(body, JobKind.UPSCALE_VARY, caller)


@router.post("/image-inpait-outpaint", include_in_schema=False, response_model=None)
@router.post(
    "/image-inpaint-outpaint",
    operation_id="image_inpaint_outpaint_v2",
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
