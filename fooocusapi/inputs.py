"""What a request holds as a picture -> its bytes, or an array of its pixels.

Base64, a data URL, an http(s) address or an upload. Everything is checked before a job is made;
every complaint names the field.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps
from starlette.datastructures import UploadFile

from fooocus_core.images.arrays import to_rgb
from fooocus_core.images.sizes import MAX_PIXELS
from fooocus_core.metadata.embed import PICTURE_ERRORS, PICTURE_FORMATS
from fooocus_core.params import Image
from fooocusapi.addresses import AddressRefusedError, Resolve, is_public, pinned_request, resolve
from fooocusapi.exceptions import BodyTooLargeError, InvalidFieldError, StoredFileNotFoundError
from fooocusapi.schemas.forms import MAX_IMAGE_TEXT
from fooocusapi.schemas.pictures import Location, PictureField
from fooocusapi.schemas.vocabulary import PLACEHOLDERS
from fooocusapi.storage import Storage

Pictures = Mapping[Location, Image]

MAX_BYTES = 64 * 1024 * 1024

_MAX_REDIRECTS = 5
_MAX_PROFILES = 16
_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) fooocusapi",
    "Accept": "image/*,*/*;q=0.8",
    # Packed answers could grow without end when unpacked.
    "Accept-Encoding": "identity",
}
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")


class _UnusableError(Exception):
    """Why a picture cannot be used; the field is added by whoever knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Reads the pictures of requests.

    Attributes:
        storage: Addresses below ``own_files`` are read from there instead of being fetched.
        own_files: Prefix of the addresses of our own pictures.
        allow_private: Pictures may come from private networks and this host, too.
        find: Looks up the addresses of a host.
        transport: Carries requests; ``None`` = the network.
        time_limit_s: For everything that fetching one picture takes.
        decode_limit_s: For decoding one; the thread that does it goes on to its end.
    """

    storage: Storage
    own_files: str
    allow_private: bool
    find: Resolve = resolve
    transport: httpx.AsyncBaseTransport | None = None
    time_limit_s: float = 10.0
    decode_limit_s: float = 30.0

    async def read_bytes(self, value: Any, location: Location) -> bytes:
        """The encoded picture as it was sent.

        Raises:
            InvalidFieldError: There is none, or it cannot be had.
            BodyTooLargeError: It is larger than 64 MiB.
        """
        try:
            return _checked_profiles(await self._bytes(value))
        except _UnusableError as error:
            shown = value if isinstance(value, str) else None
            raise InvalidFieldError(location, str(error), shown) from error

    async def read_picture(self, value: Any, location: Location) -> Image:
        """The pixels: uint8 (H, W, 3) RGB, or (H, W, 4) RGBA if the picture has transparency.

        The first frame, turned as its EXIF orientation says.

        Raises:
            InvalidFieldError: There is none, or it cannot be had or decoded.
            BodyTooLargeError: It is larger than 64 MiB.
        """
        data = await self.read_bytes(value, location)
        try:
            async with asyncio.timeout(self.decode_limit_s):
                return await asyncio.to_thread(decode_picture, data)
        except TimeoutError as error:
            limit = f"{self.decode_limit_s:g} s"
            raise InvalidFieldError(location, f"decoding it takes more than {limit}") from error
        except _UnusableError as error:
            raise InvalidFieldError(location, str(error)) from error

    async def read_mask(self, value: Any, location: Location) -> Image:
        """The pixels of a mask: uint8 (H, W, 3), transparent parts black.

        Raises:
            InvalidFieldError: There is none, or it cannot be had or decoded.
            BodyTooLargeError: It is larger than 64 MiB.
        """
        return await asyncio.to_thread(_over_black, await self.read_picture(value, location))

    async def read_all(self, fields: Iterable[PictureField]) -> dict[Location, Image]:
        """The pictures of a request, uint8 (H, W, 3), by where they stand.

        What is transparent becomes white, or black in a mask. Places without a picture are left
        out.

        Raises:
            InvalidFieldError: One is needed and not there, or cannot be had or decoded.
            BodyTooLargeError: One is larger than 64 MiB.
        """
        given = [field for field in fields if field.is_needed or not is_missing(field.value)]
        return {field.location: await self._read(field) for field in given}

    async def _read(self, field: PictureField) -> Image:
        if field.is_mask:
            return await self.read_mask(field.value, field.location)
        picture = await self.read_picture(field.value, field.location)
        return await asyncio.to_thread(to_rgb, picture)

    async def _bytes(self, value: Any) -> bytes:
        if is_missing(value):
            raise _UnusableError("a picture is needed")
        if isinstance(value, UploadFile):
            return await asyncio.to_thread(_read_upload, value)
        text: str = value.strip()
        if text[:8].lower().startswith(("http://", "https://")):
            return await self._from_address(text)
        return await asyncio.to_thread(_from_base64, text)

    async def _from_address(self, text: str) -> bytes:
        if text.startswith(self.own_files):
            return await asyncio.to_thread(self._own_file, text.removeprefix(self.own_files))
        try:
            async with asyncio.timeout(self.time_limit_s):
                return await self._fetch(text)
        except TimeoutError as error:
            limit = f"{self.time_limit_s:g} s"
            raise _UnusableError(f"the address did not send all within {limit}") from error
        except AddressRefusedError as error:
            raise _UnusableError(f"the picture is not fetched: {error}") from error
        # Nothing of the cause is told: it could be what a private network looks like.
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise _UnusableError("the picture could not be fetched from the address") from error

    def _own_file(self, path: str) -> bytes:
        folder, _, name = unquote(urlsplit(path).path).partition("/")
        try:
            return self.storage.read(folder, name)
        except (StoredFileNotFoundError, OSError) as error:
            raise _UnusableError("there is no such picture on this server") from error

    async def _fetch(self, text: str) -> bytes:
        url = httpx.URL(text)
        async with httpx.AsyncClient(
            transport=self.transport, timeout=self.time_limit_s, trust_env=False
        ) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                request = httpx.Request("GET", url, headers=_HEADERS)
                await asyncio.to_thread(
                    pinned_request, request, is_allowed=self._is_allowed, find=self.find
                )
                answer = await client.send(request, stream=True, follow_redirects=False)
                try:
                    if not answer.has_redirect_location:
                        return await _body(answer)
                finally:
                    await answer.aclose()
                url = url.join(answer.headers["location"])
        raise _UnusableError(f"the address redirects more than {_MAX_REDIRECTS} times")

    def _is_allowed(self, address: Any) -> bool:
        return self.allow_private or is_public(address)


def is_missing(value: Any) -> bool:
    """Whether a field that may hold a picture says that there is none."""
    if isinstance(value, UploadFile):
        return value.size == 0
    return value is None or (isinstance(value, str) and value.strip() in PLACEHOLDERS)


def decode_picture(data: bytes) -> Image:
    """The pixels of an encoded picture; see :meth:`Inputs.read_picture`."""
    try:
        with PillowImage.open(BytesIO(data), formats=PICTURE_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _UnusableError(f"the picture has more than {MAX_PIXELS} pixels")
            return np.array(_to_eight_bits(ImageOps.exif_transpose(picture)))
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise _UnusableError(f"the picture has more than {MAX_PIXELS} pixels") from error
    except PICTURE_ERRORS as error:
        kinds = ", ".join(PICTURE_FORMATS)
        raise _UnusableError(f"this is not a picture that can be read; {kinds} can") from error


def _to_eight_bits(picture: PillowImage.Image) -> PillowImage.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        # Not Pillow's conversion, which cuts off at 255 instead of scaling.
        levels = np.asarray(picture).clip(0, 65_535).astype(np.uint16) >> 8
        picture = PillowImage.fromarray(levels.astype(np.uint8))
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _over_black(image: Image) -> Image:
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return (image[..., :3] * alpha + 0.5).astype(np.uint8)


def _read_upload(upload: UploadFile) -> bytes:
    upload.file.seek(0)
    return _checked_size(upload.file.read(MAX_BYTES + 1))


def _from_base64(text: str) -> bytes:
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise _UnusableError("a data URL has to hold base64")
        text = unquote(text)
    if len(text) > MAX_IMAGE_TEXT:
        raise _too_large()
    text = text.translate(_URL_SAFE).rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _UnusableError("neither base64, nor a data URL, nor an http(s) address") from error
    return _checked_size(data)


def _checked_size(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise _too_large()
    return data


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"a picture may have {MAX_BYTES} bytes at most")


def _checked_profiles(data: bytes) -> bytes:
    # Pillow unpacks each of them, and forgets all but the last.
    if data.count(b"iCCP") > _MAX_PROFILES:
        raise _UnusableError("the picture has too many colour profiles")
    return data


async def _body(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        raise _UnusableError(f"the address answered with status {answer.status_code}")
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > MAX_BYTES:
            raise _UnusableError(f"the address sends more than {MAX_BYTES} bytes")
    return bytes(data)
