"""The schema at /openapi.json."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

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
