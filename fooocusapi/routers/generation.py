"""POST /v1/generation/* and /v2/generation/*: every way to ask for pictures, in one table.

The first version takes forms and reads JSON as the second one does, which is made for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Depends, Response

from fooocusapi.bodies import read_body
from fooocusapi.dependencies import PreferencesDep, ServicesDep
from fooocusapi.routers.answers import GENERATION_ANSWERS
from fooocusapi.schemas.descriptions import describe_body
from fooocusapi.schemas.parameters import GenerationRequest
from fooocusapi.schemas.requests import (
    EnhanceRequest,
    EnhanceRequestV1,
    GuidedInpaintOutpaintRequest,
    GuidedTextToImageRequest,
    GuidedUpscaleVaryRequest,
    ImagePromptRequest,
    ImagePromptV2,
    InpaintOutpaintRequest,
    TextToImageRequest,
    UpscaleVaryV1,
)
from fooocusapi.schemas.vocabulary import JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way to ask for pictures.

    Attributes:
        path: Below /v1/generation or /v2/generation.
        operation: Its id in the schema.
        body: What JSON is read as.
        form: What a form is read as.
        does: What it does, in a sentence.
        old_paths: Further paths, older spellings.
    """

    version: int
    path: str
    operation: str
    kind: JobKind
    body: type[GenerationRequest]
    form: type[GenerationRequest]
    does: str
    old_paths: tuple[str, ...] = ()


_UPSCALE_VARY = "Vary a picture or enlarge it."
_INPAINT_OUTPAINT = "Paint a part of a picture again, or extend its sides."
_ENHANCE = "Improve a picture in passes: vary or enlarge it, find regions and paint them again."
_IMAGE_PROMPT = "Let pictures guide a new one, or what a picture is inpainted or extended with."

ENDPOINTS = (
    Endpoint(
        version=1,
        path="text-to-image",
        operation="text_to_image",
        kind=JobKind.TEXT_TO_IMAGE,
        body=TextToImageRequest,
        form=TextToImageRequest,
        does="Make pictures from a prompt.",
    ),
    Endpoint(
        version=2,
        path="text-to-image-with-ip",
        operation="text_to_image_with_ip",
        kind=JobKind.TEXT_TO_IMAGE,
        body=GuidedTextToImageRequest,
        form=GuidedTextToImageRequest,
        does="Make pictures from a prompt, guided by pictures.",
    ),
    Endpoint(
        version=1,
        path="image-upscale-vary",
        operation="image_upscale_vary_v1",
        kind=JobKind.UPSCALE_VARY,
        body=GuidedUpscaleVaryRequest,
        form=UpscaleVaryV1,
        does=_UPSCALE_VARY,
    ),
    Endpoint(
        version=2,
        path="image-upscale-vary",
        operation="image_upscale_vary_v2",
        kind=JobKind.UPSCALE_VARY,
        body=GuidedUpscaleVaryRequest,
        form=GuidedUpscaleVaryRequest,
        does=_UPSCALE_VARY,
    ),
    Endpoint(
        version=1,
        path="image-inpaint-outpaint",
        operation="image_inpaint_outpaint_v1",
        kind=JobKind.INPAINT_OUTPAINT,
        body=GuidedInpaintOutpaintRequest,
        form=InpaintOutpaintRequest,
        does=_INPAINT_OUTPAINT,
        old_paths=("image-inpait-outpaint",),
    ),
    Endpoint(
        version=2,
        path="image-inpaint-outpaint",
        operation="image_inpaint_outpaint_v2",
        kind=JobKind.INPAINT_OUTPAINT,
        body=GuidedInpaintOutpaintRequest,
        form=GuidedInpaintOutpaintRequest,
        does=_INPAINT_OUTPAINT,
        old_paths=("image-inpait-outpaint",),
    ),
    Endpoint(
        version=1,
        path="image-prompt",
        operation="image_prompt_v1",
        kind=JobKind.IMAGE_PROMPT,
        body=ImagePromptV2,
        form=ImagePromptRequest,
        does=_IMAGE_PROMPT,
    ),
    Endpoint(
        version=2,
        path="image-prompt",
        operation="image_prompt_v2",
        kind=JobKind.IMAGE_PROMPT,
        body=ImagePromptV2,
        form=ImagePromptRequest,
        does=_IMAGE_PROMPT,
    ),
    Endpoint(
        version=1,
        path="image-enhance",
        operation="image_enhance_v1",
        kind=JobKind.ENHANCE,
        body=EnhanceRequest,
        form=EnhanceRequestV1,
        does=_ENHANCE,
    ),
    Endpoint(
        version=2,
        path="image-enhance",
        operation="image_enhance_v2",
        kind=JobKind.ENHANCE,
        body=EnhanceRequest,
        form=EnhanceRequest,
        does=_ENHANCE,
    ),
)

REQUESTS: tuple[type[GenerationRequest], ...] = tuple(
    dict.fromkeys(model for endpoint in ENDPOINTS for model in (endpoint.body, endpoint.form))
)


def _handler(endpoint: Endpoint) -> Callable[..., Awaitable[Response]]:
    read = read_body(endpoint.body, form=endpoint.form)

    async def generate(
        caller: PreferencesDep,
        services: ServicesDep,
        body: GenerationRequest = Depends(read),  # noqa: B008 (annotations find no local names)
    ) -> Response:
        return await services.submitter.submit(body, endpoint.kind, caller)

    return generate


def _make_router() -> APIRouter:
    router = APIRouter(tags=["Generation"])
    for endpoint in ENDPOINTS:
        for path in (endpoint.path, *endpoint.old_paths):
            router.add_api_route(
                f"/v{endpoint.version}/generation/{path}",
                _handler(endpoint),
                methods=["POST"],
                operation_id=endpoint.operation,
                summary=endpoint.does,
                responses=GENERATION_ANSWERS,
                response_model=None,
                openapi_extra=describe_body(endpoint.body, form=endpoint.form),
                include_in_schema=path == endpoint.path,
            )
    return router


router = _make_router()
