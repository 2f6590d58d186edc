"""POST /v1/tools/*."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from fooocus_core.choices import DescribeKind
from fooocus_core.downloads import describe_files, mask_files
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import to_rgb
from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.respond import png_text, warning_header
from fooocusapi.routers.answers import BODY_ANSWERS, TOOL_ANSWERS
from fooocusapi.schemas.parameters import DescribeKindName
from fooocusapi.schemas.requests import DescribeRequest, MaskRequest, ReadMetadataRequest
from fooocusapi.schemas.responses import Description, PictureMetadata
from fooocusapi.translate_masks import mask_params

_IN_BODY = "As in the body, which wins."
_IMAGE = ("image",)

router = APIRouter(prefix="/v1/tools", tags=["Tools"])

REQUESTS = (DescribeRequest, MaskRequest, ReadMetadataRequest)


@router.post(
    "/describe-image",
    operation_id="describe_image",
    openapi_extra=describe_body(DescribeRequest),
    responses=TOOL_ANSWERS,
)
async def describe_image(
    body: Annotated[DescribeRequest, Depends(read_body(DescribeRequest))],
    request: Request,
    services: ServicesDep,
    kind: Annotated[DescribeKindName | None, Query(alias="type", description=_IN_BODY)] = None,
    image_type: Annotated[DescribeKindName | None, Query(description=_IN_BODY)] = None,
) -> Description:
    """What a picture shows: a sentence, drawn anew each time, or the tags of a drawing."""
    asked = (body.type, body.image_type, kind, image_type)
    chosen = next(filter(None, asked), DescribeKind.PHOTO)
    (image,) = (await services.inputs.read_all(body.picture_fields())).values()
    text = await services.submitter.call(
        request, lambda engine: engine.describe(image, chosen), describe_files(chosen)
    )
    return Description(describe=text)


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
    responses=BODY_ANSWERS,
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
