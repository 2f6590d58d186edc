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


def test_a_picture_of_the_default_size_has_the_background_asked_for(server: httpx.Client) -> None:
    picture = _ask(
        server, 7, aspect_ratios_selection="1152*896", advanced_params={"overwrite_step": 6}
    )
    assert picture.shape == (896, 1152, 3)
    border = np.concatenate([picture[:64].reshape(-1, 3), picture[-64:].reshape(-1, 3)])
    red, green, blue = np.median(border, axis=0)
    assert blue > 150
    assert blue > red + 50
    assert blue > green + 50


def test_the_seed_decides_the_pixels(server: httpx.Client) -> None:
    first, second, other = (_ask(server, seed) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_background_job_goes_through_its_stages_with_previews(server: httpx.Client) -> None:
    body = {"prompt": PROMPT, "aspect_ratios_selection": "512*384", "async_process": True}
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


def test_a_picture_is_enlarged_by_the_embedded_upscaler(server: httpx.Client) -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[128:384, 128:384] = (220, 30, 30)
    enlarged = _post_picture(server, "image-upscale-vary", picture, uov_method="Upscale (Fast 2x)")
    assert enlarged.shape == (1024, 1024, 3)
    assert np.abs(enlarged[512, 512].astype(int) - (220, 30, 30)).max() < 30
    assert enlarged[40, 40].max() < 30


SQUARE = (slice(140, 380), slice(200, 440))


def _red_square_on_blue() -> bytes:
    picture = np.full((512, 640, 3), (40, 90, 214), np.uint8)
    picture[SQUARE] = (214, 40, 40)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_description_names_colour_and_shape_of_what_is_drawn(server: httpx.Client) -> None:
    files = {"image": _red_square_on_blue()}
    answer = server.post("/v1/tools/describe-image", files=files)
    text = answer.raise_for_status().json()["describe"]
    assert "red square" in text
    assert "blue background" in text


@pytest.mark.parametrize("model", ["isnet-general-use", "u2netp"])
def test_a_mask_covers_what_is_drawn(server: httpx.Client, model: str) -> None:
    files = {"image": _red_square_on_blue()}
    answer = server.post("/v1/tools/generate_mask", files=files, data={"mask_model": model})
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.raise_for_status().json()))))
    found, drawn = mask > 127, np.zeros((512, 640), bool)
    drawn[SQUARE] = True
    assert (found & drawn).sum() / (found | drawn).sum() > 0.85


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
