"""Pictures into files, and records into and out of them."""

from __future__ import annotations

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fooocus_core.choices import MetadataScheme
from fooocus_core.errors import InvalidInputError
from fooocus_core.events import ImageRecord
from fooocus_core.metadata.embed import ImageFormat, encode_image, read_embedded
from tests.golden import GOLDEN, load_json

FORMATS: list[ImageFormat] = list(get_args(ImageFormat))
LONG_TEXT = "a" * 70_000


def make_record(text: str, scheme: MetadataScheme = MetadataScheme.FOOOCUS) -> ImageRecord:
    return ImageRecord(scheme=scheme, text=text, rows=())


def open_image(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.asarray(Image.open(GOLDEN / "jobs" / "t2i_plain" / "image_0.png"))


@pytest.mark.parametrize("scheme", MetadataScheme)
@pytest.mark.parametrize("text", ["{}", "Ünï 猫, x: 1\ny", "a" * 60_000], ids=len)
@pytest.mark.parametrize("image_format", FORMATS)
def test_what_is_embedded_is_found_again(
    image_format: ImageFormat, text: str, scheme: MetadataScheme, picture: NDArray[np.uint8]
) -> None:
    found = read_embedded(encode_image(picture, image_format, make_record(text, scheme)).content)
    assert found is not None
    assert (found.text, found.scheme) == (text, scheme)


def test_a_png_holds_the_recorded_text_and_pixels(picture: NDArray[np.uint8]) -> None:
    text = load_json("jobs/t2i_plain/job")["images"][0]["embedded"]
    with open_image(encode_image(picture, "png", make_record(text)).content) as image:
        assert image.info == {"parameters": text, "fooocus_scheme": "fooocus"}
        assert np.array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_the_others_hold_three_exif_tags(
    image_format: ImageFormat, picture: NDArray[np.uint8]
) -> None:
    with open_image(encode_image(picture, image_format, make_record("{}")).content) as image:
        exif = dict(image.getexif())
    assert exif == {0x9286: b"{}", 0x0131: "Fooocus v2.5.5", 0x927C: b"fooocus"}


@pytest.mark.parametrize("image_format", FORMATS)
def test_without_a_record_there_is_no_metadata(
    image_format: ImageFormat, picture: NDArray[np.uint8]
) -> None:
    data = encode_image(picture, image_format, None).content
    assert read_embedded(data) is None
    with open_image(data) as image:
        assert "exif" not in image.info
        assert (image.format, image.mode) == (image_format.upper(), "RGB")


def test_a_jpeg_is_progressive_and_of_quality_95(picture: NDArray[np.uint8]) -> None:
    with open_image(encode_image(picture, "jpeg", None).content) as image:
        assert image.info["progressive"]
        expected = BytesIO()
        image.save(expected, "JPEG", quality=95)
        tables = image.quantization  # type: ignore[attr-defined]  # only JPEG files have it
    with open_image(expected.getvalue()) as again:
        assert tables == again.quantization  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_the_other_formats_hold_long_records(
    image_format: ImageFormat, picture: NDArray[np.uint8]
) -> None:
    found = read_embedded(encode_image(picture, image_format, make_record(LONG_TEXT)).content)
    assert found is not None
    assert found.text == LONG_TEXT


@pytest.mark.parametrize("image_format", FORMATS)
def test_half_a_surrogate_pair_does_not_lose_the_picture(
    image_format: ImageFormat, picture: NDArray[np.uint8]
) -> None:
    found = read_embedded(encode_image(picture, image_format, make_record("a \ud800 b")).content)
    assert found is not None
    assert found.text == "a ? b"


def test_an_unknown_scheme_is_left_open(picture: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x9286], exif[0x927C] = b"text", b"other"
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", exif=exif)
    found = read_embedded(buffer.getvalue())
    assert found is not None
    assert (found.text, found.scheme) == ("text", None)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="picture"):
        read_embedded(data)


def test_a_picture_too_large_for_the_format_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="16383"):
        encode_image(np.zeros((1, 16_384, 3), np.uint8), "webp", None)


@pytest.mark.parametrize("scheme", MetadataScheme)
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_nul_is_not_written(
    image_format: ImageFormat, scheme: MetadataScheme, picture: NDArray[np.uint8]
) -> None:
    encoded = encode_image(picture, image_format, make_record("a\0b\n\tc", scheme))
    found = read_embedded(encoded.content)
    assert found is not None
    assert found.text == "ab\n\tc"


@pytest.mark.parametrize("image_format", FORMATS)
def test_only_a_jpeg_leaves_a_long_record_out_and_says_so(
    image_format: ImageFormat, picture: NDArray[np.uint8]
) -> None:
    encoded = encode_image(picture, image_format, make_record(LONG_TEXT))
    is_missing = read_embedded(encoded.content) is None
    assert encoded.record_left_out == is_missing == (image_format == "jpeg")
    assert not encode_image(picture, image_format, make_record("short")).record_left_out
