"""What clients in the wild do, and what comes of it: one test per habit."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.params import Lora, Size
from tests.fakes import STEPS, FakeEngine, Script
from tests.pictures import encode, plain

URL = "/v1/generation/text-to-image"
PROMPT = "/v1/generation/image-prompt"
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
FORM = {"aspect_ratios_selection": "64*64", "style_selections": "", "loras": "[]"}


def ask(client: TestClient, **sent: Any) -> Any:
    answer = client.post(URL, **sent)
    assert answer.status_code == 200, answer.text
    return answer


def test_client_forwards_fields_of_its_own(client: TestClient) -> None:
    own = {"api_name": "txt2img", "clear_output": True, "preview_url": "https://x", "id": 5}
    sent = {**SMALL, **own, "image_prompts": [], "overwrite_upscale_strength": 0.3}
    answer = ask(client, json=sent, params={"nobody": "knows"})
    assert "X-Fooocus-Warning" not in answer.headers
    form = client.post(PROMPT, data={**FORM, "api_name": "img2img"}, files={"other": b"x"})
    assert form.status_code == 200


def test_client_wants_no_style_by_an_empty_list(client: TestClient, engine: FakeEngine) -> None:
    ask(client, json={**SMALL, "style_selections": []})
    assert engine.asked[-1].prompt.styles == ()


def test_client_sends_all_styles_in_one_element(client: TestClient, engine: FakeEngine) -> None:
    ask(client, json={**SMALL, "style_selections": ["SAI Anime,Fooocus Enhance, Fooocus Sharp"]})
    assert engine.asked[-1].prompt.styles == ("SAI Anime", "Fooocus Enhance", "Fooocus Sharp")


def test_client_sends_styles_of_a_form_as_a_json_array(
    client: TestClient, engine: FakeEngine
) -> None:
    ask(client, data={**FORM, "style_selections": '["SAI Anime", "Fooocus Sharp"]'})
    assert engine.asked[-1].prompt.styles == ("SAI Anime", "Fooocus Sharp")


def test_client_repeats_the_field_of_styles(client: TestClient, engine: FakeEngine) -> None:
    ask(client, data={**FORM, "style_selections": ["SAI Anime", "Fooocus Sharp"]})
    assert engine.asked[-1].prompt.styles == ("SAI Anime", "Fooocus Sharp")


def test_client_sends_the_label_of_a_size(client: TestClient, engine: FakeEngine) -> None:
    label = '768×512 <span style="color: grey;"> ∣ 3:2</span>'
    ask(client, json={**SMALL, "aspect_ratios_selection": label})
    assert engine.asked[-1].canvas.size == Size(768, 512)


def test_client_wants_a_size_that_is_not_listed(client: TestClient, engine: FakeEngine) -> None:
    ask(client, json={**SMALL, "aspect_ratios_selection": "768*768"})
    assert engine.asked[-1].canvas.size == Size(768, 768)


@pytest.mark.parametrize("text", ["", "string", "None", "null", "not an address"])
def test_client_names_no_receiver_by_a_text_that_is_none(client: TestClient, text: str) -> None:
    answer = ask(client, json={**SMALL, "webhook_url": text})
    assert answer.json()[0]["finish_reason"] == "SUCCESS"


def test_client_names_a_base_model_of_another_day(client: TestClient, engine: FakeEngine) -> None:
    name = "juggernautXL_version6Rundiffusion.safetensors"
    answer = ask(client, json={**SMALL, "base_model_name": name})
    assert name in answer.headers["X-Fooocus-Warning"]
    assert engine.asked[-1].models.base == "juggernautXL_v8Rundiffusion.safetensors"


def test_client_leaves_out_whether_a_lora_is_enabled(
    client: TestClient, engine: FakeEngine
) -> None:
    ask(client, json={**SMALL, "loras": [{"model_name": "painting.safetensors", "weight": 0.3}]})
    assert engine.asked[-1].models.loras == (Lora(name="painting.safetensors", weight=0.3),)


def test_client_sends_booleans_as_python_writes_them(
    client: TestClient, engine: FakeEngine
) -> None:
    sent = {**FORM, "require_base64": str(True), "save_meta": str(False)}
    (item,) = ask(client, data=sent).json()
    assert item["base64"].startswith("data:image/png;base64,")
    assert engine.asked[-1].output.metadata is None


def test_client_sends_a_large_seed_as_a_text(client: TestClient) -> None:
    (item,) = ask(client, json={**SMALL, "image_seed": "9007199254740993"}).json()
    assert item["seed"] == "9007199254740993"


def test_client_sends_what_forms_leave_empty(client: TestClient, engine: FakeEngine) -> None:
    empty = ("sharpness", "guidance_scale", "image_seed", "performance_selection", "save_meta")
    more = ("advanced_params", "cn_stop1", "cn_weight1", "cn_type1", "outpaint_distance_left")
    answer = client.post(
        PROMPT,
        data={**FORM, **dict.fromkeys((*empty, *more), ""), "image_prompts": "[object Object]"},
        files={"cn_img1": ("", b""), "input_image": ("", b""), "cn_img2": encode(plain(64, 64))},
    )
    assert answer.status_code == 200, answer.text
    asked = engine.asked[-1]
    assert (asked.guidance.sharpness, asked.output.metadata) == (2.0, "fooocus")
    assert (len(asked.image_prompts), asked.inpaint) == (1, None)


def test_client_waits_for_the_words_step_and_finished(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    job_id = ask(client, json={**SMALL, "async_process": True}).json()["job_id"]
    engine.gate.wait_for_step()
    job = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
    assert job["job_status"] == f"Step 0/{STEPS} in the 1-th Sampling"
    engine.gate.open(STEPS)
    ask(client, json=SMALL)
    job = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
    assert (job["job_status"], job["job_progress"]) == ("Finished", 100)


def test_client_follows_or_rewrites_the_address_of_a_result(client: TestClient) -> None:
    (item,) = ask(client, json=SMALL).json()
    path = item["url"].removeprefix("http://127.0.0.1:8888")
    assert path.startswith("/files/")
    assert client.get(path).content.startswith(b"\x89PNG")


def test_client_looks_for_pong_or_reads_the_start_page(client: TestClient) -> None:
    assert "pong" in client.get("/ping").text
    assert "/docs" in client.get("/").text


def test_client_refreshes_the_models(client: TestClient) -> None:
    listed = client.get("/v1/engines/all-models").json()
    assert client.post("/v1/engines/refresh-models").json() == listed
    assert "painting.safetensors" in listed["lora_filenames"]
