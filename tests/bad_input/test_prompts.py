"""B03 to B08: what a prompt may hold, and what happens with the rest."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fooocus_core.choices import MetadataScheme
from fooocus_core.events import GeneratedImage, ImageRecord
from fooocus_core.metadata.embed import encode_image
from fooocus_core.prompt.weighting import parse_weights
from tests.bad_input.conftest import Prober
from tests.fakes import FakeEngine, paint
from tests.refusals import refused

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
TEXTS = ("prompt", "negative_prompt")


@pytest.mark.parametrize("field", TEXTS)
def test_b03_lone_surrogates(client: Prober, field: str) -> None:
    answer = client.post(URL, content=f'{{"{field}": "a \\ud800 b"}}')
    refused(answer, field)


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"], ids=str)
def test_b03_bytes_that_are_not_utf8(client: Prober, text: bytes) -> None:
    refused(client.post(URL, content=b'{"prompt": "' + text + b'"}'))
    # A form may be of another encoding, so they are read as letters.
    form = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + text + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post(URL, content=form, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "text", ["a\0b", "a\x1b[31mb", "a\x07\x08b", "a\x7f\x85b", "a\r\nb"], ids=ascii
)
def test_b04_control_characters(client: Prober, engine: FakeEngine, text: str) -> None:
    answer = client.post(URL, json={**SMALL, "prompt": text, "save_meta": True})
    assert answer.status_code == 200
    with Image.open(BytesIO(client.get(answer.json()[0]["url"]).content)) as picture:
        picture.load()
        assert picture.text["parameters"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", TEXTS)
def test_b05_the_length_of_prompts(client: Prober, field: str) -> None:
    assert client.post(URL, json={**SMALL, field: "x" * 100_000}).status_code == 200
    for length in (100_001, 1_000_000):
        refused(client.post(URL, json={field: "x" * length}), field, says="100000 characters")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 10_000 + "a" + ")" * 10_000,
        "((a:1.1):1.1)" * 5000,
        "(((",
        "((a:1e309))",
        "(a:nan)",
        "(a:-inf)",
        "(a:" + "9" * 10_000 + ")",
        "word " * 20_000,
    ],
    ids=lambda text: f"{text[:14]} {len(text)}",
)
def test_b05_parentheses_and_weights(client: Prober, text: str) -> None:
    assert client.post(URL, json={**SMALL, "prompt": text}).status_code == 200
    began = time.process_time()
    parse_weights(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", ["../../secret", "a/../../../secret", "/etc/passwd", "a\\..\\b"])
def test_b06_wildcards_that_are_paths(client: Prober, name: str) -> None:
    assert client.post(URL, json={**SMALL, "prompt": f"__{name}__"}).status_code == 200


@pytest.mark.parametrize(
    "text", ["<lora:../../x:1>", "<lora:/etc/passwd:1>", "<lora:a:inf>" * 1000]
)
def test_b07_tags_of_loras(client: Prober, text: str) -> None:
    assert client.post(URL, json={**SMALL, "prompt": text}).status_code == 200


def test_b08_arrays_are_not_multiplied(client: Prober) -> None:
    array = "[[" + ", ".join(f"w{number}" for number in range(20)) + "]] "
    answer = client.post(URL, json={**SMALL, "prompt": array * 10, "image_number": 2})
    assert answer.status_code == 200
    assert len(answer.json()) == 2


def test_b04_the_record_of_a_picture_holds_what_is_left(tmp_path: Path, engine: FakeEngine) -> None:
    record = ImageRecord(scheme=MetadataScheme.A1111, text="a\0b\x1b\ud800é", rows=())
    picture = GeneratedImage(image=paint(1, engine.asked[-1]), seed=1, record=record)
    for kind in ("png", "jpeg", "webp"):
        encoded = encode_image(picture.image, kind, record)
        with Image.open(BytesIO(encoded.content)) as image:
            image.load()
