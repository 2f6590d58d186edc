"""POST /v1/tools/*."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from fooocus_core.downloads import mask_files
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import to_rgb
from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.respond import png_text, warning_header
from fooocusapi.routers.answers import TOOL_ANSWERS
from fooocusapi.schemas.requests import MaskRequest, ReadMetadataRequest
from fooocusapi.schemas.responses import PictureMetadata
from fooocusapi.translate_masks import mask_params

router = APIRouter(prefix="/v1/tools", tags=["Tools"])

REQUESTS = (MaskRequest, ReadMetadataRequest)
_IMAGE = ("image",)


@router.post(
    "/generate_mask",
    operation_id="generate_mask",
    openapi_extra=describe_body(MaskRequest),
    responses=TOOL_ANSWERS,
)
async def generate_mask(
    body: Annotated[MaskRequest, Depends(read_body(MaskRequest))],
    request: Request,
    services: ServicesDep,
) -> str:
    """The mask of a picture: a PNG of its size as base64, white = selected."""
    params = mask_params(body)
    picture = await services.inputs.read_picture(body.image, _IMAGE)
    image = await asyncio.to_thread(to_rgb, picture)
    try:
        mask = await services.submitter.call(
            request, lambda engine: engine.generate_mask(image, params), mask_files(params)
        )
    except InvalidInputError as error:
        raise InvalidFieldError(_IMAGE, str(error)) from error
    return await asyncio.to_thread(png_text, mask)


@router.post(
    "/read-metadata",
    operation_id="read_metadata",
    openapi_extra=describe_body(ReadMetadataRequest),
)
async def read_metadata(
    body: Annotated[ReadMetadataRequest, Depends(read_body(ReadMetadataRequest))],
    response: Response,
    services: ServicesDep,
) -> PictureMetadata:
    """How a picture was made, as a text-to-image request that makes it again."""
    data = await services.inputs.read_bytes(body.image, _IMAGE)
    again = await asyncio.to_thread(services.back_translator.request_of, data)
    response.headers.update(warning_header(again.warnings))
    return PictureMetadata(scheme=again.scheme, parameters=again.parameters)
