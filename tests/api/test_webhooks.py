"""Receivers of ended jobs."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.conftest import MakeClient
from tests.fakes import STEPS, FakeEngine, FakeReceiver, Script

URL = "/v1/generation/text-to-image"
BODY = ["job_id", "job_result", "type", "status", "error", "timestamp", "attempt"]
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
    assert (told["attempt"], set(told) - set(BODY)) == (1, {"_type"})


def test_the_end_is_told_when_it_can_be_seen(client: TestClient, receiver: FakeReceiver) -> None:
    for _ in range(5):
        body = {**SMALL, "webhook_url": receiver.url, "async_process": True}
        client.post(URL, json=body)
        job_id = receiver.next()["job_id"]
        job = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
        assert (job["job_stage"], len(job["job_result"])) == ("SUCCESS", 1)


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
def test_f21_answer_of_the_receiver_does_not_touch_the_job(
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


@pytest.mark.parametrize("url", ["", "string", "None", None])
def test_placeholders_mean_no_webhook(client: TestClient, url: object) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_url": url})
    assert "X-Fooocus-Warning" not in answer.headers


def test_what_is_told_can_be_chosen(
    client: TestClient, engine: FakeEngine, receiver: FakeReceiver
) -> None:
    engine.play(Script(gated=True))
    events = "webhook_events_filter", ["completed", "Start", "start"]
    body = {**SMALL, "webhook_url": receiver.url, "async_process": True, "image_number": 2}
    client.post(URL, json={**body, events[0]: events[1]})
    told = receiver.next()
    assert (told["type"], told["status"], told["job_result"]) == ("job.started", "RUNNING", [])
    engine.gate.open(2 * STEPS)
    told = receiver.next()
    assert (told["type"], len(told["job_result"])) == ("job.completed", 2)
    assert receiver.bodies.empty()


def test_pictures_are_told_of_at_once_and_those_soon_after_together(
    client: TestClient, receiver: FakeReceiver
) -> None:
    form = {
        "aspect_ratios_selection": "64*64",
        "webhook_url": receiver.url,
        "webhook_events_filter": "output",
        "image_number": "4",
        "image_seed": "1",
    }
    client.post(URL, data=form)
    told = [receiver.next()]
    while len(told[-1]["job_result"]) < 4:
        told.append(receiver.next())
    assert {one["type"] for one in told} == {"job.image"}
    seeds = [[item["seed"] for item in one["job_result"]] for one in told]
    assert (seeds[0], seeds[-1]) == (["1"], ["1", "2", "3", "4"])
    # How many are told together depends on how fast the machine is.
    assert seeds == sorted(seeds, key=len)
    assert receiver.bodies.empty()


def test_an_unknown_event_is_refused(client: TestClient) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_events_filter": ["ended"]})
    assert answer.status_code == 422


def test_nothing_chosen_means_the_end_alone(client: TestClient, receiver: FakeReceiver) -> None:
    body = {**SMALL, "webhook_url": receiver.url, "webhook_events_filter": []}
    client.post(URL, json=body)
    assert receiver.next()["type"] == "job.completed"


def test_messages_are_signed_by_every_secret_as_receivers_verify_it(
    make_client: MakeClient, receiver: FakeReceiver
) -> None:
    secrets = [base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 50)]
    client = make_client(webhook_secrets=tuple(base64.b64decode(text) for text in secrets))
    client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    receiver.next()
    ((headers, raw),) = receiver.seen
    lower = {name.lower(): value for name, value in headers.items()}
    for secret in secrets:
        assert Webhook(f"whsec_{secret}").verify(raw, lower)["type"] == "job.completed"
    other = base64.b64encode(bytes(32)).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(f"whsec_{other}").verify(raw, lower)
    assert lower["webhook-id"].startswith("msg_")
    assert "." not in lower["webhook-id"]


def test_without_a_secret_there_are_no_signature_headers(
    client: TestClient, receiver: FakeReceiver
) -> None:
    client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    receiver.next()
    ((headers, _),) = receiver.seen
    assert not any(name.lower().startswith("webhook-") for name in headers)
