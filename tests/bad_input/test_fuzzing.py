"""Bytes that went astray: pictures, base64 and forms, changed at random.

Whatever comes of them, it is an answer of the service and no failure, and the next request is
answered.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.conftest import Prober
from tests.pictures import as_base64, encode, plain

DESCRIBE = "/v1/tools/describe-image"
METADATA = "/v1/tools/read-metadata"
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
FEW, MANY = 60, 1700
MAX_GROWTH = 30 * 1024 * 1024
MULTIPART = "multipart/form-data; boundary=abc"
FORM = (
    b'--abc\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n%s\r\n"
    b'--abc\r\nContent-Disposition: form-data; name="type"\r\n\r\nPhoto\r\n--abc--\r\n'
)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The same with some bytes changed, left out, put in or repeated; more so at the beginning."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        reach = chance.choice((32, 200, len(changed)))
        place = chance.randrange(max(1, min(reach, len(changed))))
        length = chance.choice((1, 1, 2, 4, 30))
        match chance.randrange(6):
            case 0:
                changed[place : place + length] = chance.randbytes(length)
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = chance.randbytes(length)
            case 3:
                changed[place:place] = changed[place : place + length] * chance.choice((1, 2, 500))
            case 4:
                changed[place : place + 4] = chance.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
                )
            case _:
                del changed[max(place, 1) :]
    return bytes(changed)


def post_upload(client: Prober, kind: str, chance: random.Random) -> int:
    data = mutate(picture(kind), chance)
    path = chance.choice((DESCRIBE, METADATA))
    return client.post(path, files={"image": ("a.png", data, "image/png")}).status_code


def post_base64(client: Prober, kind: str, chance: random.Random) -> int:
    text = mutate(as_base64(picture(kind)).encode(), chance)
    body = b'{"image": "' + text + b'"}'
    return client.post(DESCRIBE, content=body).status_code


def post_form(client: Prober, kind: str, chance: random.Random) -> int:
    body = mutate(FORM % picture(kind), chance)
    content_type = MULTIPART
    if chance.random() < 0.2:
        content_type = mutate(MULTIPART.encode(), chance).decode("latin-1")
    headers = {b"content-type": content_type.encode("latin-1").translate(None, b"\r\n\0")}
    return client.post(DESCRIBE, content=body, headers=headers).status_code  # type: ignore[arg-type]


def picture(kind: str) -> bytes:
    """A small picture of that format."""
    return encode(plain(24, 16), kind)


Post = Callable[[Prober, str, random.Random], int]
POSTS: dict[str, Post] = {"upload": post_upload, "base64": post_base64, "form": post_form}
REFUSALS = {400, 413, 415, 422}


def fuzz(client: Prober, post: Post, cases: int, seed: int) -> None:
    chance = random.Random(seed)
    seen = {post(client, chance.choice(KINDS), chance) for _ in range(cases)}
    assert seen <= {200, *REFUSALS}
    assert seen & REFUSALS, "nothing was ever refused"
    answer = client.post(DESCRIBE, json={"image": as_base64(picture("PNG"))})
    assert answer.status_code == 200


def resident_bytes() -> int:
    """Memory of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("how", POSTS)
def test_changed_bytes_are_answered(client: Prober, how: str, seed: int) -> None:
    fuzz(client, POSTS[how], FEW, seed)


@pytest.mark.slow
@pytest.mark.parametrize("how", POSTS)
def test_ten_thousand_times_changed_bytes_are_answered_and_take_no_memory(
    client: Prober, how: str
) -> None:
    fuzz(client, POSTS[how], MANY, seed=100)
    before = resident_bytes()
    fuzz(client, POSTS[how], MANY, seed=200)
    assert resident_bytes() - before < MAX_GROWTH
