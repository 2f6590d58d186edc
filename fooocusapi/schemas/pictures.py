"""Pictures in requests: the type of their fields, and where they stand.

Decodes nothing: a picture stays as it came until ``inputs.py`` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.fields import FieldInfo
from starlette.datastructures import UploadFile

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureField:
    """A place in a request where a picture stands.

    Attributes:
        location: Path of the field inside the body.
        value: What stands there.
        is_mask: Whether it is read as a mask.
        is_needed: Whether a text that means "no picture" is refused.
    """

    location: Location
    value: Any
    is_mask: bool = False
    is_needed: bool = False


def _check_image(value: object) -> object:
    if not isinstance(value, str | UploadFile):
        raise ValueError("a picture is wanted: base64, a data URL, an http(s) address or a file")
    return value


ImageValue = Annotated[
    Any,
    BeforeValidator(_check_image),
    WithJsonSchema(
        {
            "type": "string",
            "contentMediaType": "image/*",
            "description": "Base64, a data URL, or an http(s) address; in a form also a file.",
        }
    ),
]


def holds_picture(field: FieldInfo) -> bool:
    """Whether a field of a request model is an :data:`ImageValue`."""
    schemas = [part.json_schema for part in field.metadata if isinstance(part, WithJsonSchema)]
    return any("contentMediaType" in (schema or {}) for schema in schemas)
