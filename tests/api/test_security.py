"""The API key."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from fooocusapi.exceptions import ForbiddenError
from fooocusapi.security import check_key
from tests.conftest import MakeClient

KEYED = [
    ("GET", "/"),
    ("GET", "/ping"),
    ("GET", "/v1/engines/all-models"),
    ("POST", "/v1/engines/refresh-models"),
    ("GET", "/v1/engines/styles"),
    ("GET", "/v1/engines/clean_vram"),
    ("GET", "/v1/generation/query-job?job_id=x"),
    ("GET", "/v1/generation/job-queue"),
    ("GET", "/v1/generation/job-history"),
    ("POST", "/v1/generation/stop"),
    ("POST", "/v1/generation/text-to-image"),
]


@pytest.fixture
def keyed(make_client: MakeClient) -> TestClient:
    return make_client(apikey="the right key")


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize("key", [None, "", "wrong", "THE RIGHT KEY", "the right key "[:-2]])
def test_missing_and_wrong_keys_are_403(
    keyed: TestClient, method: str, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"X-API-KEY": key}
    answer = keyed.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_right_key_is_let_in(keyed: TestClient) -> None:
    assert keyed.get("/ping", headers={"X-API-KEY": "the right key"}).json() == "pong"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/files/2024-01-01/a.png"])
def test_documentation_and_files_need_no_key(keyed: TestClient, path: str) -> None:
    assert keyed.get(path).status_code in (200, 404)


def test_preflight_needs_no_key(keyed: TestClient) -> None:
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert keyed.options("/v1/generation/stop", headers=headers).status_code == 200


def test_without_a_configured_key_the_header_is_ignored(client: TestClient) -> None:
    assert client.get("/ping", headers={"X-API-KEY": "anything"}).status_code == 200


def test_keys_beyond_ascii_are_compared() -> None:
    check_key("schlüssel", "schlüssel")
    with pytest.raises(ForbiddenError):
        check_key("schlüssel", "schlussel")
