"""Pictures in requests: every form, every complaint, and which addresses are contacted."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from fooocus_core.events import GeneratedImage
from fooocusapi.exceptions import BodyTooLargeError, InvalidFieldError
from fooocusapi.inputs import MAX_BYTES, Inputs, decode_picture
from fooocusapi.schemas.vocabulary import SaveExtension
from fooocusapi.storage import Storage
from tests.pictures import encode, serving

FIELD = ("image",)
OWN = "http://pictures.example:8888/files/"
PUBLIC = "93.184.215.14"


PNG = encode(Image.new("RGB", (3, 2), (10, 20, 30)))
TEXT = base64.b64encode(PNG).decode()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, OWN.removesuffix("/files/"), lambda: date(2026, 1, 2))


def make_inputs(storage: Storage, **options: Any) -> Inputs:
    return Inputs(**{"storage": storage, "own_files": OWN, "allow_private": False, **options})


@pytest.fixture
def inputs(storage: Storage) -> Inputs:
    """Never reaches the network."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"contacted {request.url}")

    return make_inputs(storage, transport=httpx.MockTransport(refuse))


def read(inputs: Inputs, value: Any) -> bytes:
    return asyncio.run(inputs.read_bytes(value, FIELD))


def complaint(inputs: Inputs, value: Any) -> str:
    with pytest.raises(InvalidFieldError) as caught:
        read(inputs, value)
    assert caught.value.location == FIELD
    return str(caught.value)


def test_an_upload_is_read_from_its_start(inputs: Inputs) -> None:
    upload = UploadFile(io.BytesIO(PNG), size=len(PNG))
    upload.file.seek(5)
    assert read(inputs, upload) == PNG


def test_b31_a_picture_that_is_too_large_is_refused(inputs: Inputs) -> None:
    upload = UploadFile(io.BytesIO(bytes(MAX_BYTES + 1)), size=MAX_BYTES + 1)
    with pytest.raises(BodyTooLargeError):
        read(inputs, upload)
    with pytest.raises(BodyTooLargeError):
        read(inputs, base64.b64encode(bytes(MAX_BYTES + 1)).decode())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "AVIF", "GIF"])
def test_every_allowed_format_is_decoded(inputs: Inputs, kind: str) -> None:
    data = encode(Image.new("RGB", (16, 8), (200, 100, 50)), kind)
    picture = asyncio.run(inputs.read_picture(base64.b64encode(data).decode(), FIELD))
    assert picture.shape == (8, 16, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture[4, 8].astype(int) - (200, 100, 50)).max() < 20


@pytest.mark.parametrize(
    ("picture", "pixel"),
    [
        (Image.new("1", (2, 2), 1), [255, 255, 255]),
        (Image.new("L", (2, 2), 7), [7, 7, 7]),
        (Image.new("LA", (2, 2), (7, 9)), [7, 7, 7, 9]),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 4)), [1, 2, 3, 4]),
        (Image.new("RGB", (2, 2), (1, 2, 3)).quantize(2), [1, 2, 3]),
        (Image.fromarray(np.full((2, 2), 0xABCD, np.uint16)), [0xAB] * 3),
    ],
    ids=["1", "L", "LA", "RGBA", "P", "I;16"],
)
def test_b38_every_mode_becomes_eight_bits_with_alpha_only_where_there_was_some(
    picture: Image.Image, pixel: list[int]
) -> None:
    assert decode_picture(encode(picture))[0, 0].tolist() == pixel


def test_b38_a_transparent_colour_and_cmyk_are_decoded() -> None:
    palette = Image.new("RGB", (2, 2), (1, 2, 3)).quantize(2)
    assert decode_picture(encode(palette, transparency=0)).shape == (2, 2, 4)
    assert decode_picture(encode(Image.new("CMYK", (2, 2)), "JPEG")).shape == (2, 2, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_b39_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # What a camera stores so that the orientation turns it upright.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(decode_picture(data)[..., 0], upright)


def test_a_mask_is_laid_over_black(inputs: Inputs) -> None:
    data = encode(Image.new("RGBA", (2, 2), (255, 255, 255, 51)))
    mask = asyncio.run(inputs.read_mask(base64.b64encode(data).decode(), FIELD))
    assert mask.shape == (2, 2, 3)
    assert mask[0, 0].tolist() == [51, 51, 51]


def test_own_pictures_are_read_from_the_output_folder(storage: Storage, inputs: Inputs) -> None:
    made = GeneratedImage(image=np.zeros((8, 8, 3), np.uint8), seed=1, record=None)
    place = storage.save(made, stem="ä b", index=0, extension=SaveExtension.PNG, warn=pytest.fail)
    folder, name = place.folder, place.name
    assert read(inputs, storage.url(folder, name)) == storage.read(folder, name)


@pytest.mark.parametrize(
    "path", ["2026-01-02/none.png", "../../secret.png", "%2e%2e/secret.png", "", "a/b/c.png"]
)
def test_b50_own_addresses_lead_nowhere_else(storage: Storage, inputs: Inputs, path: str) -> None:
    assert complaint(inputs, OWN + path) == "there is no such picture on this server"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "[fe80::1]",
        "[fc00::1]",
        "[ff0e::1]",
        "[::ffff:127.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::10.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "①②⑦.0.0.1",
    ],
)
def test_b27_private_addresses_are_refused_unseen(inputs: Inputs, host: str) -> None:
    text = complaint(inputs, f"http://{host}:9/picture.png")
    assert "may be contacted" in text or "could not be fetched" in text


@pytest.mark.parametrize("url", ["http://", "https://:80/", "http://[x/", "http://a b/"])
def test_addresses_that_make_no_sense_are_refused(inputs: Inputs, url: str) -> None:
    assert "fetched" in complaint(inputs, url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "gopher://x"])
def test_other_schemes_are_not_fetched(inputs: Inputs, url: str) -> None:
    assert "base64" in complaint(inputs, url)


class Body(httpx.AsyncByteStream):
    """Bytes that come in pieces."""

    def __init__(self, *pieces: bytes, hangs: bool = False) -> None:
        self._pieces = pieces
        self._hangs = hangs

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._hangs:
            await asyncio.sleep(60)


def picture_answer(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Body(PNG[:9], PNG[9:]))


class Web:
    """A pretended network: answers by address, and keeps what was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.asked: list[httpx.Request] = []
        self.names: dict[str, list[str]] = {"public.example": [PUBLIC]}
        self._answer = answer

    def find(self, host: str, _port: int) -> list[str]:
        return self.names.get(host) or [host]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answer(request)


def surf(storage: Storage, web: Web) -> Inputs:
    return make_inputs(storage, find=web.find, transport=httpx.MockTransport(web))


def test_b28_the_address_that_was_checked_is_contacted_under_its_name(storage: Storage) -> None:
    web = Web(picture_answer)
    assert read(surf(storage, web), "https://public.example:444/a.png?b=c") == PNG
    (request,) = web.asked
    assert str(request.url) == f"https://{PUBLIC}:444/a.png?b=c"
    assert request.headers["Host"] == "public.example:444"
    assert request.extensions["sni_hostname"] == "public.example"
    assert request.headers["User-Agent"].startswith("Mozilla/5.0")
    assert "cookie" not in request.headers


def test_b28_a_host_with_one_private_address_is_refused(storage: Storage) -> None:
    web = Web(picture_answer)
    web.names["public.example"] = [PUBLIC, "10.0.0.1"]
    assert "may be contacted" in complaint(surf(storage, web), "http://public.example/")
    assert web.asked == []


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/x", "http://private.example/", "file:///etc/passwd", "//[::1]/"]
)
def test_b29_every_redirect_is_checked_again(storage: Storage, target: str) -> None:
    web = Web(lambda _: httpx.Response(302, headers={"Location": target}))
    web.names["private.example"] = ["192.168.0.1"]
    text = complaint(surf(storage, web), "http://public.example/")
    assert "contacted" in text or "could not be fetched" in text
    assert len(web.asked) == 1


def test_b28_a_name_is_looked_up_once_per_request(storage: Storage) -> None:
    web = Web(picture_answer)
    lookups: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        lookups.append(host)
        return [PUBLIC if len(lookups) == 1 else "127.0.0.1"]

    inputs = make_inputs(storage, find=rebind, transport=httpx.MockTransport(web))
    assert read(inputs, "http://public.example/") == PNG
    assert (len(lookups), web.asked[0].url.host) == (1, PUBLIC)


@pytest.mark.parametrize(("hops", "is_read"), [(5, True), (6, False)])
def test_b29_up_to_five_redirects_are_followed(storage: Storage, hops: int, is_read: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        left = int(request.url.path.strip("/"))
        if left:
            return httpx.Response(307, headers={"Location": f"/{left - 1}"})
        return picture_answer(request)

    inputs = surf(storage, Web(answer))
    if is_read:
        assert read(inputs, f"http://public.example/{hops}") == PNG
    else:
        assert "redirects" in complaint(inputs, f"http://public.example/{hops}")


def raise_connect_error(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection to 10.1.2.3 refused")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda _: httpx.Response(404), "status 404"),
        (lambda _: httpx.Response(200, stream=Body(*[bytes(2**20)] * 65)), "bytes"),
        (lambda _: httpx.Response(200, stream=Body(b"x", hangs=True)), "within 0.05 s"),
        (raise_connect_error, "could not be fetched"),
    ],
    ids=["not found", "too large", "too slow", "no connection"],
)
def test_b30_what_cannot_be_had_is_refused_without_details(
    storage: Storage, answer: Callable[[httpx.Request], httpx.Response], text: str
) -> None:
    inputs = replace(surf(storage, Web(answer)), time_limit_s=0.05 if "within" in text else 10)
    told = complaint(inputs, "http://public.example/")
    assert text in told
    assert "10.1.2.3" not in told


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a web server on this host that serves one picture."""
    with serving(PNG) as address:
        yield address


def test_private_addresses_can_be_allowed(storage: Storage, web_server: str) -> None:
    assert read(make_inputs(storage, allow_private=True), web_server) == PNG


def test_b27_private_addresses_are_not_even_contacted(storage: Storage, web_server: str) -> None:
    assert "may be contacted" in complaint(make_inputs(storage), web_server)
