"""A request as it is kept: JSON without pictures, whose digests stand in their place."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from starlette.datastructures import UploadFile

from fooocusapi.inputs import is_missing
from fooocusapi.schemas.parameters import GenerationRequest, RequestModel
from fooocusapi.schemas.pictures import holds_picture

_PIECE = 1024 * 1024


def request_text(request: GenerationRequest) -> str:
    """The request as ASCII JSON text; the same for two requests that ask for the same.

    Reads uploads, so it blocks.
    """
    return json.dumps(_content(request), sort_keys=True)


def fingerprint(text: str) -> str:
    """A short text that tells this one from all others."""
    return sha256(text.encode()).hexdigest()


def _content(value: Any) -> Any:
    if isinstance(value, RequestModel):
        return {
            name: (_picture if holds_picture(field) else _content)(getattr(value, name))
            for name, field in type(value).model_fields.items()
        }
    if isinstance(value, list):
        return [_content(item) for item in value]
    return value


def _picture(value: Any) -> str | None:
    return None if is_missing(value) else f"picture with sha256 {_digest(value)}"


def _digest(value: Any) -> str:
    if not isinstance(value, UploadFile):
        return fingerprint(str(value).encode(errors="replace").decode())
    digest = sha256()
    value.file.seek(0)
    while piece := value.file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
