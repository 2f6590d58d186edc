"""Pictures into files and records into and out of them: PNG, JPEG, WebP.

Knows nothing of what a record says, and of no folder.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fooocus_core.choices import MetadataScheme
from fooocus_core.errors import InvalidInputError
from fooocus_core.events import ImageRecord

ImageFormat = Literal["png", "jpeg", "webp"]

# Formats of pictures that are opened at all; the readers of others are never reached.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "AVIF", "GIF")
# What the readers of those formats raise about broken pictures.
PICTURE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    ArithmeticError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
SOFTWARE = "Fooocus v2.5.5"
QUALITY = 95
LONGEST_SIDE: Mapping[str, int] = MappingProxyType(
    {"png": 2**31 - 1, "jpeg": 65_535, "webp": 16_383}
)
# A JPEG segment's length has two bytes, which count themselves; "Exif" and two zeros come first.
MAX_JPEG_EXIF_BYTES = 65_533

PNG_TEXT, PNG_SCHEME = "parameters", "fooocus_scheme"
EXIF_SOFTWARE, EXIF_MAKER_NOTE, EXIF_USER_COMMENT = 0x0131, 0x927C, 0x9286


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedText:
    """The text found in a picture, and its scheme if the picture names a known one."""

    text: str
    scheme: MetadataScheme | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """The bytes of an image file, and whether its record did not fit into it."""

    content: bytes
    record_left_out: bool = False


def encode_image(
    image: NDArray[np.uint8], image_format: ImageFormat, record: ImageRecord | None
) -> EncodedImage:
    """Make the bytes of an image file.

    JPEG (progressive, optimised) and lossy WebP have quality 95. The record goes into the text
    chunks ``parameters`` and ``fooocus_scheme`` of a PNG, and into the EXIF tags UserComment,
    MakerNote and Software of the others, as UTF-8. A JPEG holds 64 KiB of it at most; a longer
    record is left out, so that the picture is not lost.

    Args:
        image: (H, W, 3) RGB.
        image_format: Kind of file.
        record: ``None`` writes no metadata at all.

    Raises:
        InvalidInputError: The format cannot hold a picture of this size.
    """
    limit = LONGEST_SIDE[image_format]
    if max(image.shape[:2]) > limit:
        raise InvalidInputError(f"A {image_format} picture may have {limit} pixels a side at most.")
    picture = Image.fromarray(np.ascontiguousarray(image))
    buffer = BytesIO()
    is_too_long = False
    if image_format == "png":
        picture.save(buffer, "PNG", pnginfo=_png_text(record))
    elif image_format == "jpeg":
        exif = _exif(record)
        is_too_long = len(exif) > MAX_JPEG_EXIF_BYTES
        if is_too_long:
            exif = b""
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True, progressive=True, exif=exif)
    else:
        picture.save(buffer, "WEBP", quality=QUALITY, lossless=False, exif=_exif(record))
    return EncodedImage(content=buffer.getvalue(), record_left_out=is_too_long)


def read_embedded(data: bytes) -> EmbeddedText | None:
    """Find the record in the bytes of an image file; ``None`` if there is none.

    Raises:
        InvalidInputError: This is no picture that can be opened.
    """
    try:
        with Image.open(BytesIO(data), formats=PICTURE_FORMATS) as picture:
            text, scheme = picture.info.get(PNG_TEXT), picture.info.get(PNG_SCHEME)
            if text is None:
                exif = picture.getexif()
                text, scheme = exif.get(EXIF_USER_COMMENT), exif.get(EXIF_MAKER_NOTE)
    except PICTURE_ERRORS as error:
        kinds = ", ".join(PICTURE_FORMATS)
        raise InvalidInputError(f"this is not a picture that can be read; {kinds} can") from error
    found = _decode(text)
    return EmbeddedText(text=found, scheme=_find_scheme(_decode(scheme))) if found else None


def _png_text(record: ImageRecord | None) -> PngInfo | None:
    if record is None or record.text is None:
        return None
    text = PngInfo()
    text.add_text(PNG_TEXT, _encode(record.text).decode("utf-8"))
    text.add_text(PNG_SCHEME, record.scheme.value)
    return text


def _exif(record: ImageRecord | None) -> bytes:
    if record is None or record.text is None:
        return b""
    exif = Image.Exif()
    # As bytes, because a text would lose everything outside ASCII in tags of undefined type.
    exif[EXIF_USER_COMMENT] = _encode(record.text)
    exif[EXIF_MAKER_NOTE] = _encode(record.scheme.value)
    exif[EXIF_SOFTWARE] = SOFTWARE
    return exif.tobytes()


def _encode(text: str) -> bytes:
    # A prompt out of JSON may hold half of a surrogate pair, which no encoding can write.
    # A text chunk of a PNG may hold no NUL, which a wildcard file may bring in.
    return text.replace("\0", "").encode("utf-8", errors="replace")


def _decode(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else ""


def _find_scheme(name: str) -> MetadataScheme | None:
    return next((scheme for scheme in MetadataScheme if scheme.value == name), None)
