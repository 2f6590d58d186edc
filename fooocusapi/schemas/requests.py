"""One model per workflow, shared by both versions of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, ValidationError

from fooocusapi.schemas.parameters import GenerationRequest, ImageValue, RequestModel


class TextToImageRequest(GenerationRequest):
    """A picture from words alone."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "prompt": "a red circle on a blue background",
                "image_seed": 7,
                "async_process": False,
            }
        }
    )


class ReadMetadataRequest(RequestModel):
    """A picture whose record is wanted."""

    image: ImageValue


def find_errors(
    model: type[RequestModel], values: Mapping[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and complaint for everything in ``values`` that the model does not allow."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        for entry in error.errors():
            yield entry["loc"], entry["msg"]
