"""POST /v1/generation/*."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import describe_body, read_body
from fooocusapi.dependencies import ServicesDep, WantsPng
from fooocusapi.schemas.requests import TextToImageRequest
from fooocusapi.schemas.responses import JobObject, ResultItem
from fooocusapi.schemas.vocabulary import JobKind

router = APIRouter(prefix="/v1/generation", tags=["Generation"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": list[ResultItem] | JobObject,
        "description": (
            "The results; with `async_process` the job object at once; with `Accept: image/png` "
            "the bytes of the picture. Warnings stand in the header `X-Fooocus-Warning`."
        ),
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    400: {"description": "`image/png` only: the job was stopped.", "content": {"text/plain": {}}},
    409: {"description": "`image/png` only: the queue is full.", "content": {"text/plain": {}}},
    500: {"description": "`image/png` only: the job failed.", "content": {"text/plain": {}}},
    503: {"description": "A needed file is missing, or the server is stopping."},
}


@router.post(
    "/text-to-image",
    operation_id="text_to_image",
    responses=_ANSWERS,
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
