"""Reading a form off the wire, whole or not at all. Knows no fields."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from fooocusapi.exceptions import UnreadableBodyError

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"


async def read_form(request: Request, media_type: str, max_part_size: int) -> FormData:
    """The fields and files of a form; whoever gets them closes them.

    Args:
        media_type: One of the two.
        max_part_size: Of a field; files may be larger.

    Raises:
        UnreadableBodyError: It is malformed, cut off, or has more than a thousand fields or files.
    """
    parser: FormParser | MultiPartParser
    if media_type == MULTIPART:
        parser = _WholeForm(request, max_part_size)
    else:
        parser = FormParser(request.headers, request.stream(), max_part_size=max_part_size)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise UnreadableBodyError(f"the form cannot be read: {error.message}") from error


class _WholeForm(MultiPartParser):
    """The library's parser, which takes a form that ends in the middle for a shorter one."""

    def __init__(self, request: Request, max_part_size: int) -> None:
        stream = self._whole(request.stream())
        super().__init__(request.headers, stream, max_part_size=max_part_size)
        self._has_ended = False

    def on_end(self) -> None:
        """Note that the last boundary was there."""
        self._has_ended = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        # Raised here, it makes the library close the files that it has opened.
        if not self._has_ended:
            raise MultiPartException("It ends before its last boundary.")
