"""Who may call what: keys, scopes, tokens of event streams, and whose jobs are whose."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from fastapi import Depends
from fastapi.testclient import TestClient

from fooocusapi.api_keys import Scope
from fooocusapi.app import create_app
from fooocusapi.dependencies import admit
from fooocusapi.event_tokens import LIFETIME_S, EventTokens
from fooocusapi.security import EVENTS_PATH, scope_of, weak_spots
from fooocusapi.settings import Settings
from tests.conftest import MakeClient, make_core
from tests.fakes import FakeEngine, Script
from tests.keys import KEYS, RIGHT, as_

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server with every kind of key."""
    core = make_core(tmp_path_factory.mktemp("keyed"))
    settings = Settings(
        outputs=core.folders.outputs, shutdown_grace_s=0, apikey=RIGHT, api_keys=KEYS
    )
    with TestClient(create_app(settings, core, FakeEngine)) as client:
        yield client


def operations(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of every route of the schema."""
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


OPEN = {"/files/{date}/{file_name}", "/health", "/healthz", "/livez", "/ready", "/readyz"}
OPEN |= {"/startupz"}


def test_b54_every_route_but_files_and_health_wants_the_key(keyed: TestClient) -> None:
    answered = {
        (method, path, keyed.request(method, f"{path}?x-api-key=anna&api_key=anna").status_code)
        for method, path in operations(keyed)
        if path not in OPEN
    }
    assert len(answered) > 30
    assert {status for _, _, status in answered} == {403}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-KEY": ""},
        {"X-API-KEY": "wrong"},
        {"X-API-KEY": "THE RIGHT KEY"},
        {"X-API-KEY": "the right ke"},
        {"X-API-KEY": "the right key "},
        {"X-API-KEY": "the  right key"},
        {"X-API-KEY": "schlüssel".encode().decode("latin-1")},
        {"X-API-KEY": sha256(b"anna").hexdigest()},
        {"Authorization": RIGHT},
        {"Authorization": f"Basic {RIGHT}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"X-API-KEY": "wrong", "Authorization": f"Bearer {RIGHT}"},
        {"Cookie": f"X-API-KEY={RIGHT}"},
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_b54_any_other_key_is_403(keyed: TestClient, headers: dict[str, str]) -> None:
    # The test client strips blanks around values, as servers do.
    if headers.get("X-API-KEY", "").strip() == RIGHT:
        headers = {"X-API-KEY": f"{RIGHT}\t."}
    latin = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = keyed.get("/ping", headers=latin)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_b53_a_key_that_is_sent_twice_is_403(keyed: TestClient) -> None:
    for twice in ([("X-API-KEY", RIGHT)] * 2, [("Authorization", f"Bearer {RIGHT}")] * 2):
        assert keyed.get("/ping", headers=twice).status_code == 403


@pytest.mark.parametrize("path", ["/v1/generation/jobs", "/v1/queue/pause"])
def test_additive_routes_tell_of_it_as_a_problem(keyed: TestClient, path: str) -> None:
    answer = keyed.request("GET" if "jobs" in path else "POST", path, headers=as_("maker"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-KEY": RIGHT},
        {"x-api-key": "anna"},
        {"Authorization": f"Bearer {RIGHT}"},
        {"authorization": "bearer  reader"},
    ],
    ids=str,
)
def test_right_keys_are_let_in(keyed: TestClient, headers: dict[str, str]) -> None:
    assert keyed.get("/ping", headers=headers).json() == "pong"


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/openapi.json", "/files/2024-01-01/a.png", "/health", "/ready"],
)
def test_documentation_files_and_health_need_no_key(keyed: TestClient, path: str) -> None:
    assert keyed.get(path).status_code in (200, 404, 503)


def test_preflight_needs_no_key(keyed: TestClient) -> None:
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert keyed.options("/v1/generation/stop", headers=headers).status_code == 200


def test_without_a_configured_key_the_header_is_ignored(client: TestClient) -> None:
    assert client.get("/ping", headers={"X-API-KEY": "anything"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/", None),
        ("GET", "/ping", None),
        ("GET", "/v1/generation/query-job", Scope.READ),
        ("GET", "/v1/engines/styles", Scope.READ),
        ("POST", "/v1/engines/refresh-models", Scope.GENERATE),
        ("POST", URL, Scope.GENERATE),
        ("POST", "/v1/tools/describe-image", Scope.GENERATE),
        ("POST", "/v1/generation/stop", Scope.GENERATE),
        ("DELETE", "/v1/generation/jobs/{job_id}", Scope.GENERATE),
        ("GET", "/v1/engines/clean_vram", Scope.ADMIN),
        ("POST", "/v1/queue/pause", Scope.ADMIN),
    ],
)
def test_every_route_wants_its_scope(method: str, path: str, scope: Scope | None) -> None:
    assert scope_of(method, path) is scope


@pytest.mark.parametrize(
    ("name", "method", "path", "is_let_in"),
    [
        ("reader", "GET", "/v1/engines/styles", True),
        ("reader", "POST", URL, False),
        ("reader", "GET", "/v1/generation/job-history?delete=true&job_id=x", False),
        ("maker", "POST", "/v1/generation/stop", True),
        ("maker", "GET", "/v1/generation/query-job?job_id=x", False),
        ("anna", "POST", "/v1/queue/clear", False),
        ("anna", "GET", "/v1/engines/clean_vram", False),
        ("boss", "POST", "/v1/queue/clear", True),
        ("maker", "GET", "/ping", True),
    ],
)
def test_b54_a_key_of_another_scope_is_403(
    keyed: TestClient, name: str, method: str, path: str, is_let_in: bool
) -> None:
    answer = keyed.request(method, path, headers=as_(name))
    assert (answer.status_code != 403) == is_let_in


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"apikey": "short"}, ["shorter than 16"]),
        ({"apikey": "k" * 16, "host": "0.0.0.0"}, []),
        ({"host": "0.0.0.0"}, ["set --apikey"]),
        ({"host": "::"}, ["set --apikey"]),
        ({"host": "::", "api_keys": KEYS}, []),
    ],
    ids=["closed", "short key", "open with a key", "open", "open to IPv6", "open with keys"],
)
def test_b64_weak_keys_and_none_are_warned_of(
    settings: Settings, changes: dict[str, Any], told: list[str]
) -> None:
    warnings = list(weak_spots(settings.model_copy(update=changes)))
    assert len(warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, warnings, strict=True))


def make_job(client: TestClient, name: str) -> str:
    answer = client.post(URL, json=SMALL, headers=as_(name))
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Fooocus-Job-Id"]


def ids_of(client: TestClient, name: str) -> set[str]:
    """Jobs that a key is shown, whichever way it asks."""
    listed = client.get("/v1/generation/jobs", headers=as_(name)).json()["jobs"]
    history = client.get("/v1/generation/job-history", headers=as_(name)).json()
    ids = {job["id"] for job in listed}
    assert {entry["job_id"] for entry in history["history"] + history["queue"]} == ids
    return ids


@pytest.mark.parametrize("persistent", [False, True])
def test_b56_jobs_of_another_key_might_as_well_not_be(
    make_client: MakeClient, persistent: bool
) -> None:
    client = make_client(apikey=RIGHT, api_keys=KEYS, persistent=persistent)
    hers, his = make_job(client, "anna"), make_job(client, "bert")
    assert (ids_of(client, "anna"), ids_of(client, "bert")) == ({hers}, {his})
    assert ids_of(client, "boss") == ids_of(client, RIGHT) == {hers, his}
    query = f"/v1/generation/query-job?job_id={hers}"
    assert client.get(query, headers=as_("anna")).status_code == 200
    history = f"/v1/generation/job-history?delete=true&job_id={hers}"
    place = f"/v1/generation/jobs/{hers}"
    tried = [
        client.get(query, headers=as_("bert")),
        client.get(history, headers=as_("bert")),
        client.get(place, headers=as_("bert")),
        client.delete(place, headers=as_("bert")),
        client.post(f"/v1/generation/stop?job_id={hers}", headers=as_("bert")),
        *(
            client.post(f"{place}/{action}", headers=as_("bert"))
            for action in ("cancel", "skip", "retry", "events-token")
        ),
    ]
    assert [answer.status_code for answer in tried] == [404] * len(tried)
    assert client.delete(place, headers=as_("anna")).status_code == 204


def test_stop_leaves_the_running_job_of_another_key_alone(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    keyed = make_client(api_keys=KEYS)
    engine.play(Script(gated=True))
    job_id = keyed.post(URL, json={**SMALL, "async_process": True}, headers=as_("anna")).json()[
        "job_id"
    ]
    engine.gate.wait_for_step()

    def status() -> Any:
        return keyed.get(f"/v1/generation/jobs/{job_id}", headers=as_("anna")).json()["status"]

    assert keyed.post("/v1/generation/stop", headers=as_("bert")).status_code == 200
    engine.gate.open(1)
    engine.gate.wait_for_step()
    assert status() == "running"
    assert keyed.post("/v1/generation/stop", headers=as_("anna")).status_code == 200
    while status() == "running":
        pass
    assert status() == "canceled"


def events(client: TestClient, job_id: str, query: str = "", **headers: str) -> int:
    path = EVENTS_PATH.format(job_id=job_id)
    return client.get(f"{path}{query}", headers=headers).status_code


def test_events_of_a_job_take_a_token_in_place_of_a_key(keyed: TestClient) -> None:
    # Stands behind the route itself, where there is one.
    keyed.app.add_api_route(EVENTS_PATH, lambda: "", dependencies=[Depends(admit)])  # type: ignore[attr-defined]
    hers, other = make_job(keyed, "anna"), make_job(keyed, "anna")
    place = f"/v1/generation/jobs/{hers}"
    made = keyed.post(f"{place}/events-token", headers=as_(RIGHT)).json()
    assert made["expires_in"] == LIFETIME_S
    query = f"?token={made['token']}"
    assert events(keyed, hers, query) == 200
    assert events(keyed, hers, **as_("anna")) == 200
    assert events(keyed, hers) == events(keyed, hers, "?token=x") == 403
    assert events(keyed, hers, query + "0") == events(keyed, other, query) == 403
    assert keyed.get(f"{place}{query}").status_code == 403


def test_tokens_end() -> None:
    now = 1000.0
    tokens = EventTokens(clock=lambda: now)
    token = tokens.mint("job", "anna")
    assert tokens.name_in(token, "job") == "anna"
    assert EventTokens(clock=lambda: now).name_in(token, "job") is None
    now += LIFETIME_S
    assert tokens.name_in(token, "job") is None
