"""Whole generations equal the recorded ones, asked for over HTTP."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import create_engine
from fooocus_core.metadata.embed import read_embedded
from fooocusapi.app import create_app
from fooocusapi.schemas.forms import IMAGE_PROMPT_SLOTS, may_hold_picture
from fooocusapi.settings import Settings
from tests.golden import GOLDEN, load_json
from tests.golden_jobs import (
    IMAGE_PROMPT_JOBS,
    INPAINT_JOBS,
    TEXT_TO_IMAGE_JOBS,
    UPSCALE_VARY_JOBS,
    assert_same_picture,
    request_of_job,
)

BASE_URL = "http://127.0.0.1:8888"
URL = "/v1/generation/text-to-image"


# By default those whose requests say most are made here, the others in tests/core.
ENOUGH = ("t2i_plain", "t2i_styles_2img", "overwrites", "expansion")
JOBS = [
    pytest.param(job, marks=[] if job in ENOUGH else [pytest.mark.slow])
    for job in TEXT_TO_IMAGE_JOBS
]


@pytest.fixture(scope="module")
def client(
    weights: Path, expansion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    core = load_config(
        root=tmp_path_factory.mktemp("root"),
        models_path=weights,
        styles_path=GOLDEN / "data",
        environ={
            "path_wildcards": str(GOLDEN / "data"),
            "path_fooocus_expansion": str(expansion_folder),
            "default_model": "tiny_sdxl.safetensors",
        },
    )
    core.folders.outputs.mkdir()
    settings = Settings(outputs=core.folders.outputs, base_url=BASE_URL)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))
    with TestClient(app) as client:
        yield client


def as_form(request: dict[str, Any]) -> dict[str, tuple[None, str] | tuple[str, bytes]]:
    """The parts of a form that say the same as a JSON body."""
    parts: dict[str, tuple[None, str] | tuple[str, bytes]] = {}
    prompts = request.get(IMAGE_PROMPT_SLOTS.list_name, ())
    slots = {
        f"{name}{slot}": value
        for slot, prompt in enumerate(prompts, 1)
        for name, value in prompt.items()
    }
    for name, value in {**request, **slots}.items():
        if may_hold_picture(name):
            parts[name] = (f"{name}.png", base64.b64decode(value))
        else:
            parts[name] = (None, value if isinstance(value, str) else json.dumps(value))
    return parts


def check_pictures(client: TestClient, answer: Any, job: str) -> None:
    """Assert that an answer holds the recorded pictures of a job and nothing was tolerated."""
    recorded = load_json(f"jobs/{job}/job")
    assert answer.status_code == 200, answer.text
    assert "X-Fooocus-Warning" not in answer.headers
    items = answer.json()
    assert [item["finish_reason"] for item in items] == ["SUCCESS"] * len(recorded["images"])
    for index, (item, expected) in enumerate(zip(items, recorded["images"], strict=True)):
        content = client.get(item["url"].removeprefix(BASE_URL)).content
        assert_same_picture(
            np.asarray(Image.open(io.BytesIO(content))),
            GOLDEN / "jobs" / job / f"image_{index}.png",
        )
        # A picture that is only enlarged belongs to no task.
        seed = expected["task"].get("task_seed", recorded["args"]["seed"])
        assert item["seed"] == str(seed)
        embedded = read_embedded(content)
        assert (embedded and embedded.text) == expected["embedded"]


@pytest.mark.parametrize("job", JOBS)
def test_the_server_makes_the_recorded_pictures(client: TestClient, job: str) -> None:
    request = request_of_job(load_json(f"jobs/{job}/job"))
    check_pictures(client, client.post(URL, json=request), job)


def test_a_form_asks_for_the_same_picture(client: TestClient) -> None:
    request = request_of_job(load_json("jobs/t2i_plain/job"))
    check_pictures(client, client.post(URL, files=as_form(request)), "t2i_plain")


# They work on a million pixels each, or are asked for once already under the other version.
SLOW = {
    ("v1", "upscale_fast"),
    ("v2", "upscale_fast"),
    ("v1", "image_prompt"),
    ("v2", "pyracanny"),
    ("v1", "vary_subtle"),
    ("v1", "upscale_15"),
    ("v2", "vary_subtle"),
    ("v2", "upscale_15"),
    ("v1", "inpaint_v26"),
    ("v2", "inpaint_v26"),
    ("v1", "outpaint_left_top"),
    ("v2", "outpaint_left_top"),
    ("v1", "mix_ip_inpaint"),
    ("v2", "mix_ip_inpaint"),
}
ENDPOINTS = {
    "image-upscale-vary": UPSCALE_VARY_JOBS,
    "image-inpaint-outpaint": INPAINT_JOBS,
    "image-prompt": IMAGE_PROMPT_JOBS,
}
PICTURE_JOBS = [
    pytest.param(version, name, job, marks=[pytest.mark.slow] if (version, job) in SLOW else [])
    for version in ("v1", "v2")
    for name, jobs in ENDPOINTS.items()
    for job in jobs
]


@pytest.mark.parametrize(
    ("version", "name", "job"),
    [
        *PICTURE_JOBS,
        pytest.param("v2", "text-to-image-with-ip", "image_prompt", marks=pytest.mark.slow),
    ],
)
def test_pictures_sent_along_give_the_recorded_ones(
    client: TestClient, version: str, name: str, job: str
) -> None:
    request = request_of_job(load_json(f"jobs/{job}/job"))
    body: dict[str, Any] = {"files": as_form(request)} if version == "v1" else {"json": request}
    check_pictures(client, client.post(f"/{version}/generation/{name}", **body), job)


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
