"""A server that is killed at any point of a job keeps its promise: one final state, whole files."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Start
from tests.deadline import wait_until
from tests.fakes import FakeReceiver
from tests.servers import SMALL, TEXT_TO_IMAGE, Running

KEY = "the one job"
POINTS = (
    "call InputFiles.save",
    "call JobStore.accept",
    "return JobStore.accept",
    "return JobQueue.submit",
    "call JobStore.start",
    "return JobStore.start",
    "call FakeEngine.generate",
    "call Storage.save",
    "return JobStore.add_image",
    "return Storage.save",
    "return Job.add_image",
    "call JobStore.save",
    "return JobStore.save",
    "call JobQueue._tell",
    "call Outbox.note_attempt",
)


def ask(server: Running, receiver: FakeReceiver) -> Any:
    """Ask for a picture; ``None``: there was no answer."""
    body = {**SMALL, "async_process": True, "image_seed": 3, "webhook_url": receiver.url}
    try:
        return server.request("POST", TEXT_TO_IMAGE, body, idempotency_key=KEY)
    except (urllib.error.URLError, ConnectionError):
        return None


# Each starts two servers.
@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_job_survives_a_crash_at_any_point(start: Start, tmp_path: Path, point: str) -> None:
    receiver = FakeReceiver()
    server = start(FAKE_KILL_AT=point, FAKE_PACE="0")
    first = ask(server, receiver)
    assert server.wait() == -9
    again = start(FAKE_PACE="0")
    second = ask(again, receiver)
    assert second.status == 200
    job_id = second.body["job_id"]
    assert first is None or first.body["job_id"] == job_id
    job = again.wait_for_end(job_id)
    assert (job["status"], [image["seed"] for image in job["images"]]) == ("succeeded", ["3"])
    assert job["attempt"] <= 2
    assert len(again.request("GET", "/v1/generation/jobs").body["jobs"]) == 1
    (picture,) = (tmp_path / "out").rglob("*.png")
    Image.open(picture).load()
    path = f"/v1/webhooks/deliveries?job_id={job_id}"
    wait_until(lambda: again.request("GET", path).body["deliveries"][0]["status"] == "delivered")
    assert len(again.request("GET", path).body["deliveries"]) == 1
    assert {told["job_id"] for told in receiver.bodies.queue} == {job_id}
    wait_until(lambda: list((tmp_path / "out" / "inputs").glob("*")) == [])
    receiver.close()
