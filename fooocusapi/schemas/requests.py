"""One model per workflow, shared by both versions of the API."""

from __future__ import annotations

from pydantic import ConfigDict

from fooocusapi.schemas.parameters import GenerationRequest


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
