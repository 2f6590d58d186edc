"""B01, B02, B20, B21, B42 to B44 and B46 to B48: bodies that are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bad_input.conftest import Prober
from tests.conftest import MakeClient
from tests.pictures import encode, plain
from tests.refusals import refused

URL = "/v1/generation/text-to-image"
DESCRIBE = "/v1/tools/describe-image"
ROUTES = (
    URL,
    "/v2/generation/text-to-image-with-ip",
    "/v1/generation/image-upscale-vary",
    "/v2/generation/image-inpaint-outpaint",
    "/v2/generation/image-prompt",
    "/v1/generation/image-enhance",
    DESCRIBE,
    "/v1/tools/generate_mask",
    "/v1/tools/read-metadata",
)
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
END = b"--b--\r\n"


def part(name: str, body: bytes = b"x", extra: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + body + b"\r\n"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"7", b"{}{}"], ids=str)
@pytest.mark.parametrize("path", ROUTES)
def test_b01_no_object(client: Prober, path: str, body: bytes) -> None:
    refused(client.post(path, content=body))


NESTED = {
    "lists": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "closed": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "in a field": b'{"prompt": {"a": ' * 50_000,
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_b02_nesting(client: Prober, body: bytes) -> None:
    refused(client.post(URL, content=body))


@pytest.mark.parametrize("field", ["sharpness", "image_number", "unknown"])
def test_b02_a_number_of_fifty_megabytes(client: Prober, field: str) -> None:
    body = b'{"%s": %s, "image_number": 0}' % (field.encode(), b"9" * 50_000_000)
    refused(client.post(URL, content=body))


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"loras": [{"weight": 1, "weight": 2}]}'])
def test_b02_keys_that_stand_twice(client: Prober, body: bytes) -> None:
    refused(client.post(URL, content=body), says="twice")


@pytest.mark.parametrize("value", ["text", "{", "{}", [], [1], 5, True], ids=str)
def test_b20_advanced_params_of_another_type(client: Prober, value: object) -> None:
    refused(client.post(URL, json={"advanced_params": value}), "advanced_params")


@pytest.mark.parametrize("text", ["{", "no json", "[]", "7", '{"a": 1, "a": 2}', "[" * 100_000])
@pytest.mark.parametrize("field", ["advanced_params", "loras"])
def test_b21_broken_json_in_a_form(client: Prober, field: str, text: str) -> None:
    if (field, text) != ("loras", "[]"):
        refused(client.post(URL, data={field: text}), field)


@pytest.mark.parametrize("text", ['[{"model_name": 5}]', '[{"weight": "x"}]', "[5]", '["a"]'])
def test_b21_loras_of_another_shape(client: Prober, text: str) -> None:
    refused(client.post(URL, data={"loras": text}), "loras", 0)
    refused(client.post(URL, content=f'{{"loras": {text}}}'), "loras", 0)


def malformed(client: Prober, content: bytes, content_type: str = MULTIPART["content-type"]) -> str:
    answer = client.post(DESCRIBE, content=content, headers={"content-type": content_type})
    assert answer.status_code == 400, answer.text
    detail: str = answer.json()["detail"]
    assert "the form cannot be read" in detail
    return detail


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", "; boundary=other", f"; boundary={'z' * 10**6}"], ids=len
)
def test_b42_boundaries(client: Prober, boundary: str) -> None:
    malformed(client, part("image") + END, f"multipart/form-data{boundary}")


LINES = {
    "dashes for ever": part("image") + b"--b" + b"-" * 5_000_000,
    "dashes behind the end": part("image") + END + b"-" * 5_000_000,
    "line ends in front": b"\r\n" * 500_000 + part("image") + END,
    "text behind the end": part("image") + END + b"x" * 1_000_000,
    "line ends behind the end": part("image") + END + b"\r\n" * 500_000,
    "nearly boundaries": part("image", b"\r\n--" * 500_000) + END,
    "carriage returns": part("image", b"\r" * 1_000_000) + END,
}


@pytest.mark.parametrize("content", LINES.values(), ids=LINES)
def test_b42_what_is_around_parts_takes_no_time(client: Prober, content: bytes) -> None:
    # Only the picture is complained about, as it is none.
    refused(client.post(DESCRIBE, content=content, headers=MULTIPART), "image")


@pytest.mark.parametrize("length", [5, 20, 60, -20, -6])
def test_b42_a_form_that_is_cut_off(client: Prober, length: int) -> None:
    content = part("type") + part("image", encode(plain(8, 8)), '; filename="a"') + END
    assert "last boundary" in malformed(client, content[:length])


def test_b42_text_in_front_of_the_first_part(client: Prober) -> None:
    malformed(client, b"x" * 1_000_000 + b"\r\n" + part("image") + END)


@pytest.mark.parametrize(
    "content",
    [
        b"".join(part(f"field{number}") for number in range(20_000)) + END,
        b"".join(part(f"f{number}", extra='; filename="a"') for number in range(20_000)) + END,
        b"--b\r\n" + b"X-Header: 1\r\n" * 100_000 + b"\r\nx\r\n" + END,
        part("image", extra=f'; filename="{"x" * 10_000_000}"') + END,
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b"--b\r\nContent-Disposition: form-data; name=" + b"x" * 1_000_000 + b"\r\n\r\nx\r\n" + END,
    ],
    ids=["fields", "files", "headers", "file name", "no name", "name"],
)
def test_b43_parts_beyond_all_measure(client: Prober, content: bytes) -> None:
    malformed(client, content)


def test_b43_fields_twice_and_of_another_kind(client: Prober) -> None:
    picture = part("image", encode(plain(8, 8)), '; filename="a.png"')
    last_counts = picture + part("type", b"x") + part("type", b"Photo") + END
    assert client.post(DESCRIBE, content=last_counts, headers=MULTIPART).status_code == 200
    refused(client.post(DESCRIBE, content=picture * 2 + END, headers=MULTIPART), "image")
    a_file = picture + part("type", b"Photo", '; filename="a"') + END
    refused(client.post(DESCRIBE, content=a_file, headers=MULTIPART), "type")
    a_text = part("image", b"no picture") + END
    refused(client.post(DESCRIBE, content=a_text, headers=MULTIPART), "image")


def test_b44_texts_that_are_too_long(client: Prober) -> None:
    answer = client.post(URL, content=part("prompt", b"x" * 5_000_000) + END, headers=MULTIPART)
    assert (answer.status_code, set(answer.json())) == (413, {"detail"})
    answer = client.post(URL, content=b"prompt=" + b"x" * 5_000_000, headers=URLENCODED)
    assert answer.status_code == 413


def test_b44_forms_that_are_too_long(client: Prober) -> None:
    fields = client.post(URL, content=b"a=b&" * 10**6, headers=URLENCODED)
    assert fields.status_code == 400
    size = client.post(URL, content=b"a=" + b"x" * 100 * 1024 * 1024, headers=URLENCODED)
    assert size.status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"])
@pytest.mark.parametrize("path", ROUTES)
def test_b46_packed_bodies(client: Prober, path: str, encoding: str) -> None:
    answer = client.post(path, content=b"\x1f\x8b\x08", headers={"content-encoding": encoding})
    assert (answer.status_code, set(answer.json())) == (415, {"detail"})


def test_b46_a_body_that_is_said_not_to_be_packed_is_read(client: Prober) -> None:
    refused(client.post(URL, content=b"[]", headers={"content-encoding": "identity"}))


@pytest.mark.parametrize("path", ROUTES)
def test_b47_a_body_that_says_that_it_is_too_long_is_not_read(client: Prober, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    headers = {"content-length": str(200 * 1024 * 1024)}
    answer = client.post(path, content=pieces(), headers=headers)
    assert (answer.status_code, set(answer.json())) == (413, {"detail"})


def test_b47_a_body_without_a_length_is_read_up_to_the_limit(make_client: MakeClient) -> None:
    asked = 0

    def pieces() -> Iterator[bytes]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield b" " * 1000

    answer = make_client(max_body_bytes=10_000).post(URL, content=pieces())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "text/html", "image/png", "application/octet-stream", "x"],
)
@pytest.mark.parametrize("path", ROUTES)
def test_b48_other_content_types(client: Prober, path: str, content_type: str) -> None:
    answer = client.post(path, content=b"{}", headers={"content-type": content_type})
    refused(answer, says=content_type)


def test_b48_no_content_type_is_json(client: Prober) -> None:
    body = {"aspect_ratios_selection": "64*64", "style_selections": []}
    assert client.post(URL, content=json.dumps(body)).status_code == 200
