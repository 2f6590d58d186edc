"""The schema at /openapi.json."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import FakeEngine

METHODS = ("get", "post", "put", "delete", "patch", "head")


@pytest.fixture
def schema(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def test_operation_ids_are_unique_and_snake_case(schema: dict[str, Any]) -> None:
    operations = [
        operation["operationId"]
        for path in schema["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    ]
    assert len(set(operations)) == len(operations)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in operations)


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/([\w\[\]]+)", str(schema)))
    assert names <= set(schema["components"]["schemas"])


def test_both_encodings_of_text_to_image_are_described(schema: dict[str, Any]) -> None:
    content = schema["paths"]["/v1/generation/text-to-image"]["post"]["requestBody"]["content"]
    models = schema["components"]["schemas"]
    fields = models["TextToImageRequest"]["properties"]
    form = models["TextToImageRequestForm"]["properties"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert set(fields) == set(form)
    assert fields["sharpness"]["default"] == 2.0
    assert fields["loras"]["anyOf"][0]["type"] == "array"
    assert form["loras"]["type"] == "string"
    assert form["image_number"]["type"] == "integer"


def test_example_of_the_schema_works(client: TestClient, schema: dict[str, Any]) -> None:
    example = schema["components"]["schemas"]["TextToImageRequest"]["example"]
    answer = client.post("/v1/generation/text-to-image", json=example)
    assert answer.json()[0]["finish_reason"] == "SUCCESS"


@pytest.mark.usefixtures("guide_models")
@pytest.mark.parametrize("url", ["image-prompt", "text-to-image-with-ip"])
def test_examples_with_pictures_work(
    client: TestClient, engine: FakeEngine, schema: dict[str, Any], url: str
) -> None:
    path = f"/v2/generation/{url}"
    content = schema["paths"][path]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    answer = client.post(path, json=schema["components"]["schemas"][name]["example"])
    assert answer.json()[0]["finish_reason"] == "SUCCESS"
    assert engine.asked[-1].image_prompts[0].image.shape == (8, 8, 3)


def test_image_prompts_are_a_list_in_json_and_numbered_fields_of_a_form(
    schema: dict[str, Any],
) -> None:
    models = schema["components"]["schemas"]
    contents = {
        version: schema["paths"][f"/{version}/generation/image-prompt"]["post"]["requestBody"]
        for version in ("v1", "v2")
    }
    names = {
        (version, media): body["content"][media]["schema"]["$ref"].rpartition("/")[2]
        for version, body in contents.items()
        for media in body["content"]
    }
    assert names["v1", "application/json"] == names["v2", "application/json"]
    listed = models[names["v1", "application/json"]]
    assert listed["required"] == ["image_prompts"]
    assert listed["properties"]["image_prompts"]["items"]["$ref"].endswith("/ImagePrompt")
    numbered = models[names["v1", "multipart/form-data"]]
    assert numbered["required"] == []
    slots = {
        f"{name}{slot}" for slot in range(1, 5) for name in models["ImagePrompt"]["properties"]
    }
    assert slots <= set(numbered["properties"])
    assert "image_prompts" not in numbered["properties"]
    assert numbered["properties"]["cn_img4"]["format"] == "binary"
    assert numbered["properties"]["cn_type1"]["default"] == "ImagePrompt"
