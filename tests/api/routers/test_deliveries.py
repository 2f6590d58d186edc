"""What receivers were told, as callers see it, and telling it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.deadline import wait_until
from tests.fakes import FakeReceiver

URL = "/v1/generation/text-to-image"
DELIVERIES = "/v1/webhooks/deliveries"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    receiver = FakeReceiver()
    yield receiver
    receiver.close()


def told(client: TestClient, receiver: FakeReceiver) -> str:
    """Have a job made and told of; its id."""
    answer = client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    receiver.next()
    return answer.headers["X-Fooocus-Job-Id"]


def listed(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(DELIVERIES, params=params)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


def settled(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    wait_until(lambda: all(one["attempts"] for one in listed(client, **params)))
    return listed(client, **params)


def test_deliveries_are_listed_by_job_and_by_pages(
    client: TestClient, receiver: FakeReceiver
) -> None:
    ids = [told(client, receiver) for _ in range(3)]
    (one,) = settled(client, job_id=ids[1])
    assert (one["job_id"], one["type"], one["status"]) == (ids[1], "job.completed", "delivered")
    assert (one["url"], one["attempts"], one["last_status"]) == (receiver.url, 1, 200)
    assert (one["next_attempt_at"], one["last_error"]) == (None, None)
    first = client.get(DELIVERIES, params={"limit": 2}).json()
    rest = client.get(DELIVERIES, params={"cursor": first["next_cursor"]}).json()
    seen = [one["job_id"] for one in first["deliveries"] + rest["deliveries"]]
    assert (seen, rest["next_cursor"]) == (ids[::-1], None)
    assert listed(client, job_id="nobody") == []


def test_a_refused_delivery_is_kept_with_its_reason_and_can_be_sent_again_under_its_id(
    client: TestClient, receiver: FakeReceiver
) -> None:
    receiver.status = 410
    job_id = told(client, receiver)
    (gone,) = settled(client, job_id=job_id)
    assert (gone["status"], gone["last_status"]) == ("failed", 410)
    assert gone["last_error"] == "the receiver answered 410"
    receiver.status = 200
    answer = client.post(f"{DELIVERIES}/{gone['id']}/resend")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert receiver.next()["job_id"] == job_id
    wait_until(lambda: listed(client, job_id=job_id)[0]["status"] == "delivered")


def test_the_address_of_the_common_receiver_is_not_shown(
    make_client: MakeClient, receiver: FakeReceiver
) -> None:
    client = make_client(webhook_url=receiver.url)
    client.post(URL, json=SMALL)
    assert [one["url"] for one in listed(client)] == [None]


def test_resending_what_is_not_known_is_a_problem(client: TestClient) -> None:
    answer = client.post(f"{DELIVERIES}/msg_1/resend")
    assert (answer.status_code, answer.json()["code"]) == (404, "delivery_not_found")


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 501}, {"cursor": "x"}], ids=str)
def test_pages_out_of_range_are_refused(client: TestClient, params: dict[str, Any]) -> None:
    assert client.get(DELIVERIES, params=params).status_code == 422


def test_deliveries_go_with_their_job(client: TestClient, receiver: FakeReceiver) -> None:
    job_id = told(client, receiver)
    settled(client)
    client.delete(f"/v1/generation/jobs/{job_id}")
    assert listed(client) == []
