"""How request bodies are described, in both encodings."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ConfigDict, Field

from fooocusapi.schemas.descriptions import describe_body, describe_requests, without_null
from fooocusapi.schemas.parameters import EnhanceRegions, Lora, Number, RequestModel
from fooocusapi.schemas.pictures import ImageValue

SIZES = ["1152*896", "64x4096", " 128 × 128 ", "1024*1024*3", "1024", "64*", "", "a*b", "-64*64"]


class Sample(RequestModel):
    """A request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "style_selections": ["One", "Two"],
                    "loras": [{"weight": 1}],
                    "enhance_ctrlnets": [{"enhance_prompt": "a"}, {"enhance_prompt": "b"}],
                }
            ]
        }
    )

    needed: ImageValue
    image: ImageValue = None
    number: Number | None = Field(default=None, ge=1, le=2)
    style_selections: list[str] = Field(default_factory=list, description="Names.")
    loras: list[Lora] = Field(default_factory=list)
    enhance_ctrlnets: EnhanceRegions = Field(default_factory=list)


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return describe_requests([Sample])


def test_both_encodings_are_named() -> None:
    content = describe_body(Sample)["requestBody"]["content"]
    assert {name: part["schema"]["$ref"].rpartition("/")[2] for name, part in content.items()} == {
        "application/json": "Sample",
        "multipart/form-data": "SampleForm",
    }


def test_limits_around_a_choice_of_types_are_words_of_json_schema(schemas: dict[str, Any]) -> None:
    number = schemas["Sample"]["properties"]["number"]
    assert number["anyOf"] == [{"type": "number", "minimum": 1, "maximum": 2}, {"type": "null"}]


def test_a_picture_that_may_be_left_out_may_be_null(schemas: dict[str, Any]) -> None:
    fields = schemas["Sample"]["properties"]
    assert (fields["needed"]["type"], fields["image"]["type"]) == ("string", ["string", "null"])


def test_a_form_has_files_texts_and_numbered_fields(schemas: dict[str, Any]) -> None:
    fields = schemas["SampleForm"]["properties"]
    assert fields["image"]["format"] == fields["needed"]["format"] == "binary"
    assert "default" not in fields["image"]
    assert fields["number"] == {"type": "number", "minimum": 1, "maximum": 2, "title": "Number"}
    assert fields["style_selections"]["description"].startswith("Names. Separated by commas")
    assert fields["loras"]["contentSchema"]["items"]["$ref"].endswith("/Lora")
    assert "enhance_prompt_3" in fields
    assert "enhance_ctrlnets" not in fields
    assert schemas["SampleForm"]["required"] == ["needed"]


def test_the_example_of_a_form_is_that_of_json(schemas: dict[str, Any]) -> None:
    (example,) = schemas["SampleForm"]["examples"]
    assert json.loads(example.pop("loras")) == [{"weight": 1}]
    assert example == {
        "style_selections": "One,Two",
        "enhance_prompt_1": "a",
        "enhance_prompt_2": "b",
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, {"type": "string"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": "a"}, None),
        ({"type": "integer"}, {"type": "integer"}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, None),
    ],
    ids=["default of nothing", "default", "no null", "two types"],
)
def test_null_is_left_out(schema: dict[str, Any], expected: dict[str, Any] | None) -> None:
    known = expected or {name: value for name, value in schema.items() if name != "anyOf"}
    assert known.items() <= without_null(schema).items()
    assert "null" not in str(without_null(schema))


@pytest.mark.parametrize("size", SIZES)
def test_the_pattern_of_sizes_is_what_is_accepted(client: TestClient, size: str) -> None:
    fields = client.get("/openapi.json").json()["components"]["schemas"]["TextToImageRequest"]
    described = fields["properties"]["aspect_ratios_selection"]["anyOf"][0]["pattern"]
    body = {"aspect_ratios_selection": size, "async_process": True}
    status = client.post("/v1/generation/text-to-image", json=body).status_code
    assert (re.search(described, size) is not None) == (status == 200)
