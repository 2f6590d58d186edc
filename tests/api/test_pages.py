"""Pages, documentation, compression and cross-origin headers."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.fakes import FakeEngine

ORIGIN = {"origin": "https://page.example"}


def test_ping_answers_pong_as_json(client: TestClient) -> None:
    answer = client.get("/ping")
    assert (answer.status_code, answer.text) == (200, '"pong"')


def test_start_page_leads_to_the_documentation(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert 'href="/docs"' in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_documentation_pages_are_served(client: TestClient, path: str) -> None:
    assert "/openapi.json" in client.get(path).text


def test_large_answers_are_compressed_for_who_asks(client: TestClient) -> None:
    zipped = client.get("/v1/engines/styles", headers={"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    plain = client.get("/v1/engines/styles", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in client.get("/ping").headers


def test_any_origin_may_call_with_credentials(client: TestClient) -> None:
    answer = client.get("/ping", headers=ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    exposed = answer.headers["Access-Control-Expose-Headers"]
    for name in ("X-Fooocus-Job-Id", "X-Fooocus-Warning", "X-Fooocus-Error"):
        assert name in exposed


def test_preflight_is_answered(client: TestClient) -> None:
    wanted = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key,content-type",
    }
    answer = client.options("/v1/generation/text-to-image", headers={**ORIGIN, **wanted})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "x-api-key,content-type"


def test_b55_origins_can_be_narrowed(make_client: MakeClient) -> None:
    client = make_client(cors_origins=("https://mine.example",))
    assert "Access-Control-Allow-Origin" not in client.get("/ping", headers=ORIGIN).headers
    mine = client.get("/ping", headers={"origin": "https://mine.example"})
    assert mine.headers["Access-Control-Allow-Origin"] == "https://mine.example"


def test_b55_keyed_server_allows_no_credentials_from_just_anywhere(make_client: MakeClient) -> None:
    answer = make_client(apikey="k").get("/ping", headers={**ORIGIN, "x-api-key": "k"})
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_b55_pages_without_an_origin_of_their_own_get_no_credentials(client: TestClient) -> None:
    wanted = {"origin": "null", "access-control-request-method": "POST"}
    for answer in (
        client.get("/ping", headers={"origin": "null"}),
        client.options("/ping", headers=wanted),
    ):
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] in ("null", "*")
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_unforeseen_failures_carry_the_cross_origin_headers(
    client: TestClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "free_memory", lambda: 1 / 0)
    answer = client.get("/v1/engines/clean_vram", headers=ORIGIN)
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
