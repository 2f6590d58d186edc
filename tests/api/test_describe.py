"""Describing pictures over HTTP, between jobs."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.choices import DescribeKind
from fooocus_core.config import CoreConfig, DeviceOptions, load_config
from fooocus_core.downloads import describe_files
from fooocus_core.engine import create_engine
from fooocus_core.errors import (
    FooocusError,
    InvalidInputError,
    ModelFileError,
    PackageMissingError,
)
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.blip_files import write_vocabulary, write_weights
from tests.fakes import STEPS, FakeEngine, Script
from tests.tagger_files import write_tag_list, write_tagger

URL = "/v1/tools/describe-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.fixture
def models(core: CoreConfig) -> None:
    """Files that pictures are described with, there but empty."""
    for kind in DescribeKind:
        for file in describe_files(kind):
            path = core.folders.clip_vision[0] / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def png(width: int = 6, height: int = 4, *, colour: tuple[int, ...] = (10, 20, 30)) -> bytes:
    picture = np.full((height, width, len(colour)), colour, np.uint8)
    data = BytesIO()
    Image.fromarray(picture).save(data, "png")
    return data.getvalue()


PHOTO = {"describe": "Photo: 6x4, [10, 20, 30]"}
ANIME = {"describe": "Anime: 6x4, [10, 20, 30]"}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("field", ["type", "image_type"])
@pytest.mark.parametrize(
    ("value", "answer"), [("Photo", PHOTO), ("anime", ANIME), (" ANIME ", ANIME)]
)
def test_the_kind_stands_in_the_form_or_in_the_address(
    client: TestClient, field: str, value: str, answer: dict[str, str]
) -> None:
    files = {"image": ("a.png", png())}
    in_form = client.post(URL, files=files, data={field: value})
    in_address = client.post(URL, files=files, params={field: value})
    assert in_form.json() == in_address.json() == answer
    assert in_form.status_code == in_address.status_code == 200


@pytest.mark.usefixtures("models")
def test_a_picture_of_no_kind_is_a_photograph(client: TestClient) -> None:
    assert client.post(URL, files={"image": png()}).json() == PHOTO


@pytest.mark.usefixtures("models")
def test_the_form_wins_over_the_address(client: TestClient) -> None:
    answer = client.post(
        URL, files={"image": png()}, data={"type": "Photo"}, params={"type": "Anime"}
    )
    assert answer.json() == PHOTO


@pytest.mark.usefixtures("models")
def test_json_and_base64_are_read_too(client: TestClient) -> None:
    body = {"image": base64.b64encode(png()).decode(), "type": "Anime"}
    assert client.post(URL, json=body).json() == ANIME
    assert client.post(URL, data=body).json() == ANIME


@pytest.mark.usefixtures("models")
def test_what_is_transparent_is_white(client: TestClient) -> None:
    clear = png(colour=(10, 20, 30, 0))
    assert client.post(URL, files={"image": clear}).json()["describe"].endswith("[255, 255, 255]")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("request_parts", "location", "reason"),
    [
        ({"data": {"type": "Photo"}}, ["body", "image"], "required"),
        ({"files": {"image": b""}}, ["body", "image"], "picture is needed"),
        ({"data": {"image": "None"}}, ["body", "image"], "picture is needed"),
        ({"files": [("image", png())] * 50}, ["body", "image"], "several"),
        ({"files": {"image": b"no picture"}}, ["body", "image"], "not a picture"),
        ({"files": {"image": png()}, "data": {"type": "Oil"}}, ["body", "type"], "or 'Anime'"),
        (
            {"files": {"image": png()}, "params": {"image_type": "Oil"}},
            ["query", "image_type"],
            "'Photo'",
        ),
        ({"json": {"image": 5}}, ["body", "image"], "picture is wanted"),
    ],
    ids=[
        "no picture",
        "empty file",
        "placeholder",
        "many",
        "other file",
        "kind",
        "query",
        "number",
    ],
)
def test_b63_bad_input_is_refused_naming_the_field(
    client: TestClient,
    engine: FakeEngine,
    request_parts: dict[str, Any],
    location: list[str],
    reason: str,
) -> None:
    answer = client.post(URL, **request_parts)
    assert answer.status_code == 422, answer.text
    first = answer.json()["detail"][0]
    assert first["loc"] == location
    assert reason in first["msg"]
    assert engine.described == []


@pytest.mark.parametrize("kind", DescribeKind)
def test_missing_files_are_named_with_their_folder_and_how_to_get_them(
    client: TestClient, core: CoreConfig, engine: FakeEngine, kind: DescribeKind
) -> None:
    answer = client.post(URL, files={"image": png()}, data={"type": kind})
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    for file in describe_files(kind):
        assert file.name in detail
    assert str(core.folders.clip_vision[0]) in detail
    assert detail.count("curl --location") == len(describe_files(kind))
    assert engine.described == []


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInputError("too thin"), 422),
        (PackageMissingError("install the extra"), 503),
        (ModelFileError("tagger.onnx cannot be read"), 500),
    ],
)
def test_a_failure_is_answered_with_its_reason(
    client: TestClient, engine: FakeEngine, error: FooocusError, status: int
) -> None:
    engine.tool_failure = error
    answer = client.post(URL, files={"image": png()})
    assert answer.status_code == status
    assert str(error) in answer.text
    engine.tool_failure = None
    assert client.post(URL, files={"image": png()}).json() == PHOTO


@pytest.mark.usefixtures("models")
def test_f32_many_calls_wait_for_the_running_job_and_all_are_answered(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    client.post("/v1/generation/text-to-image", json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()

    def describe(width: int) -> str:
        return str(client.post(URL, files={"image": png(width)}).json()["describe"])

    with ThreadPoolExecutor(30) as pool:
        answers = [pool.submit(describe, width) for width in range(1, 31)]
        assert client.get("/v1/generation/job-queue").json()["running_size"] == 1
        assert engine.described == []
        engine.gate.open(STEPS)
        texts = [answer.result(timeout=30) for answer in answers]
    assert texts == [f"Photo: {width}x4, [10, 20, 30]" for width in range(1, 31)]


@pytest.mark.usefixtures("models")
def test_a_picture_that_takes_long_to_describe_stalls_nobody_else(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.hold.clear()
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(client.post, URL, files={"image": png()}) for _ in range(40)]
        assert client.get("/ping").status_code == 200
        assert client.get("/v1/engines/all-models").status_code == 200
        assert engine.described == []
        engine.hold.set()
        assert [answer.result(timeout=30).json() for answer in answers] == [PHOTO] * 40


def test_the_pipeline_answers_with_files_of_the_published_layout(
    settings: Settings, tmp_path: Path
) -> None:
    core = load_config(root=tmp_path, environ={})
    (weights, words), (network, tags) = (
        [core.folders.clip_vision[0] / file.name for file in describe_files(kind)]
        for kind in DescribeKind
    )
    write_vocabulary(words)
    write_weights(weights)
    write_tagger(network)
    write_tag_list(tags)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))

    with TestClient(app) as client:
        red = {"image": png(colour=(255, 0, 0))}
        photo = client.post(URL, files=red)
        anime = client.post(URL, files=red, data={"type": "Anime"})

    assert photo.json()["describe"]
    assert anime.json() == {"describe": "link, 1girl, ^ ^"}
