"""POST /v1/tools/*."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from fooocus_core.choices import DescribeKind
from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep
from fooocusapi.respond import warning_header
from fooocusapi.schemas.parameters import DescribeKindName
from fooocusapi.schemas.requests import DescribeRequest, ReadMetadataRequest
from fooocusapi.schemas.responses import Description, PictureMetadata

_IN_BODY = "As in the body, which wins."

router = APIRouter(prefix="/v1/tools", tags=["Tools"])

REQUESTS = (DescribeRequest, ReadMetadataRequest)


@router.post(
    "/describe-image",
    operation_id="describe_image",
    openapi_extra=describe_body(DescribeRequest),
)
async def describe_image(
    body: Annotated[DescribeRequest, Depends(read_body(DescribeRequest))],
    services: ServicesDep,
    kind: Annotated[DescribeKindName | None, Query(alias="type", description=_IN_BODY)] = None,
    image_type: Annotated[DescribeKindName | None, Query(description=_IN_BODY)] = None,
) -> Description:
    """What a picture shows: a sentence, drawn anew each time, or the tags of a drawing."""
    asked = (body.type, body.image_type, kind, image_type)
    chosen = next(filter(None, asked), DescribeKind.PHOTO)
    return Description(describe=await services.submitter.describe(body, chosen))


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
