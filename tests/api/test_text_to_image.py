"""POST /v1/generation/text-to-image: the three forms of the answer."""

from __future__ import annotations

import base64
import io
import json
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.errors import ModelFileError
from tests.conftest import MakeClient
from tests.fakes import FakeEngine, Script, paint

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}


def post(client: TestClient, **fields: object) -> list[dict[str, object]]:
    answer = client.post(URL, json={**SMALL, **fields})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()
    return items


def pixels(client: TestClient, url: object) -> np.ndarray:
    content = client.get(str(url).removeprefix("http://127.0.0.1:8888")).content
    return np.asarray(Image.open(io.BytesIO(content)))


def test_empty_object_makes_one_picture_of_the_default_size(client: TestClient) -> None:
    answer = client.post(URL, json={})
    (item,) = answer.json()
    assert list(item) == ["base64", "url", "seed", "finish_reason"]
    assert item["finish_reason"] == "SUCCESS"
    assert item["base64"] is None
    assert pixels(client, item["url"]).shape == (896, 1152, 3)


def test_decision_d3_seed_is_a_text_and_the_url_serves_its_picture(
    client: TestClient, engine: FakeEngine
) -> None:
    (item,) = post(client, image_seed=7)
    assert item["seed"] == "7"
    assert (pixels(client, item["url"]) == paint(7, engine.asked[0])).all()


def test_same_seed_gives_the_same_pixels_and_another_seed_others(client: TestClient) -> None:
    first, second, other = (pixels(client, post(client, image_seed=s)[0]["url"]) for s in (7, 7, 8))
    assert (first == second).all()
    assert (first != other).any()


def test_pictures_of_one_job_have_following_seeds_and_numbers(client: TestClient) -> None:
    items = post(client, image_seed=5, image_number=3, save_name="row")
    assert [item["seed"] for item in items] == ["5", "6", "7"]
    assert [str(item["url"]).rpartition("/")[2] for item in items] == [
        f"row-{index}.png" for index in range(3)
    ]


def test_decision_d24_every_answer_names_its_job(client: TestClient) -> None:
    answer = client.post(URL, json=SMALL)
    job_id = answer.headers["X-Fooocus-Job-Id"]
    assert UUID(job_id).version == 4
    assert answer.json()[0]["url"].endswith(f"/{job_id}-0.png")


def test_random_seeds_differ_and_are_told(client: TestClient) -> None:
    seeds = {post(client)[0]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_defect_b15_base64_is_the_saved_file_with_a_data_prefix(client: TestClient) -> None:
    (item,) = post(client, require_base64=True, save_extension="jpg")
    prefix, _, text = str(item["base64"]).partition(",")
    assert prefix == "data:image/jpeg;base64"
    path = str(item["url"]).removeprefix("http://127.0.0.1:8888")
    assert base64.b64decode(text) == client.get(path).content


def test_decision_d4_plain_base64_has_no_prefix(make_client: MakeClient) -> None:
    (item,) = post(make_client(plain_base64=True), require_base64=True)
    assert base64.b64decode(str(item["base64"])).startswith(b"\x89PNG")


@pytest.mark.parametrize("accept", ["image/png", "IMAGE/PNG", " image/png ; q=1"])
def test_accepting_exactly_png_answers_the_bytes_of_one_picture(
    client: TestClient, engine: FakeEngine, accept: str
) -> None:
    body = {**SMALL, "image_number": 3, "image_seed": 9}
    answer = client.post(URL, json=body, headers={"accept": accept})
    assert answer.headers["content-type"] == "image/png"
    assert "X-Fooocus-Job-Id" in answer.headers
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (picture == paint(9, engine.asked[0])).all()
    assert engine.asked[0].canvas.count == 1


def test_defect_b27_png_answer_keeps_the_record_of_the_file(client: TestClient) -> None:
    answer = client.post(URL, json={**SMALL, "prompt": "fox"}, headers={"accept": "image/png"})
    assert json.loads(Image.open(io.BytesIO(answer.content)).info["parameters"])["prompt"] == "fox"


def test_png_answer_is_png_whatever_is_saved(client: TestClient) -> None:
    body = {**SMALL, "save_extension": "webp"}
    answer = client.post(URL, json=body, headers={"accept": "image/png"})
    assert Image.open(io.BytesIO(answer.content)).format == "PNG"


@pytest.mark.parametrize("accept", ["image/png, */*", "*/*", "application/json"])
def test_any_other_accept_answers_json(client: TestClient, accept: str) -> None:
    answer = client.post(URL, json=SMALL, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


def test_accept_in_the_query_wins_over_the_header(client: TestClient) -> None:
    answer = client.post(f"{URL}?accept=image/png", json=SMALL, headers={"accept": "text/html"})
    assert answer.headers["content-type"] == "image/png"
    answer = client.post(f"{URL}?accept=x/y", json=SMALL, headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "application/json"


def test_async_answers_a_waiting_job_even_to_who_accepts_png(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    client.post(URL, json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()
    body = {**SMALL, "async_process": True, "image_number": 4}
    answer = client.post(URL, json=body, headers={"accept": "image/png"})
    job = answer.json()
    assert list(job) == [
        "job_id",
        "job_type",
        "job_stage",
        "job_progress",
        "job_status",
        "job_step_preview",
        "job_result",
    ]
    assert job["job_id"] == answer.headers["X-Fooocus-Job-Id"]
    assert (job["job_type"], job["job_stage"]) == ("Text to Image", "WAITING")
    assert (job["job_progress"], job["job_status"], job["job_result"]) == (0, None, None)
    engine.gate.open(10)


def test_defect_b4_failing_job_tells_its_reason_and_the_next_one_succeeds(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(failure=ModelFileError("bad.safetensors\nis cut off")))
    answer = client.post(URL, json={**SMALL, "image_seed": 3})
    assert answer.status_code == 200
    assert answer.json() == [
        {"base64": None, "url": None, "seed": "3", "finish_reason": "ERROR"},
    ]
    assert answer.headers["X-Fooocus-Error"] == "bad.safetensors is cut off"
    assert post(client)[0]["finish_reason"] == "SUCCESS"


def test_failing_job_keeps_the_pictures_that_were_finished(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(failure=ValueError("odd"), fails_at=1))
    items = post(client, image_number=2)
    assert [item["finish_reason"] for item in items] == ["SUCCESS", "ERROR"]


def test_defect_b4_failing_job_answers_500_to_who_accepts_png(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(failure=ValueError("odd")))
    answer = client.post(URL, json=SMALL, headers={"accept": "image/png"})
    assert (answer.status_code, answer.text) == (500, "ERROR")
    assert answer.headers["X-Fooocus-Error"] == "ValueError: odd"


def test_what_an_engine_warns_of_stands_in_the_header(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(warning="LoRA of another family left out — twice\n"))
    warning = client.post(URL, json=SMALL).headers["X-Fooocus-Warning"]
    assert warning == "LoRA of another family left out ? twice"


@pytest.fixture
def full(make_client: MakeClient, engine: FakeEngine) -> TestClient:
    """A client of a server whose only place is taken by a running job."""
    client = make_client(queue_size=1)
    engine.play(Script(gated=True))
    client.post(URL, json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()
    return client


FULL = [{"base64": None, "url": None, "seed": "", "finish_reason": "QUEUE_IS_FULL"}]


def test_full_queue_answers_a_list_with_the_reason(full: TestClient) -> None:
    answer = full.post(URL, json=SMALL)
    assert (answer.status_code, answer.json()) == (200, FULL)


def test_full_queue_answers_async_callers_with_a_failed_job(full: TestClient) -> None:
    answer = full.post(URL, json={**SMALL, "async_process": True})
    assert answer.status_code == 200
    assert answer.json() == {
        "job_id": "",
        "job_type": "Text to Image",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": None,
        "job_step_preview": None,
        "job_result": FULL,
    }


def test_full_queue_answers_409_to_who_accepts_png(full: TestClient) -> None:
    answer = full.post(URL, json=SMALL, headers={"accept": "image/png"})
    assert (answer.status_code, answer.text) == (409, "QUEUE_IS_FULL")


def test_stopping_server_accepts_no_job(client: TestClient) -> None:
    client.app.state.services.queue.close()  # type: ignore[attr-defined]
    for headers in ({}, {"accept": "image/png"}):
        answer = client.post(URL, json=SMALL, headers=headers)
        assert answer.status_code == 503
        assert "stopping" in answer.json()["detail"]
