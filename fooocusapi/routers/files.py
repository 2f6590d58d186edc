"""Finished pictures."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from fooocus_core.metadata.embed import PICTURE_ERRORS
from fooocusapi.dependencies import ServicesDep, bare_media_type
from fooocusapi.exceptions import StoredFileNotFoundError
from fooocusapi.routers.answers import Answers
from fooocusapi.storage import convert

router = APIRouter(prefix="/files", tags=["Files"])

_OPEN_FILES = Path("/dev/fd")  # of this process, on POSIX systems
_CONVERTED = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/webp": "image/webp",
}
_CONTENT = {
    name: {"schema": {"type": "string", "format": "binary"}}
    for name in dict.fromkeys(_CONVERTED.values())
}
_PICTURES: Answers = {
    200: {
        "description": "The picture.",
        "content": _CONTENT,
    },
    206: {"description": "A part of the picture, as `Range` asks for.", "content": _CONTENT},
    400: {"description": "`Range` is malformed.", "content": {"text/plain": {}}},
    404: {"description": "No such file."},
    416: {"description": "No such part of the picture.", "content": {"text/plain": {}}},
}


@router.get(
    "/{date}/{file_name}",
    operation_id="get_file",
    response_class=Response,
    responses=_PICTURES,
    response_model=None,
)
@router.head("/{date}/{file_name}", include_in_schema=False, response_model=None)
async def get_file(date: str, file_name: str, request: Request, services: ServicesDep) -> Response:
    """A finished picture, converted if exactly one other format is accepted."""
    stored = await asyncio.to_thread(services.storage.find, date, file_name)
    wanted = _CONVERTED.get(bare_media_type(request.headers.get("accept", "")))
    headers = _headers(stored.path.name)
    if wanted is not None and wanted != stored.media_type:
        # What cannot be decoded, another program put there; it is served as it is.
        with suppress(*PICTURE_ERRORS):
            content = await asyncio.to_thread(convert, stored.path, wanted)
            tag = {"ETag": f'"{sha256(content).hexdigest()}"'}
            return Response(content, media_type=wanted, headers={**headers, **tag})
    return _OpenFileResponse(stored.path, media_type=stored.media_type, headers=headers)


class _OpenFileResponse(FileResponse):
    """Opens its file before it begins to answer, so that what is removed meanwhile is sent whole.

    Raises:
        StoredFileNotFoundError: It was removed before.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            descriptor = await asyncio.to_thread(os.open, self.path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise StoredFileNotFoundError("no such file") from error
        try:
            if _OPEN_FILES.is_dir():  # elsewhere a file that is open cannot be removed
                self.path = _OPEN_FILES / str(descriptor)
            await super().__call__(scope, receive, send)
        finally:
            os.close(descriptor)


def _headers(name: str) -> dict[str, str]:
    return {
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": "default-src 'none'",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
