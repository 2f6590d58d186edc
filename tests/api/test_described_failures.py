"""Failures that drawn requests do not reach are answered as the OpenAPI document describes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient

from fooocus_core.errors import DeviceMemoryError, ModelFileError
from tests.conftest import MakeClient
from tests.fakes import FakeEngine, Script
from tests.pictures import as_base64, encode, plain
from tools.write_openapi import TARGET

DOCUMENT = json.loads(TARGET.read_text(encoding="utf-8"))
JSON, TEXT, PROBLEM = "application/json", "text/plain", "application/problem+json"
GENERATE, QUERY = "/v1/generation/text-to-image", "/v1/generation/query-job"
STOP, HISTORY, FILE = (
    "/v1/generation/stop",
    "/v1/generation/job-history",
    "/files/{date}/{file_name}",
)
FORMS = ("/v1/generation/image-prompt", "/v2/generation/text-to-image-with-ip")
JOB = "/v1/generation/jobs/{job_id}"
DESCRIBE, MASK, CLEAN = (
    "/v1/tools/describe-image",
    "/v1/tools/generate_mask",
    "/v1/engines/clean_vram",
)
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": []}
PICTURE = {"image": as_base64(encode(plain(8, 8)))}
PNG = {"accept": "image/png"}
UNKNOWN, MADE, FAILED = "unknown", "made", "failed"


def is_described(answer: Any, path: str, status: int, media_type: str = JSON) -> bool:
    """Whether an answer has this status and kind, and is one that the document knows."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].partition(";")[0] == media_type
    operation = DOCUMENT["paths"][path][answer.request.method.lower()]
    assert media_type in operation["responses"][str(status)]["content"]
    if media_type == TEXT:
        word = operation["responses"][str(status)]["content"][TEXT].get("schema", {}).get("const")
        return word in (None, answer.text)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema[path][answer.request.method.lower()].validate_response(answer)
    return True


def generate(client: TestClient, body: dict[str, Any] | None = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(GENERATE, json={**SMALL, **(body or {})}, headers=named)


def fill(client: TestClient, engine: FakeEngine) -> None:
    """Have a job run until the end of the test."""
    engine.play(Script(gated=True))
    generate(client, {"async_process": True})
    engine.gate.wait_for_step()


@pytest.fixture
def ids(client: TestClient, engine: FakeEngine) -> dict[str, str]:
    """Ids of jobs that have ended, and one of nobody."""
    engine.play(Script(), Script(failure=ValueError("broken")))
    made, failed = (generate(client).headers["X-Fooocus-Job-Id"] for _ in range(2))
    return {MADE: made, FAILED: failed, UNKNOWN: "nobody"}


@pytest.mark.parametrize(
    ("path", "which", "status"),
    [(QUERY, UNKNOWN, 404), (STOP, UNKNOWN, 404), (STOP, MADE, 409)],
)
def test_of_jobs(
    client: TestClient, ids: dict[str, str], path: str, which: str, status: int
) -> None:
    method = "POST" if path == STOP else "GET"
    answer = client.request(method, path, params={"job_id": ids[which]})
    assert is_described(answer, path, status)


def test_of_the_history(client: TestClient, engine: FakeEngine) -> None:
    fill(client, engine)
    running = client.get("/v1/generation/job-queue").json()["last_job_id"]
    for job_id, status in (("nobody", 404), (running, 409), ("", 422)):
        answer = client.get(HISTORY, params={"job_id": job_id, "delete": True})
        assert is_described(answer, HISTORY, status)


@pytest.mark.parametrize(
    ("method", "action", "which", "status"),
    [
        ("GET", "", UNKNOWN, 404),
        ("DELETE", "", UNKNOWN, 404),
        ("POST", "/cancel", UNKNOWN, 404),
        ("POST", "/cancel", MADE, 409),
        ("POST", "/skip", UNKNOWN, 404),
        ("POST", "/skip", MADE, 409),
        ("POST", "/retry", UNKNOWN, 404),
        ("POST", "/retry", MADE, 409),
    ],
)
def test_of_the_additive_routes(
    client: TestClient, ids: dict[str, str], method: str, action: str, which: str, status: int
) -> None:
    answer = client.request(method, JOB.format(job_id=ids[which]) + action)
    assert is_described(answer, JOB + action, status, PROBLEM)


def test_of_forms_that_cannot_be_read(client: TestClient) -> None:
    cut_off = {"content-type": "multipart/form-data; boundary=x"}
    for path in FORMS:
        answer = client.post(path, content=b"--x\r\n", headers=cut_off)
        assert is_described(answer, path, 400)


def test_of_keys_of_retries(client: TestClient, ids: dict[str, str]) -> None:
    path = f"{JOB}/retry"
    malformed = client.post(path.format(job_id=ids[FAILED]), headers={"idempotency-key": ""})
    assert is_described(malformed, path, 400, PROBLEM)


def test_of_retries_when_the_queue_is_full(make_client: MakeClient, engine: FakeEngine) -> None:
    client = make_client(queue_size=1)
    engine.play(Script(failure=ValueError("broken")))
    failed = generate(client).headers["X-Fooocus-Job-Id"]
    fill(client, engine)
    answer = client.post(f"{JOB.format(job_id=failed)}/retry")
    assert is_described(answer, f"{JOB}/retry", 429, PROBLEM)
    assert "Retry-After" in answer.headers


def test_of_generations_when_the_queue_is_full(make_client: MakeClient, engine: FakeEngine) -> None:
    client = make_client(queue_size=1)
    fill(client, engine)
    assert is_described(generate(client, **PNG), GENERATE, 409, TEXT)
    assert is_described(generate(client), GENERATE, 200)
    assert is_described(generate(client, {"async_process": True}), GENERATE, 200)


def test_of_jobs_that_fail(client: TestClient, engine: FakeEngine) -> None:
    engine.play(*[Script(failure=ValueError("broken"))] * 2)
    assert is_described(generate(client, **PNG), GENERATE, 500, TEXT)
    assert is_described(generate(client), GENERATE, 200)


def test_of_keys_of_generations(client: TestClient) -> None:
    generate(client, idempotency_key="k")
    other = generate(client, {"prompt": "another"}, idempotency_key="k")
    assert is_described(other, GENERATE, 422)
    assert is_described(generate(client, idempotency_key=""), GENERATE, 400)


def test_of_missing_files(client: TestClient) -> None:
    answer = generate(client, {"performance_selection": "Lightning"})
    assert is_described(answer, GENERATE, 503)
    assert is_described(client.post(DESCRIBE, json=PICTURE), DESCRIBE, 503)


@pytest.mark.usefixtures("every_model")
@pytest.mark.parametrize(
    ("failure", "status"),
    [(DeviceMemoryError("full"), 503), (ModelFileError("broken"), 500), (KeyError("what"), 500)],
    ids=["memory", "model file", "unforeseen"],
)
@pytest.mark.parametrize("path", [DESCRIBE, MASK])
def test_of_tools(
    client: TestClient, engine: FakeEngine, path: str, failure: Exception, status: int
) -> None:
    engine.tool_failure = failure
    assert is_described(client.post(path, json=PICTURE), path, status)


def test_of_parts_of_files(client: TestClient) -> None:
    address = generate(client).json()[0]["url"]
    for given, status, kind in (
        ("bytes=0-9", 206, "image/png"),
        ("bytes=999999999-", 416, TEXT),
        ("bytes=9-1", 400, TEXT),
    ):
        answer = client.get(address[address.index("/files") :], headers={"range": given})
        assert answer.status_code == status
        described = DOCUMENT["paths"][FILE]["get"]["responses"][str(status)]["content"]
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert kind in described
    assert is_described(client.get("/files/2026-01-01/no.png"), FILE, 404)


def test_of_a_server_that_is_not_well(client: TestClient) -> None:
    client.app.state.services.queue.close()  # type: ignore[attr-defined]
    assert is_described(generate(client), GENERATE, 503)
    assert is_described(client.post(CLEAN), CLEAN, 503)
    client.app.state.services.worker.stop(0)  # type: ignore[attr-defined]
    assert is_described(client.get("/health"), "/health", 503)
