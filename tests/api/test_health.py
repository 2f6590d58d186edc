"""Health, readiness and start, under all their names."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig
from fooocusapi import __version__
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.conftest import MakeClient
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script

SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez"])
def test_health_needs_no_key(make_client: MakeClient, path: str) -> None:
    client = make_client(apikey="a key", preload=True)
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "version": __version__,
        "checks": {"worker": True},
    }


def test_a_running_job_is_told(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    client.post("/v1/generation/text-to-image", json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "busy")
    engine.gate.open(STEPS)


def test_f39_without_a_living_worker_the_server_is_not_healthy(client: TestClient) -> None:
    client.app.state.services.worker.stop(WAIT_S)  # type: ignore[attr-defined]
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert answer.json()["checks"] == {"worker": False}


def test_a_server_whose_worker_never_began_has_failed(
    settings: Settings, core: CoreConfig, engine: FakeEngine
) -> None:
    answer = TestClient(create_app(settings, core, lambda: engine)).get("/livez")
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")


def test_f05_a_run_that_hangs_ends_its_job_and_the_server_is_not_healthy(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(step_timeout_s=0.2)
    hangs = threading.Event()
    engine.pace = lambda: hangs.wait(WAIT_S) and None
    (item,) = client.post("/v1/generation/text-to-image", json=SMALL).json()
    assert item["finish_reason"] == "ERROR"
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")
    (job,) = client.get("/v1/generation/jobs").json()["jobs"]
    assert (job["status"], job["error"]["code"]) == ("failed", "timeout")
    hangs.set()


def test_a_long_run_that_shows_signs_of_life_is_left_alone(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    # Signs come often enough even where a thread has to wait long for its turn.
    client = make_client(step_timeout_s=2)
    engine.pace = lambda: time.sleep(0.15)
    body = {**SMALL, "image_number": 4}
    items = client.post("/v1/generation/text-to-image", json=body).json()
    assert [item["finish_reason"] for item in items] == ["SUCCESS"] * 4
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/ready", "/readyz"])
def test_a_server_that_can_make_jobs_is_ready_and_no_key_is_wanted(
    make_client: MakeClient, path: str
) -> None:
    answer = make_client(apikey="a key", preload=True).get(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert set(answer.json()["checks"].values()) == {True}


def missing(client: TestClient) -> list[str]:
    """What keeps the server from being ready."""
    answer = client.get("/ready")
    found = [name for name, is_well in answer.json()["checks"].items() if not is_well]
    assert (answer.status_code == 503) == bool(found)
    return found


def test_a_server_with_a_full_queue_is_not_ready(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(queue_size=1, preload=True)
    engine.play(Script(gated=True))
    client.post("/v1/generation/text-to-image", json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()
    assert missing(client) == ["queue"]
    engine.gate.open(STEPS)


def test_a_server_that_loads_has_not_started_and_is_not_ready(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    engine.is_fetching = True
    client = make_client()
    assert (client.get("/startupz").status_code, missing(client)) == (503, ["models"])
    engine.is_fetching = False
    client.app.state.services.worker.loaded.result(timeout=WAIT_S)  # type: ignore[attr-defined]
    assert (client.get("/startupz").status_code, missing(client)) == (200, [])


def test_a_server_whose_store_cannot_be_written_is_not_ready(
    make_client: MakeClient, core: CoreConfig
) -> None:
    client = make_client(preload=True)
    store = Path(core.folders.outputs) / "database.db"
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("DROP TABLE fooocusapi_idempotency_keys")
    assert missing(client) == ["store"]


def test_a_server_that_stops_is_not_ready(client: TestClient) -> None:
    client.app.state.services.worker.stop(WAIT_S)  # type: ignore[attr-defined]
    assert {"worker", "accepting"} <= set(missing(client))
