"""Requests per minute and key."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from fooocusapi.rate_limit import RateLimiter
from tests.conftest import MakeClient
from tests.keys import KEYS, RIGHT, as_


@pytest.fixture
def limited(make_client: MakeClient) -> TestClient:
    return make_client(apikey=RIGHT, api_keys=KEYS, rate_limit=2)


def test_requests_beyond_the_limit_of_a_key_are_429(limited: TestClient) -> None:
    first, second, third = (limited.get("/ping", headers=as_("anna")) for _ in range(3))
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["RateLimit-Policy"] == '"default";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"default";r=1;t=')
    assert first.headers["X-RateLimit-Limit"] == "2"
    assert second.headers["X-RateLimit-Remaining"] == "0"
    assert "Retry-After" not in second.headers
    assert 0 < int(third.headers["Retry-After"]) <= 60
    assert third.headers["Retry-After"] == third.headers["X-RateLimit-Reset"]
    assert set(third.json()) == {"detail"}
    assert limited.get("/ping", headers=as_("bert")).status_code == 200


def test_additive_routes_tell_of_it_as_a_problem(limited: TestClient) -> None:
    answers = [limited.get("/v1/generation/jobs", headers=as_("anna")) for _ in range(3)]
    assert answers[2].json()["code"] == "rate_limited"
    assert int(answers[2].headers["Retry-After"]) > 1


def test_wrong_keys_take_nothing_from_others(limited: TestClient) -> None:
    for _ in range(5):
        answer = limited.get("/ping", headers=as_("nobody"))
        assert (answer.status_code, "RateLimit" in answer.headers) == (403, False)
    assert limited.get("/ping", headers=as_("anna")).status_code == 200


def test_without_keys_callers_are_told_apart_by_their_address(make_client: MakeClient) -> None:
    client = make_client(rate_limit=1)
    assert [client.get("/ping").status_code for _ in range(2)] == [200, 429]
    assert client.get("/health").status_code == 200
    other = TestClient(client.app, client=("192.0.2.1", 1))
    assert other.get("/ping").status_code == 200


def test_no_limit_by_default(client: TestClient) -> None:
    assert "RateLimit" not in client.get("/ping").headers


def test_a_new_window_begins_after_a_minute_and_old_ones_are_forgotten() -> None:
    now = 5.0
    limiter = RateLimiter(1, clock=lambda: now)

    def is_exceeded(caller: str = "a") -> bool:
        allowance = limiter.count(caller)
        assert allowance is not None
        return allowance.is_exceeded

    assert [is_exceeded(), is_exceeded()] == [False, True]
    now += 59.9
    assert is_exceeded()
    now += 0.2
    assert not is_exceeded()
    for number in range(20_000):
        is_exceeded(str(number))
    assert len(limiter._windows) <= 10_000
