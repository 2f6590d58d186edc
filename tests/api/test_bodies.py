"""One reader for every encoding of a body."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.fakes import FakeEngine

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}


def detail(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    first: dict[str, Any] = answer.json()["detail"][0]
    assert set(first) == {"type", "loc", "msg", "input"}
    return first


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "application/x+json"},
    ],
    ids=["no type", "json", "json by suffix"],
)
def test_json_is_read(client: TestClient, engine: FakeEngine, headers: dict[str, str]) -> None:
    answer = client.post(URL, content=json.dumps({**SMALL, "prompt": "狐"}), headers=headers)
    assert answer.status_code == 200
    assert engine.asked[0].prompt.positive == "狐"


@pytest.mark.parametrize("as_multipart", [True, False], ids=["multipart", "urlencoded"])
def test_defect_b3_form_is_read(client: TestClient, engine: FakeEngine, as_multipart: bool) -> None:
    fields = {
        "prompt": "fox",
        "image_number": "2",
        "image_seed": "",
        "sharpness": "",
        "aspect_ratios_selection": "128*64",
        "style_selections": "Fooocus Sharp, sai anime",
        "loras": '[{"model_name": "painting.safetensors", "weight": 0.25}]',
        "advanced_params": '{"overwrite_step": 5}',
        "require_base64": "True",
    }
    files = {"unknown": b"a file nobody asked for"} if as_multipart else None
    answer = client.post(URL, data=fields, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()[1]["base64"].startswith("data:image/png;base64,")
    (asked,) = engine.asked
    assert asked.prompt.styles == ("Fooocus Sharp", "SAI Anime")
    assert [(lora.name, lora.weight) for lora in asked.models.loras] == [
        ("painting.safetensors", 0.25)
    ]
    assert (asked.sampling.steps, asked.guidance.sharpness) == (5, 2.0)


def test_json_that_is_declared_a_form_is_not_read_as_an_empty_form(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post(URL, content=b'{"prompt": "fox"}', headers=headers)
    assert "content-type: application/json" in detail(answer)["msg"]


@pytest.mark.parametrize("value", ["", "None", "null", "string", None, {}])
def test_decision_d10_placeholders_for_advanced_params_mean_the_defaults(
    client: TestClient, engine: FakeEngine, value: object
) -> None:
    assert client.post(URL, json={**SMALL, "advanced_params": value}).status_code == 200
    assert engine.asked[0].guidance.size_scale_end == 0.3


def test_caller_that_goes_away_while_sending_leaves_no_traceback(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    messages = iter(
        [
            {"type": "http.request", "body": b'{"prompt":', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        """Nobody listens any more."""

    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert "Traceback" not in caplog.text


def test_b47_body_beyond_the_limit_is_413(make_client: MakeClient) -> None:
    client = make_client(max_body_bytes=1000)
    answer = client.post(URL, json={"prompt": "x" * 1000})
    assert answer.status_code == 413
    assert isinstance(answer.json()["detail"], str)


def test_decision_d1_null_means_that_nothing_is_given(
    client: TestClient, engine: FakeEngine
) -> None:
    fields = (
        "prompt",
        "refiner_model_name",
        "image_number",
        "save_meta",
        "image_seed",
        "sharpness",
    )
    advanced = {"clip_skip": None, "adm_scaler_end": None}
    body = {**SMALL, **dict.fromkeys(fields), "advanced_params": advanced}
    assert client.post(URL, json=body).status_code == 200
    (asked,) = engine.asked
    assert (asked.prompt.positive, asked.models.refiner, asked.models.clip_skip) == ("", None, 2)
    assert asked.output.metadata == "fooocus"
