"""B31 to B41: pictures that are none, or too much of one."""

from __future__ import annotations

import asyncio
import base64
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.inputs import Inputs
from tests.bad_input.conftest import Prober
from tests.fakes import FakeEngine
from tests.pictures import as_base64, encode, plain
from tests.refusals import refused

DESCRIBE = "/v1/tools/describe-image"
METADATA = "/v1/tools/read-metadata"
VARY = "/v2/generation/image-upscale-vary"
INPAINT = "/v2/generation/image-inpaint-outpaint"
PROMPT = "/v2/generation/image-prompt"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int) -> bytes:
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


PIXELS = chunk(b"IDAT", zlib.compress((b"\0" + b"\1\2\3" * 4) * 4)) + chunk(b"IEND", b"")


def with_chunks(*chunks: bytes) -> bytes:
    """A picture of 4x4 pixels with further chunks."""
    return header(4, 4) + b"".join(chunks) + PIXELS


def upload(client: Prober, data: bytes, path: str = DESCRIBE, name: str = "a.png") -> Any:
    return client.post(path, files={"image": (name, data, "image/png")})


PICTURE = encode(plain(8, 8))
TEXT = as_base64(PICTURE)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.rstrip("="),
        TEXT.replace("+", "-").replace("/", "_"),
        "\n".join(TEXT[i : i + 20] for i in range(0, len(TEXT), 20)) + " \r\n\t",
        f"data:image/jpeg;base64,{TEXT}",
        f"data:text/html;base64,{TEXT}",
        f"DATA:image/jpeg;charset=x;base64,{TEXT.replace('=', '%3D')}",
        f"data:;base64,{TEXT}",
    ],
    ids=["no padding", "url-safe", "lines", "other type", "no picture", "escaped", "no type"],
)
def test_b31_base64_in_other_spellings(client: Prober, text: str) -> None:
    assert client.post(DESCRIBE, json={"image": text}).status_code == 200
    assert client.post(DESCRIBE, data={"image": text}).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "====",
        TEXT[:-9] + "!" + TEXT[-8:],
        "data:text/html,<script>",
        "data:image/svg+xml,<svg/>",
        "data:image/svg+xml;base64," + as_base64(b"<svg/>"),
        "data:image/png;base64",
        "data:,",
        "é" * 8,
        "\0",
        5,
        ["a"],
        {},
        True,
    ],
    ids=lambda text: f"{str(text)[:30]!a}",
)
def test_b31_what_is_no_base64_of_a_picture(client: Prober, text: object) -> None:
    refused(client.post(DESCRIBE, json={"image": text}), "image")


def test_b31_a_text_beyond_the_limit_of_a_picture(client: Prober) -> None:
    body = b'{"image": "' + b"A" * (91 * 1024 * 1024) + b'"}'
    answer = client.post(DESCRIBE, content=body)
    assert (answer.status_code, set(answer.json())) == (413, {"detail"})


@pytest.mark.parametrize("text", ["", "None", "none", "null", "string", None])
def test_b32_placeholders_are_no_picture(client: Prober, text: object) -> None:
    refused(client.post(DESCRIBE, json={"image": text}), "image")
    body = {**SMALL, "image_prompts": [], "input_image": text}
    assert client.post(PROMPT, json=body).status_code == 200


@pytest.mark.parametrize(
    ("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (9460, 9460)]
)
def test_b33_a_header_that_promises_too_many_pixels(
    client: Prober, width: int, height: int
) -> None:
    refused(upload(client, header(width, height) + PIXELS), "image", says="pixels")


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0)])
def test_b33_a_header_without_pixels(client: Prober, width: int, height: int) -> None:
    refused(upload(client, header(width, height) + PIXELS), "image")


BOMB = zlib.compress(bytes(50 * 1024 * 1024))
LARGE_CHUNKS: dict[str, Callable[[], bytes]] = {
    "zTXt": lambda: with_chunks(chunk(b"zTXt", b"k\0\0" + BOMB)),
    "iTXt": lambda: with_chunks(chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB)),
    "iCCP": lambda: with_chunks(chunk(b"iCCP", b"k\0\0" + BOMB)),
    "many iCCP": lambda: with_chunks(chunk(b"iCCP", b"k\0\0" + BOMB[:9000]) * 1000),
    "eXIf": lambda: with_chunks(chunk(b"eXIf", b"MM\0*\0\0\0\x08" + bytes(5_000_000))),
    "20 000 chunks": lambda: with_chunks(chunk(b"tEXt", b"k\0v") * 20_000),
    "pixels": lambda: header(4, 4) + chunk(b"IDAT", BOMB) + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("path", [DESCRIBE, METADATA])
@pytest.mark.parametrize("what", LARGE_CHUNKS)
def test_b34_chunks_that_unpack_to_much(client: Prober, what: str, path: str) -> None:
    answer = upload(client, LARGE_CHUNKS[what](), path)
    assert answer.status_code == 200 or refused(answer, "image")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_b34_the_first_of_many_frames_counts(client: Prober, kind: str) -> None:
    frames = [plain(4, 4, (number % 256, 0, 0)) for number in range(10, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    answer = upload(client, data)
    assert answer.status_code == 200
    assert "4x4, [10, 0, 0]" in answer.json()["describe"]


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a.png", PICTURE)
    return buffer.getvalue()


BROKEN: dict[str, bytes] = {
    **{f"half a {kind}": encode(plain(64, 64), kind)[:-30] for kind in ("PNG", "JPEG", "WEBP")},
    **{f"head of a {kind}": encode(plain(64, 64), kind)[:20] for kind in ("PNG", "JPEG", "WEBP")},
    "random": np.random.default_rng(0).bytes(1000),
    "text": b"hello",
    "ZIP": archive(),
    "signature": SIGNATURE,
}


@pytest.mark.parametrize("what", BROKEN)
def test_b35_broken_files(client: Prober, what: str) -> None:
    refused(upload(client, BROKEN[what]), "image")


def test_b35_a_picture_with_an_archive_behind_it_is_the_picture(client: Prober) -> None:
    assert upload(client, PICTURE + archive()).status_code == 200


OTHERS = ("TIFF", "PPM", "ICO", "ICNS", "TGA", "PDF", "EPS", "JPEG2000", "PCX", "DDS", "SGI")
FOREIGN: dict[str, bytes] = {
    **{kind: encode(plain(64, 64), kind) for kind in OTHERS},
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(100),
    "FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "FLI": struct.pack("<IHHHH", 200, 0xAF11, 1, 4, 4) + bytes(200),
    "BLP": b"BLP2" + bytes(200),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_b36_other_formats_under_the_name_of_a_png(client: Prober, kind: str) -> None:
    refused(upload(client, FOREIGN[kind]), "image", says="PNG, JPEG, WEBP")


@pytest.mark.parametrize("profile", [b"no profile", bytes(5000)], ids=["text", "zeros"])
def test_b38_colour_profiles_that_are_none(client: Prober, profile: bytes) -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        assert upload(client, encode(plain(8, 8), kind, icc_profile=profile)).status_code == 200


def test_b39_where_a_photo_was_taken_is_not_passed_on(client: Prober, engine: FakeEngine) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    photo = as_base64(encode(plain(64, 128), "JPEG", exif=exif))
    body = {**SMALL, "input_image": photo, "uov_method": "Vary (Subtle)", "save_extension": "jpg"}
    (item,) = client.post(VARY, json=body).json()
    vary = engine.asked[-1].upscale_vary
    assert vary is not None
    assert vary.image.shape == (64, 128, 3)
    with Image.open(BytesIO(client.get(item["url"]).content)) as made:
        assert not made.getexif().get_ifd(0x8825)
        assert 0x0112 not in made.getexif()


@pytest.mark.parametrize(
    ("image", "mask", "status"),
    [
        (plain(64, 64), plain(32, 96, 255, "L"), 200),
        (plain(64, 64), plain(64, 64, 0, "L"), 200),
        (plain(64, 64), plain(64, 64, 255, "L"), 200),
        (None, plain(64, 64, 255, "L"), 422),
        (plain(64, 64), None, 200),
    ],
    ids=["other size", "black", "white", "no picture", "no mask"],
)
def test_b40_masks(
    client: Prober, image: Image.Image | None, mask: Image.Image | None, status: int
) -> None:
    pictures = {
        name: as_base64(encode(picture))
        for name, picture in (("input_image", image), ("input_mask", mask))
        if picture is not None
    }
    answer = client.post(INPAINT, json={**SMALL, **pictures})
    assert answer.status_code == status, answer.text


def test_b41_image_prompts(client: Prober, engine: FakeEngine) -> None:
    prompt = {"cn_img": TEXT, "cn_stop": 0, "cn_weight": 0}
    body = {**SMALL, "image_prompts": [{"cn_img": None}, *[prompt] * 5]}
    answer = client.post(PROMPT, json=body)
    assert answer.status_code == 200
    assert "X-Fooocus-Warning" in answer.headers
    prompts = engine.asked[-1].image_prompts
    assert 1 <= len(prompts) <= 4
    assert (prompts[0].stop, prompts[0].weight) == (0.5, 0.6)


def test_decoding_ends_after_its_time(client: Prober) -> None:
    inputs: Inputs = client.app.state.services.inputs  # type: ignore[attr-defined]
    hasty = type(inputs)(
        storage=inputs.storage, own_files="http://x/", allow_private=False, decode_limit_s=0.0
    )
    with pytest.raises(InvalidFieldError, match="more than 0 s"):
        asyncio.run(hasty.read_picture(base64.b64encode(PICTURE).decode(), ("image",)))
