"""``main.py`` as a process, serving the embedded model."""

from __future__ import annotations

import base64
import io
import time

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.end_to_end.conftest import PICTURE_S

PROMPT = "a red circle on a blue background"


def _ask(server: httpx.Client, seed: int, **fields: object) -> np.ndarray:
    body = {
        "prompt": PROMPT,
        "image_seed": seed,
        "aspect_ratios_selection": "512*384",
        "advanced_params": {"overwrite_step": 4},
        **fields,
    }
    answer = server.post("/v1/generation/text-to-image", json=body)
    (item,) = answer.raise_for_status().json()
    assert "X-Fooocus-Warning" not in answer.headers
    assert item["finish_reason"] == "SUCCESS"
    picture = Image.open(io.BytesIO(server.get(item["url"]).raise_for_status().content))
    assert picture.format == "PNG"
    return np.asarray(picture)


def test_the_seed_decides_the_pixels(server: httpx.Client) -> None:
    first, second, other = (_ask(server, seed) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_background_job_goes_through_its_stages_with_previews(server: httpx.Client) -> None:
    body = {
        "prompt": PROMPT,
        "aspect_ratios_selection": "512*384",
        "performance_selection": "Extreme Speed",
        "async_process": True,
    }
    job = server.post("/v1/generation/text-to-image", json=body).raise_for_status().json()
    assert job["job_stage"] in ("WAITING", "RUNNING")
    stages, numbers, has_preview = [job["job_stage"]], [job["job_progress"]], False
    query = {"job_id": job["job_id"], "require_step_preview": True}
    deadline = time.monotonic() + PICTURE_S
    while stages[-1] not in ("SUCCESS", "ERROR") and time.monotonic() < deadline:
        time.sleep(0.05)
        job = server.get("/v1/generation/query-job", params=query).raise_for_status().json()
        stages.append(job["job_stage"])
        numbers.append(job["job_progress"])
        has_preview = has_preview or job["job_step_preview"] is not None
    assert list(dict.fromkeys(stages))[-2:] == ["RUNNING", "SUCCESS"]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3
    assert has_preview
    assert (job["job_status"], job["job_progress"]) == ("Finished", 100)


def _post_picture(
    server: httpx.Client, path: str, picture: np.ndarray, **fields: object
) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    body = {
        "prompt": PROMPT,
        "image_seed": 7,
        "input_image": base64.b64encode(buffer.getvalue()).decode(),
        **fields,
    }
    answer = server.post(f"/v2/generation/{path}", json=body)
    (item,) = answer.raise_for_status().json()
    assert item["finish_reason"] == "SUCCESS"
    return np.asarray(Image.open(io.BytesIO(server.get(item["url"]).raise_for_status().content)))


def _disc(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


@pytest.mark.slow
def test_subtle_variations_resemble_their_source_more_than_strong_ones(
    server: httpx.Client,
) -> None:
    # Where the circle is belongs to the picture and not to the prompt.
    drawing = Image.new("RGB", (1024, 1024), (40, 90, 214))
    drawing.paste((214, 40, 40), mask=_disc((1024, 1024), (120, 160, 460, 500)))
    source = np.asarray(drawing)
    errors = []
    for method in ("Vary (Subtle)", "Vary (Strong)"):
        varied = _post_picture(server, "image-upscale-vary", source, uov_method=method)
        errors.append(np.square(varied.astype(float) - source).mean())
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.slow
def test_an_inpaint_leaves_what_is_around_its_hole(server: httpx.Client) -> None:
    source = _ask(server, 3, aspect_ratios_selection="1024*1024")
    mask = Image.new("L", (1024, 1024))
    mask.paste(255, (300, 300, 600, 500))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    painted = _post_picture(
        server,
        "image-inpaint-outpaint",
        source,
        input_mask=base64.b64encode(buffer.getvalue()).decode(),
        advanced_params={"overwrite_step": 4, "inpaint_engine": "v2.6"},
    )
    changed = (painted != source).any(axis=-1)
    assert changed[310:490, 310:590].mean() > 0.5
    changed[300 - 32 : 500 + 32, 300 - 32 : 600 + 32] = False
    assert not changed.any()
