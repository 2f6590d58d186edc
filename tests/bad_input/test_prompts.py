"""B03 to B08 in requests: what a prompt may hold, and what is refused."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from tests.bad_input.conftest import Prober
from tests.refusals import refused

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
TEXTS = ("prompt", "negative_prompt")


@pytest.mark.parametrize("field", [*TEXTS, "save_name", "base_model_name", "webhook_url"])
def test_b03_lone_surrogates(client: Prober, field: str) -> None:
    answer = client.post(URL, content=f'{{"{field}": "a \\ud800 b"}}')
    if answer.status_code != 200 or field in TEXTS:
        refused(answer, field)


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"], ids=str)
def test_b03_bytes_that_are_not_utf8(client: Prober, text: bytes) -> None:
    refused(client.post(URL, content=b'{"prompt": "' + text + b'"}'))
    # A form may be of another encoding, so they are read as letters.
    fields = {"prompt": text, "aspect_ratios_selection": b"64*64"}
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    ]
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post(URL, content=b"".join(parts) + b"--b--\r\n", headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "text", ["a\0b", "a\x1b[31mb", "a\x07\x08b", "a\x7f\x85b", "a\r\nb"], ids=ascii
)
def test_b04_control_characters_spoil_no_picture(client: Prober, text: str) -> None:
    answer = client.post(URL, json={**SMALL, "prompt": text})
    assert answer.status_code == 200
    with Image.open(BytesIO(client.get(answer.json()[0]["url"]).content)) as picture:
        picture.load()
        assert picture.info["parameters"]


@pytest.mark.parametrize("field", TEXTS)
def test_b05_the_length_of_prompts(client: Prober, field: str) -> None:
    assert client.post(URL, json={**SMALL, field: "x" * 100_000}).status_code == 200
    for length in (100_001, 1_000_000):
        refused(client.post(URL, json={field: "x" * length}), field, says="100000 characters")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "((a:1e309))",
        "(a:nan)",
        "word " * 20_000,
        "__../../etc/passwd__",
        "<lora:../../x:1>",
        "<lora:a:inf>" * 1000,
        "[[" + ", ".join(map(str, range(20))) + "]] " * 10,
    ],
    ids=lambda text: f"{text[:14]} {len(text)}",
)
def test_b05_what_the_pipeline_makes_sense_of_is_no_matter_of_the_request(
    client: Prober, text: str
) -> None:
    assert client.post(URL, json={**SMALL, "prompt": text}).status_code == 200
