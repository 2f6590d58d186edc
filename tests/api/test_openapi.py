"""The schema at /openapi.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.fakes import FakeEngine
from tools.write_openapi import TARGET, openapi_text

DOCUMENT: dict[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
JSON, MULTIPART = "application/json", "multipart/form-data"
KEY_FREE = {"Files", "Health"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


WITH_BODY = [
    pytest.param(path, operation["requestBody"]["content"], id=operation["operationId"])
    for _, path, operation in operations(DOCUMENT)
    if "requestBody" in operation
]


def schema_at(reference: dict[str, str]) -> dict[str, Any]:
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"][reference["$ref"].split("/")[-1]]
    return schema


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(size=(8, 8))


def test_the_document_that_is_checked_in_is_the_one_that_is_served(client: TestClient) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT, "run: make openapi"
    assert TARGET.read_text(encoding="utf-8") == openapi_text()


def test_it_is_of_the_version_that_its_readers_know() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_operation_ids_are_unique_and_snake_case() -> None:
    names = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_every_operation_has_a_described_tag_and_says_what_it_does() -> None:
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    for _, path, operation in operations(DOCUMENT):
        (tag,) = operation["tags"]
        assert described[tag], path
        assert operation.get("description") or operation["summary"].endswith("."), path


def test_aliases_of_paths_are_not_shown(client: TestClient) -> None:
    for alias in ("/v1/generation/image-inpait-outpaint", "/healthz", "/livez"):
        assert alias not in DOCUMENT["paths"]
        method = "post" if "generation" in alias else "get"
        assert getattr(client, method)(alias).status_code != 404


def test_every_reference_leads_somewhere() -> None:
    names = set(re.findall(r"#/components/schemas/([\w\[\]]+)", str(DOCUMENT)))
    assert names <= set(DOCUMENT["components"]["schemas"])


def test_every_schema_is_used() -> None:
    names = set(re.findall(r"#/components/schemas/([\w\[\]]+)", str(DOCUMENT)))
    assert set(DOCUMENT["components"]["schemas"]) <= names


def test_limits_are_words_of_json_schema() -> None:
    assert not re.findall(r"'(?:ge|le|gt|lt)': ", str(DOCUMENT))
    sharpness = schema_at({"$ref": "/TextToImageRequest"})["properties"]["sharpness"]
    assert sharpness["anyOf"][0] == {"type": "number", "minimum": 0.0, "maximum": 30.0}


def test_a_default_is_a_value_that_the_field_may_have() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            if described.get("default", 0) is None:
                assert "null" in str(described), f"{name}.{field}"


def test_both_encodings_of_text_to_image_are_described() -> None:
    content = DOCUMENT["paths"]["/v1/generation/text-to-image"]["post"]["requestBody"]["content"]
    fields = schema_at({"$ref": "/TextToImageRequest"})["properties"]
    form = schema_at({"$ref": "/TextToImageRequestForm"})["properties"]
    assert set(content) == {JSON, MULTIPART}
    assert set(fields) == set(form)
    assert fields["sharpness"]["default"] == form["sharpness"]["default"] == 2.0
    assert fields["loras"]["anyOf"][0]["type"] == "array"
    assert (form["loras"]["type"], form["loras"]["contentMediaType"]) == ("string", JSON)
    assert form["style_selections"]["type"] == "string"
    assert form["image_number"]["type"] == "integer"


def test_no_field_of_a_form_is_null() -> None:
    forms = [s for name, s in DOCUMENT["components"]["schemas"].items() if name.endswith("Form")]
    assert len(forms) == 12
    assert not any("'null'" in str(form) for form in forms)


def test_pictures_are_files_in_forms_and_texts_in_json() -> None:
    (needed, optional) = (
        schema_at({"$ref": f"/{name}"})["properties"]["input_image"]
        for name in ("GuidedInpaintOutpaintRequest", "ImagePromptV2")
    )
    assert (needed["type"], optional["type"]) == ("string", ["string", "null"])
    part = schema_at({"$ref": "/InpaintOutpaintRequestForm"})["properties"]["input_image"]
    assert (part["type"], part["format"]) == ("string", "binary")


def test_image_prompts_are_a_list_in_json_and_numbered_fields_of_a_form() -> None:
    contents = {
        version: DOCUMENT["paths"][f"/{version}/generation/image-prompt"]["post"]["requestBody"]
        for version in ("v1", "v2")
    }
    schemas = {
        (version, media): body["content"][media]["schema"]
        for version, body in contents.items()
        for media in body["content"]
    }
    assert schemas["v1", JSON] == schemas["v2", JSON]
    listed = schema_at(schemas["v1", JSON])
    assert listed["required"] == ["image_prompts"]
    assert listed["properties"]["image_prompts"]["items"]["$ref"].endswith("/ImagePrompt")
    numbered = schema_at(schemas["v1", MULTIPART])
    assert numbered["required"] == []
    fields = schema_at({"$ref": "/ImagePrompt"})["properties"]
    assert {f"{name}{slot}" for slot in range(1, 5) for name in fields} <= set(
        numbered["properties"]
    )
    assert "image_prompts" not in numbered["properties"]
    assert numbered["properties"]["cn_img4"]["format"] == "binary"
    assert numbered["properties"]["cn_type1"]["default"] == "ImagePrompt"


def test_every_body_has_an_example_in_each_encoding() -> None:
    for _, path, operation in operations(DOCUMENT):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert schema_at(content["schema"])["examples"], path


@pytest.mark.usefixtures("every_model")
@pytest.mark.parametrize(("path", "content"), WITH_BODY)
def test_every_example_works(client: TestClient, path: str, content: dict[str, Any]) -> None:
    for media_type, described in content.items():
        for example in schema_at(described["schema"])["examples"]:
            answer = send(client, path, media_type, example)
            assert answer.status_code == 200, answer.text
            assert "X-Fooocus-Warning" not in answer.headers
            if "/generation/" in path and not example.get("async_process"):
                assert [item["finish_reason"] for item in answer.json()] == ["SUCCESS"]


def send(client: TestClient, path: str, media_type: str, example: dict[str, Any]) -> Any:
    if media_type == JSON:
        return client.post(path, json=example)
    # Something to send as a file makes the client choose this encoding.
    answer = client.post(path, data=example, files={"unused": b""})
    assert answer.request.headers["content-type"].startswith(MULTIPART)
    return answer


def test_what_takes_a_key_says_so(make_client: MakeClient) -> None:
    client = make_client(apikey="secret")
    for method, path, operation in operations(DOCUMENT):
        takes_key = not KEY_FREE & set(operation["tags"])
        assert ("security" in operation) == takes_key, path
        answer = client.request(method, path)
        assert (answer.status_code == 403) == takes_key, path
        if takes_key:
            assert media_type_of(answer) in operation["responses"]["403"]["content"]


def media_type_of(answer: Any) -> str:
    return str(answer.headers["content-type"].partition(";")[0])


def test_operations_that_read_a_body_say_what_they_refuse(make_client: MakeClient) -> None:
    client = make_client(max_body_bytes=10)
    for _, path, operation in operations(DOCUMENT):
        if "requestBody" in operation:
            assert client.post(path, json={"prompt": "too long"}).status_code == 413
            assert client.post(path, json=[]).status_code == 422
            assert {"413", "422"} <= set(operation["responses"])


def test_a_refused_request_is_described_as_it_is_answered(client: TestClient) -> None:
    answered = client.post("/v1/generation/text-to-image", json={"image_number": 0}).json()
    described = schema_at({"$ref": "/FieldComplaint"})
    assert set(answered["detail"][0]) == set(described["properties"]) == set(described["required"])
    problem = client.get("/v1/generation/jobs?limit=0").json()
    assert set(problem) == set(schema_at({"$ref": "/ProblemDetails"})["properties"])


def test_every_failure_has_a_body() -> None:
    for _, path, operation in operations(DOCUMENT):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert answer["content"], f"{path}: {status}"


def test_what_cannot_be_wrong_is_never_refused() -> None:
    answers = {o["operationId"]: set(o["responses"]) for _, _, o in operations(DOCUMENT)}
    assert all("422" not in answers[name] for name in ("ping", "styles", "get_job", "stop"))
    assert all("422" in answers[name] for name in ("query_job", "job_history", "list_jobs"))


def test_headers_of_ours_that_answers_carry_are_described(client: TestClient) -> None:
    url = "/v1/generation/text-to-image"
    body = {"style_selections": ["no such style"], "aspect_ratios_selection": "64*64"}
    sent = {"prefer": "respond-async", "idempotency-key": "k"}
    described = DOCUMENT["paths"][url]["post"]["responses"]
    for headers, status in (({}, "200"), (sent, "202"), (sent, "202")):
        answer = client.post(url, json=body, headers=headers)
        assert str(answer.status_code) == status
        named = {name.lower() for name in described[status]["headers"]}
        usual = {"content-length", "content-type", "vary"}
        assert set(answer.headers) - usual <= named
        assert "x-fooocus-warning" in answer.headers
