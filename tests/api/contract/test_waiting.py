"""Callers who wait: what happens to their jobs when they are gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi.testclient import TestClient

from tests.fakes import STEPS, WAIT_S, FakeEngine, Script

URL = "/v1/generation/text-to-image"
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def test_a_caller_who_hangs_up_does_not_cancel_the_job(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    body = {"type": "http.request", "body": json.dumps(SMALL).encode(), "more_body": False}
    messages = iter([body])
    scope = {"type": "http", "method": "POST", "path": URL, "query_string": b"", "headers": []}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def hang_up() -> None:
        await asyncio.wait_for(client.app(scope, receive, send), WAIT_S)  # type: ignore[arg-type]

    assert client.portal is not None
    gone = client.portal.start_task_soon(hang_up)
    engine.gate.wait_for_step()
    job_id = client.get("/v1/generation/job-queue").json()["last_job_id"]
    engine.gate.open(STEPS)
    gone.result(timeout=WAIT_S)
    job = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
    assert job["job_stage"] == "SUCCESS"
    assert sent[0]["status"] == 200
