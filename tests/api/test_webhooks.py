"""Receivers of ended jobs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from fooocusapi.jobs.job import Delivery, JobView
from fooocusapi.schemas.vocabulary import FinishReason, JobKind, JobStage
from fooocusapi.webhooks import Webhooks
from tests.conftest import MakeClient
from tests.fakes import WAIT_S, FakeEngine, FakeReceiver, Script

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    receiver = FakeReceiver()
    yield receiver
    receiver.close()


def test_finished_job_is_told_with_the_two_legacy_keys_first(
    client: TestClient, receiver: FakeReceiver
) -> None:
    body = {**SMALL, "webhook_url": receiver.url, "image_number": 2, "image_seed": 5}
    answer = client.post(URL, json=body)
    told = receiver.next()
    assert list(told)[:2] == ["job_id", "job_result"]
    assert told["_type"] == "application/json"
    assert told["job_id"] == answer.headers["X-Fooocus-Job-Id"]
    assert told["job_result"] == [
        {"url": item["url"], "seed": item["seed"]} for item in answer.json()
    ]
    assert (told["type"], told["status"], told["error"]) == ("job.completed", "SUCCESS", None)


def test_failed_and_stopped_jobs_are_told(
    client: TestClient, engine: FakeEngine, receiver: FakeReceiver
) -> None:
    engine.play(Script(failure=ValueError("odd")), Script(gated=True))
    body = {**SMALL, "webhook_url": receiver.url, "async_process": True}
    client.post(URL, json=body)
    told = receiver.next()
    assert (told["type"], told["job_result"]) == ("job.failed", [])
    assert told["error"]["message"] == "ValueError: odd"
    client.post(URL, json=body)
    engine.gate.wait_for_step()
    client.post("/v1/generation/stop")
    told = receiver.next()
    assert (told["type"], told["job_result"], told["error"]) == ("job.canceled", [], None)


def test_common_receiver_is_told_unless_the_request_names_one(
    make_client: MakeClient, receiver: FakeReceiver
) -> None:
    client = make_client(webhook_url=receiver.url, public_webhooks_only=True)
    job_id = client.post(URL, json=SMALL).headers["X-Fooocus-Job-Id"]
    assert receiver.next()["job_id"] == job_id


def test_defect_b12_slow_receiver_delays_no_job(client: TestClient, receiver: FakeReceiver) -> None:
    receiver.hold.clear()
    for _ in range(3):
        client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    assert client.get("/v1/generation/job-queue").json()["finished_size"] == 3
    assert receiver.bodies.empty()
    receiver.hold.set()
    for _ in range(3):
        receiver.next()


@pytest.mark.parametrize("status", [302, 410, 500])
def test_answer_of_the_receiver_does_not_touch_the_job(
    client: TestClient, receiver: FakeReceiver, status: int
) -> None:
    receiver.status = status
    for _ in range(2):
        (item,) = client.post(URL, json={**SMALL, "webhook_url": receiver.url}).json()
        assert item["finish_reason"] == "SUCCESS"
        receiver.next()
    assert receiver.bodies.empty()


def test_requests_may_be_kept_to_public_receivers(
    make_client: MakeClient, receiver: FakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(public_webhooks_only=True)
    client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    client.__exit__()
    assert receiver.bodies.empty()
    assert "not one that may be contacted" in caplog.text


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://0.0.0.0:1/", "http://[ff02::1]/", "http://[::]/"]
)
def test_link_local_multicast_and_unspecified_addresses_are_never_told(
    client: TestClient, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    assert client.post(URL, json={**SMALL, "webhook_url": url}).status_code == 200
    client.__exit__()
    assert "not one that may be contacted" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/",
        "javascript:alert(1)",
        "http://",
        "http://x:99999/",
        "http://example.com/\x01",
        "http://xn--a/",
        f"http://example.com/{'x' * 10_000}",
        f"http://example.com/{'x' * 70_000}",
        "http://user:secret@example.com/",
    ],
    ids=lambda url: f"{url[:30]!a} {len(url)}",
)
def test_what_is_no_web_address_is_left_out_with_a_warning(client: TestClient, url: str) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_url": url})
    assert "webhook_url" in answer.headers["X-Fooocus-Warning"]
    assert "secret" not in answer.headers["X-Fooocus-Warning"]


def ended(webhook: str | None = None) -> JobView:
    return JobView(
        id="an id",
        kind=JobKind.TEXT_TO_IMAGE,
        delivery=Delivery(webhook=webhook),
        seed=1,
        queued_ms=1,
        stage=JobStage.SUCCESS,
        reason=FinishReason.SUCCESS,
    )


def make_webhooks(common_target: str, **options: float) -> Webhooks:
    return Webhooks(common_target, public_only=False, url_of=lambda image: image.name, **options)


@pytest.mark.parametrize(
    "target", ["http://example.com/\x01", "http://xn--a/", "http://[", "\ud800"], ids=ascii
)
def test_delivery_outlives_whatever_one_message_raises(
    receiver: FakeReceiver, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    webhooks = make_webhooks(target)
    webhooks.start()
    webhooks.announce(ended())
    webhooks.announce(ended(receiver.url))
    assert receiver.next()["job_id"] == "an id"
    webhooks.stop(WAIT_S)
    assert "webhook of job an id" in caplog.text


def test_an_attempt_ends_after_its_time_although_the_receiver_goes_on_sending(
    receiver: FakeReceiver,
) -> None:
    closing = threading.Event()

    def dribble() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not closing.wait(0.02):
                try:
                    connection.sendall(b"x: y\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=dribble)
        thread.start()
        webhooks = make_webhooks(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.2)
        webhooks.start()
        webhooks.announce(ended())
        webhooks.announce(ended(receiver.url))
        began = time.monotonic()
        receiver.next()
        assert time.monotonic() - began < 2
        closing.set()
        thread.join()
    webhooks.stop(WAIT_S)


@pytest.mark.parametrize("url", ["", "string", "None", None])
def test_placeholders_mean_no_webhook(client: TestClient, url: object) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_url": url})
    assert "X-Fooocus-Warning" not in answer.headers
