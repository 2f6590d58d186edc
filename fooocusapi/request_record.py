"""A request as it is kept: JSON without pictures, whose digests stand in their place."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from starlette.datastructures import UploadFile

from fooocusapi.inputs import is_missing
from fooocusapi.schemas.parameters import GenerationRequest
from fooocusapi.schemas.pictures import PictureField

_PIECE = 1024 * 1024


def request_text(request: GenerationRequest) -> str:
    """The request as ASCII JSON text; the same for two requests that ask for the same.

    Reads uploads, so it blocks.
    """
    content = request.model_dump(include=set(type(request).model_fields))
    for field in request.picture_fields():
        _replace(content, field)
    return json.dumps(content, sort_keys=True)


def fingerprint(text: str) -> str:
    """A short text that tells this one from all others."""
    return sha256(text.encode()).hexdigest()


def _replace(content: Any, field: PictureField) -> None:
    *way, last = field.location
    for key in way:
        content = content[key]
    missing = is_missing(field.value)
    content[last] = None if missing else f"picture with sha256 {_digest(field.value)}"


def _digest(value: Any) -> str:
    if not isinstance(value, UploadFile):
        return fingerprint(str(value).encode(errors="replace").decode())
    digest = sha256()
    value.file.seek(0)
    while piece := value.file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
