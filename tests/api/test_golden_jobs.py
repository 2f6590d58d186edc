"""Whole generations equal the recorded ones, asked for over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import create_engine
from fooocus_core.metadata.embed import read_embedded
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.golden import GOLDEN, load_json
from tests.golden_jobs import TEXT_TO_IMAGE_JOBS, assert_same_picture, request_of_job

BASE_URL = "http://127.0.0.1:8888"
URL = "/v1/generation/text-to-image"


@pytest.fixture(scope="module")
def client(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    core = load_config(
        root=tmp_path_factory.mktemp("root"),
        models_path=weights,
        styles_path=GOLDEN / "data",
        environ={"path_wildcards": str(GOLDEN / "data"), "default_model": "tiny_sdxl.safetensors"},
    )
    core.folders.outputs.mkdir()
    settings = Settings(outputs=core.folders.outputs, base_url=BASE_URL)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("job", TEXT_TO_IMAGE_JOBS)
def test_the_server_makes_the_recorded_pictures(client: TestClient, job: str) -> None:
    recorded = load_json(f"jobs/{job}/job")
    answer = client.post(URL, json=request_of_job(recorded))
    assert answer.status_code == 200
    assert "X-Fooocus-Warning" not in answer.headers
    items = answer.json()
    assert len(items) == len(recorded["images"])
    for index, (item, expected) in enumerate(zip(items, recorded["images"], strict=True)):
        content = client.get(item["url"].removeprefix(BASE_URL)).content
        assert_same_picture(
            np.asarray(Image.open(io.BytesIO(content))),
            GOLDEN / "jobs" / job / f"image_{index}.png",
        )
        assert item["seed"] == str(expected["task"]["task_seed"])
        embedded = read_embedded(content)
        assert embedded is not None
        assert embedded.text == expected["embedded"]


def test_a_form_asks_for_the_same_picture(client: TestClient) -> None:
    recorded = load_json("jobs/t2i_plain/job")
    request = request_of_job(recorded)
    fields = {
        name: (None, value if isinstance(value, str) else json.dumps(value))
        for name, value in request.items()
    }
    (item,) = client.post(URL, files=fields).json()
    content = client.get(item["url"].removeprefix(BASE_URL)).content
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert_same_picture(picture, GOLDEN / "jobs" / "t2i_plain" / "image_0.png")


def test_a_checkpoint_that_cannot_be_read_fails_its_job_and_the_next_succeeds(
    client: TestClient, weights: Path
) -> None:
    broken = weights / "checkpoints" / "broken.safetensors"
    broken.write_bytes(b"not a checkpoint")
    request = request_of_job(load_json("jobs/t2i_plain/job"))
    failed = client.post(URL, json={**request, "base_model_name": broken.name})
    broken.unlink()
    assert [item["finish_reason"] for item in failed.json()] == ["ERROR"]
    assert broken.name in failed.headers["X-Fooocus-Error"]
    (item,) = client.post(URL, json=request).json()
    assert item["finish_reason"] == "SUCCESS"
