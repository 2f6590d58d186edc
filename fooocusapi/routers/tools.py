"""POST /v1/tools/*."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep
from fooocusapi.respond import warning_header
from fooocusapi.schemas.requests import ReadMetadataRequest
from fooocusapi.schemas.responses import PictureMetadata

router = APIRouter(prefix="/v1/tools", tags=["Tools"])

REQUESTS = (ReadMetadataRequest,)


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
    data = await services.inputs.read_bytes(body.image, ("image",))
    again = await asyncio.to_thread(services.back_translator.request_of, data)
    response.headers.update(warning_header(again.warnings))
    return PictureMetadata(scheme=again.scheme, parameters=again.parameters)
