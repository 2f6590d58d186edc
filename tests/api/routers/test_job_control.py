"""The additive job routes: list, look, cancel, skip, retry, delete; pause, resume, clear."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig
from fooocus_core.errors import ModelFileError
from tests.conftest import MakeClient
from tests.deadline import wait_until
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script
from tests.pictures import as_base64, encode, plain

URL = "/v1/generation/text-to-image"
JOBS = "/v1/generation/jobs"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def start(client: TestClient, **fields: object) -> str:
    answer = client.post(URL, json={**SMALL, "async_process": True, **fields})
    return str(answer.json()["job_id"])


def job(client: TestClient, job_id: str) -> dict[str, Any]:
    answer = client.get(f"{JOBS}/{job_id}")
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def wait_for_end(client: TestClient, job_id: str) -> dict[str, Any]:
    wait_until(lambda: job(client, job_id)["finished_at"] is not None)
    return job(client, job_id)


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == answer.status_code
    assert content["instance"] == answer.request.url.path
    assert set(content) >= {"type", "title", "status", "detail", "instance", "code"}
    return answer.status_code, content["code"]


def test_a_job_is_told_of_from_its_acceptance_to_its_end(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True, warning="something left out"))
    first, second = start(client, image_seed=7), start(client)
    engine.gate.wait_for_step()
    running, queued = job(client, first), job(client, second)
    assert (running["status"], running["attempt"], running["images"]) == ("running", 1, [])
    assert (queued["status"], queued["attempt"], queued["started_at"]) == ("queued", 0, None)
    engine.gate.open(STEPS)
    done = wait_for_end(client, first)
    assert (done["status"], done["progress"], done["error"]) == ("succeeded", 100, None)
    assert done["warnings"] == ["something left out"]
    (image,) = done["images"]
    assert image["seed"] == "7"
    assert client.get(image["url"]).status_code == 200
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


def test_a_failed_job_tells_its_code(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(failure=ModelFileError("x.safetensors is cut off")))
    done = wait_for_end(client, start(client))
    assert done["status"] == "failed"
    assert done["error"] == {"code": "model_corrupt", "message": "x.safetensors is cut off"}


def test_jobs_are_listed_by_pages_the_newest_first(client: TestClient) -> None:
    ids = [start(client) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(JOBS, params={"limit": 2, **cursor}).json()
        seen += [entry["id"] for entry in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids[::-1]


def test_jobs_are_listed_by_status_and_type(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(), Script(failure=ValueError("x")), Script(gated=True))
    succeeded, failed, running, queued = (start(client) for _ in range(4))
    engine.gate.wait_for_step()
    client.post(f"{JOBS}/{queued}/cancel")

    def listed(**params: Any) -> list[str]:
        return [entry["id"] for entry in client.get(JOBS, params=params).json()["jobs"]]

    assert listed(status="succeeded") == [succeeded]
    assert listed(status="failed") == [failed]
    assert listed(status="running") == [running]
    assert listed(status="starting") == listed(status="expired") == listed(status="queued") == []
    assert listed(status="canceled") == [queued]
    assert listed(status=["succeeded", "failed"]) == [failed, succeeded]
    assert len(listed(type="Text to Image")) == 4
    assert listed(type="Image Prompt") == []


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 501},
        {"limit": "a"},
        {"cursor": "-1"},
        {"cursor": "x"},
        {"cursor": "9" * 30},
        {"status": "done"},
        {"type": "Picture"},
    ],
    ids=str,
)
def test_b57_bad_pages_are_refused_as_problems(client: TestClient, params: dict[str, Any]) -> None:
    answer = client.get(JOBS, params=params)
    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["loc"][:2] == ["query", next(iter(params))]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/{id}"),
        ("POST", "/{id}/cancel"),
        ("POST", "/{id}/skip"),
        ("POST", "/{id}/retry"),
        ("DELETE", "/{id}"),
    ],
)
@pytest.mark.parametrize("job_id", ["nobody", "' or 1=1--", "x" * 5000], ids=["id", "sql", "long"])
def test_b56_an_unknown_job_is_a_404_problem(
    client: TestClient, method: str, path: str, job_id: str
) -> None:
    answer = client.request(method, JOBS + path.format(id=job_id))
    assert problem(answer) == (404, "job_not_found")


def test_a_key_is_wanted_on_the_additive_routes_and_its_lack_is_a_problem(
    make_client: MakeClient,
) -> None:
    client = make_client(apikey="k" * 20)
    assert problem(client.get(JOBS)) == (403, "forbidden")
    assert client.get(JOBS, headers={"x-api-key": "k" * 20}).status_code == 200


def test_f25_cancelling_a_waiting_job_ends_it_at_once_and_no_other(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    running, waiting, other = (start(client) for _ in range(3))
    engine.gate.wait_for_step()
    answer = client.post(f"{JOBS}/{waiting}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert client.post(f"{JOBS}/{waiting}/cancel").status_code == 200
    engine.gate.open(STEPS)
    assert wait_for_end(client, running)["status"] == "succeeded"
    assert wait_for_end(client, other)["status"] == "succeeded"
    legacy = client.get("/v1/generation/query-job", params={"job_id": waiting}).json()
    assert (legacy["job_stage"], legacy["job_status"]) == ("ERROR", "User cancelled")


@pytest.mark.parametrize("path", ["/v1/generation/stop?job_id={id}", JOBS + "/{id}/cancel"])
def test_f25_cancelling_the_running_job_by_its_id_ends_it_and_no_other(
    client: TestClient, engine: FakeEngine, path: str
) -> None:
    engine.play(Script(gated=True))
    running, other = start(client), start(client)
    engine.gate.wait_for_step()
    assert client.post(path.format(id=running)).status_code == 200
    assert wait_for_end(client, running)["status"] == "canceled"
    assert wait_for_end(client, other)["status"] == "succeeded"


def test_a_cancelled_job_keeps_what_it_has_made(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    job_id = start(client, image_number=3)
    engine.gate.open(STEPS)
    wait_until(lambda: bool(job(client, job_id)["images"]))
    client.post(f"{JOBS}/{job_id}/cancel")
    done = wait_for_end(client, job_id)
    assert (done["status"], len(done["images"])) == ("canceled", 1)
    legacy = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
    assert (legacy["job_stage"], len(legacy["job_result"])) == ("SUCCESS", 1)


def test_an_ended_job_cannot_be_cancelled(client: TestClient) -> None:
    job_id = start(client)
    wait_for_end(client, job_id)
    assert problem(client.post(f"{JOBS}/{job_id}/cancel")) == (409, "job_finished")
    legacy = client.post("/v1/generation/stop", params={"job_id": job_id})
    assert (legacy.status_code, list(legacy.json())) == (409, ["detail"])
    assert client.post("/v1/generation/stop?job_id=nobody").status_code == 404


def test_skip_ends_one_picture_and_the_job_goes_on(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    job_id, waiting = start(client, image_number=2, image_seed=1), start(client)
    engine.gate.wait_for_step()
    assert problem(client.post(f"{JOBS}/{waiting}/skip")) == (409, "job_not_running")
    assert client.post(f"{JOBS}/{job_id}/skip").status_code == 200
    engine.gate.open(2 * STEPS)
    done = wait_for_end(client, job_id)
    assert (done["status"], [image["seed"] for image in done["images"]]) == ("succeeded", ["2"])
    assert problem(client.post(f"{JOBS}/{job_id}/skip")) == (409, "job_not_running")


def test_retry_asks_for_the_same_again(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(failure=ValueError("x")))
    failed = start(client, prompt="a hat", save_extension="webp")
    wait_for_end(client, failed)
    answer = client.post(f"{JOBS}/{failed}/retry")
    assert answer.status_code == 202
    retried = answer.json()["id"]
    assert answer.headers["location"] == f"{JOBS}/{retried}"
    assert retried != failed
    (image,) = wait_for_end(client, retried)["images"]
    assert image["url"].endswith(f"{retried}-0.webp")
    assert engine.asked[0] == engine.asked[1]


def test_retry_of_what_was_made_or_runs_is_refused(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(), Script(gated=True))
    made, running = start(client), start(client)
    engine.gate.wait_for_step()
    assert problem(client.post(f"{JOBS}/{made}/retry")) == (409, "job_finished")
    assert problem(client.post(f"{JOBS}/{running}/retry")) == (409, "job_not_finished")


def test_retry_of_a_job_whose_pictures_are_gone_is_refused(
    client: TestClient, engine: FakeEngine, picture_models: None
) -> None:
    engine.play(Script(failure=ValueError("x")))
    picture = as_base64(encode(plain(64, 64)))
    body = {**SMALL, "input_image": picture, "uov_method": "Vary (Subtle)", "async_process": True}
    answer = client.post("/v2/generation/image-upscale-vary", json=body)
    job_id = answer.json()["job_id"]
    wait_for_end(client, job_id)
    assert problem(client.post(f"{JOBS}/{job_id}/retry")) == (409, "inputs_gone")


def test_retry_under_a_key_makes_one_job(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(failure=ValueError("x")))
    failed = start(client)
    wait_for_end(client, failed)
    headers = {"idempotency-key": "again"}
    answers = [client.post(f"{JOBS}/{failed}/retry", headers=headers) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_b58_a_deleted_job_is_gone_with_its_files(
    client: TestClient, engine: FakeEngine, core: CoreConfig
) -> None:
    engine.play(Script(), Script(gated=True))
    job_id, running = start(client), start(client)
    engine.gate.wait_for_step()
    assert len(list(Path(core.folders.outputs).rglob("*.png"))) == 1
    answer = client.delete(f"{JOBS}/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert list(Path(core.folders.outputs).rglob("*.png")) == []
    assert problem(client.delete(f"{JOBS}/{job_id}")) == (404, "job_not_found")
    assert problem(client.delete(f"{JOBS}/{running}")) == (409, "job_not_finished")


def test_a_paused_queue_accepts_jobs_and_begins_none_until_it_is_resumed(
    client: TestClient, engine: FakeEngine
) -> None:
    assert client.post("/v1/queue/pause").json() == {"is_paused": True, "canceled": 0}
    job_id = start(client)
    # Served between jobs, so whatever could begin has begun by then.
    client.get("/v1/engines/clean_vram")
    assert (job(client, job_id)["status"], engine.asked) == ("queued", [])
    assert client.post("/v1/queue/resume").json() == {"is_paused": False, "canceled": 0}
    assert wait_for_end(client, job_id)["status"] == "succeeded"


def test_clearing_cancels_what_waits_and_not_what_runs(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    running, *waiting = (start(client) for _ in range(4))
    engine.gate.wait_for_step()
    assert client.post("/v1/queue/clear").json() == {"is_paused": False, "canceled": 3}
    assert {job(client, job_id)["status"] for job_id in waiting} == {"canceled"}
    engine.gate.open(STEPS)
    assert wait_for_end(client, running)["status"] == "succeeded"


def test_a_caller_who_waits_for_a_job_that_is_cancelled_is_told(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    start(client)
    engine.gate.wait_for_step()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.post, URL, json=SMALL)
        wait_until(lambda: len(client.get(JOBS).json()["jobs"]) == 2)
        newest = client.get(JOBS).json()["jobs"][0]["id"]
        client.post(f"{JOBS}/{newest}/cancel")
        answer = waiting.result(timeout=WAIT_S)
    assert [item["finish_reason"] for item in answer.json()] == ["USER_CANCEL"]
