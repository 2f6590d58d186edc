"""Idempotency-Key and Prefer on the routes that make jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocusapi.preferences import read_prefer
from tests.conftest import MakeClient
from tests.fakes import STEPS, FakeEngine, Script
from tests.keys import KEYS, as_
from tests.pictures import encode, plain

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def post(client: TestClient, key: str, **fields: Any) -> Any:
    return client.post(URL, json={**SMALL, **fields}, headers={"idempotency-key": key})


def test_the_same_request_under_the_same_key_is_the_same_job(
    client: TestClient, engine: FakeEngine
) -> None:
    first, again = post(client, "k"), post(client, "k")
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-fooocus-job-id"] == first.headers["x-fooocus-job-id"]
    assert again.json() == first.json()
    assert len(engine.asked) == 1


def test_a_job_that_still_runs_is_waited_for_by_both(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    post(client, "k", async_process=True)
    engine.gate.wait_for_step()
    again = post(client, "k", async_process=True).json()
    assert again["job_stage"] == "RUNNING"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(
            client.post,
            URL,
            json={**SMALL, "async_process": True},
            headers={"idempotency-key": "k", "prefer": "respond-async"},
        )
        assert waiting.result().status_code == 202
        engine.gate.open(STEPS)
    assert len(engine.asked) == 1


def test_another_request_under_the_same_key_is_refused(client: TestClient) -> None:
    post(client, "k")
    answer = post(client, "k", prompt="other")
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert isinstance(answer.json()["detail"], str)


def test_a_request_that_was_refused_does_not_use_up_its_key(client: TestClient) -> None:
    assert post(client, "k", image_number=0).status_code == 422
    assert post(client, "k", image_number=1).status_code == 200


def test_keys_are_those_of_one_route_and_one_api_key(make_client: MakeClient) -> None:
    client = make_client(api_keys=KEYS)
    ids = [
        client.post(URL, json={**SMALL}, headers={"idempotency-key": "k", **headers}).headers[
            "x-fooocus-job-id"
        ]
        for headers in (as_("anna"), as_("bert"), {"authorization": "Bearer anna"})
    ]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"], ids=["empty", "long", "control"])
def test_b59_malformed_keys_are_refused(client: TestClient, key: str) -> None:
    answer = post(client, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_f28_one_job_is_made_of_the_same_key_from_20_threads(
    client: TestClient, engine: FakeEngine
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(client, "k"), range(20)))
    made = [answer for answer in answers if answer.status_code == 200]
    early = [answer for answer in answers if answer.status_code == 409]
    assert len(made) + len(early) == 20
    assert len({answer.headers["x-fooocus-job-id"] for answer in made}) == 1
    assert {answer.json()["code"] for answer in early} <= {"idempotency_in_progress"}
    assert {answer.headers["retry-after"] for answer in early} <= {"1"}
    assert len(engine.asked) == 1


def test_uploads_are_told_apart_by_their_content(
    client: TestClient, engine: FakeEngine, picture_models: None
) -> None:
    def send(colour: str) -> Any:
        return client.post(
            "/v1/generation/image-upscale-vary",
            data={"uov_method": "Vary (Subtle)", "style_selections": "", "loras": "[]"},
            files={"input_image": encode(plain(64, 64, colour))},
            headers={"idempotency-key": "k"},
        )

    assert send("red").status_code == 200
    again = send("red")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert send("blue").status_code == 422


def test_who_prefers_it_is_answered_at_once(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    answer = client.post(URL, json=SMALL, headers={"prefer": "respond-async"})
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.headers["location"] == f"/v1/generation/jobs/{job_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert client.get(answer.headers["location"]).json()["id"] == job_id
    engine.gate.open(STEPS)


def test_who_waits_for_a_while_is_answered_with_the_job_after_it(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    early = client.post(URL, json=SMALL, headers={"prefer": "wait=0"})
    assert (early.status_code, early.headers["preference-applied"]) == (202, "wait=0")
    assert early.json()["job_id"] in early.headers["location"]
    engine.gate.open(STEPS)
    done = client.post(URL, json=SMALL, headers={"prefer": "wait=30"})
    assert (done.status_code, done.headers["preference-applied"]) == (200, "wait=30")
    assert done.json()[0]["finish_reason"] == "SUCCESS"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], (False, None)),
        (["respond-async"], (True, None)),
        (["Respond-Async, wait=10"], (True, 10)),
        (["handling=lenient; wait = 5"], (False, 5)),
        (["wait=5", "wait=7"], (False, 5)),
        (["wait=999999"], (False, 3600)),
        (["wait=-1"], (False, None)),
        (["wait=soon", "return=minimal"], (False, None)),
        (["wait=" + "9" * 5000], (False, None)),
        (["wait=١"], (False, None)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_b60_what_is_not_understood_of_prefer_is_left_out(
    texts: list[str], expected: tuple[bool, int | None]
) -> None:
    assert read_prefer(texts) == expected
