"""query-job, job-queue, job-history and stop."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.config import CoreConfig
from tests.conftest import MakeClient
from tests.deadline import wait_until
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
NOT_FOUND = {
    "job_id": "",
    "job_type": "Not Found",
    "job_stage": "ERROR",
    "job_progress": 0,
    "job_status": "Job not found",
    "job_step_preview": None,
    "job_result": None,
}


def start(client: TestClient, **fields: object) -> str:
    answer = client.post(URL, json={**SMALL, "async_process": True, **fields})
    return str(answer.json()["job_id"])


def query(client: TestClient, job_id: str, **params: Any) -> dict[str, Any]:
    answer = client.get("/v1/generation/query-job", params={"job_id": job_id, **params})
    assert answer.status_code == 200
    job: dict[str, Any] = answer.json()
    return job


def wait(client: TestClient) -> None:
    """Let everything that was accepted so far end: a job behind it has to wait for it."""
    client.post(URL, json=SMALL)


def test_defect_b1_job_goes_from_waiting_over_running_to_success(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True), Script(gated=True))
    first, second = start(client), start(client, image_seed=4)
    seen = []
    for step in range(STEPS):
        assert engine.gate.wait_for_step().step == step
        job = query(client, first)
        assert job["job_stage"] == "RUNNING"
        assert job["job_status"] == f"Step {step}/{STEPS} in the 1-th Sampling"
        assert query(client, second)["job_stage"] == "WAITING"
        seen.append(job["job_progress"])
        engine.gate.open()
    assert seen == [15, 36, 57, 78]
    engine.gate.open(STEPS)
    wait(client)
    job = query(client, second)
    assert (job["job_stage"], job["job_progress"], job["job_status"]) == (
        "SUCCESS",
        100,
        "Finished",
    )
    assert [item["seed"] for item in job["job_result"]] == ["4"]


def test_progress_of_several_pictures_counts_all_their_steps(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    job_id = start(client, image_number=2)
    seen = []
    for _ in range(2 * STEPS):
        engine.gate.wait_for_step()
        seen.append(query(client, job_id)["job_progress"])
        engine.gate.open()
    assert seen == [15, 25, 36, 46, 57, 68, 78, 89]


@pytest.mark.parametrize("spelling", ["require_step_preview", "require_step_preivew"])
def test_client_asks_for_previews_under_either_name(
    client: TestClient, engine: FakeEngine, spelling: str
) -> None:
    engine.play(Script(gated=True))
    job_id = start(client)
    engine.gate.wait_for_step()
    assert query(client, job_id)["job_step_preview"] is None
    text = query(client, job_id, **{spelling: "true"})["job_step_preview"]
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert (picture.format, picture.size) == ("PNG", (32, 16))
    engine.gate.open(STEPS)
    wait(client)
    assert query(client, job_id, **{spelling: "true"})["job_step_preview"] is None


def test_no_preview_when_it_is_disabled(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    job_id = start(client, advanced_params={"disable_preview": True})
    engine.gate.wait_for_step()
    assert query(client, job_id, require_step_preview=True)["job_step_preview"] is None


def test_finished_job_carries_base64_if_asked_for(client: TestClient) -> None:
    job_id = start(client, require_base64=True)
    wait(client)
    (item,) = query(client, job_id)["job_result"]
    assert item["base64"].startswith("data:image/png;base64,")


def test_base64_of_a_removed_file_is_null(client: TestClient, core: CoreConfig) -> None:
    job_id = start(client, require_base64=True)
    wait(client)
    next(core.folders.outputs.rglob(f"{job_id}-0.png")).unlink()
    answer = client.get("/v1/generation/query-job", params={"job_id": job_id})
    assert answer.json()["job_result"][0]["base64"] is None
    assert "removed" in answer.headers["X-Fooocus-Warning"]


def test_decision_d18_failed_job_tells_why(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(failure=KeyboardInterrupt("now")))
    job_id = start(client, image_seed=11)
    wait(client)
    job = query(client, job_id)
    assert job["job_stage"] == "ERROR"
    assert job["job_status"] == "Failed: KeyboardInterrupt: now"
    assert job["job_result"] == [
        {"base64": None, "url": None, "seed": "11", "finish_reason": "ERROR"}
    ]


def test_b56_unknown_job_is_404_with_a_job_object(client: TestClient) -> None:
    answer = client.get("/v1/generation/query-job", params={"job_id": "' or 1=1--"})
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_b56_query_without_a_job_id_is_422(client: TestClient) -> None:
    answer = client.get("/v1/generation/query-job")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "job_id"]


@pytest.mark.parametrize("path", ["/v1/generation/job-queue", "/v1/engines/job-queue"])
def test_queue_sizes_under_either_path(client: TestClient, engine: FakeEngine, path: str) -> None:
    assert client.get(path).json() == {
        "running_size": 0,
        "finished_size": 0,
        "last_job_id": None,
    }
    wait(client)
    engine.play(Script(gated=True))
    start(client)
    last = start(client)
    engine.gate.wait_for_step()
    assert client.get(path).json() == {
        "running_size": 2,
        "finished_size": 1,
        "last_job_id": last,
    }


def history(client: TestClient, **params: Any) -> dict[str, list[dict[str, Any]]]:
    answer = client.get("/v1/generation/job-history", params=params)
    assert answer.status_code == 200
    entries: dict[str, list[dict[str, Any]]] = answer.json()
    return entries


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["job_id"] for entry in entries]


def test_history_lists_the_unfinished_and_the_finished(
    client: TestClient, engine: FakeEngine
) -> None:
    # Said before anything runs: a run takes its script when it begins, which may be any time later.
    engine.play(Script(), Script(), Script(gated=True))
    done = start(client)
    wait(client)
    running, waiting = start(client), start(client)
    engine.gate.wait_for_step()
    entries = history(client)
    assert ids(entries["queue"]) == [running, waiting]
    assert ids(entries["history"])[0] == done
    finished, begun, queued = entries["history"][0], *entries["queue"]
    assert finished["is_finished"] is True
    assert 0 < finished["in_queue_mills"] <= finished["start_mills"] <= finished["finish_mills"]
    assert begun["start_mills"] > 0
    assert (begun["finish_mills"], begun["is_finished"]) == (0, False)
    assert queued["start_mills"] == 0
    assert history(client, job_id=waiting) == {"queue": [queued], "history": []}
    assert history(client, job_id="nobody") == {"queue": [], "history": []}


def test_history_pages_have_the_newest_first(client: TestClient) -> None:
    for _ in range(5):
        wait(client)
    oldest_first = ids(history(client)["history"])
    newest_first = oldest_first[::-1]
    assert len(newest_first) == 5
    assert ids(history(client, page=0, page_size=2)["history"]) == newest_first[:2]
    assert ids(history(client, page=2, page_size=2)["history"]) == newest_first[4:]
    assert ids(history(client, page=1)["history"]) == []


def test_a_job_is_found_in_the_history_whatever_page_it_would_be_on(client: TestClient) -> None:
    for _ in range(3):
        wait(client)
    oldest = ids(history(client)["history"])[0]
    assert ids(history(client, job_id=oldest, page=0, page_size=1)["history"]) == [oldest]
    assert ids(history(client, job_id=oldest, page=1, page_size=1)["history"]) == []


def test_b58_deleting_a_job_removes_it_and_its_files(client: TestClient, core: CoreConfig) -> None:
    job_id = start(client)
    wait(client)
    assert len(list(Path(core.folders.outputs).rglob("*.png"))) == 2
    deleted = client.get(f"/v1/generation/job-history?delete=true&job_id={job_id}")
    assert (deleted.status_code, deleted.json()) == (200, {"message": "Deleted"})
    assert len(list(Path(core.folders.outputs).rglob("*.png"))) == 1
    assert ids(history(client, job_id=job_id)["history"]) == []
    again = client.get(f"/v1/generation/job-history?delete=true&job_id={job_id}")
    assert again.status_code == 404
    assert again.json() == {"message": "Not found", "detail": "Not found"}


def test_b58_deleting_an_unfinished_job_is_refused(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    running, waiting = start(client), start(client)
    engine.gate.wait_for_step()
    for job_id in (running, waiting):
        answer = client.get(f"/v1/generation/job-history?delete=true&job_id={job_id}")
        assert answer.status_code == 409


def test_deleting_without_a_job_id_is_422(client: TestClient) -> None:
    answer = client.get("/v1/generation/job-history?delete=true")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "job_id"]


def test_jobs_beyond_the_history_limit_go_with_their_files(
    make_client: MakeClient, core: CoreConfig
) -> None:
    client = make_client(queue_history=2)
    for _ in range(4):
        wait(client)
    wait_until(lambda: len(history(client)["history"]) == 2)
    wait_until(lambda: len(list(Path(core.folders.outputs).rglob("*.png"))) == 2)


def test_f25_stop_ends_the_running_job_within_a_step_and_no_other(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    running, waiting = start(client, image_seed=6), start(client)
    engine.gate.wait_for_step()
    answer = client.post("/v1/generation/stop")
    assert (answer.status_code, answer.json()) == (200, {"msg": "success"})
    wait(client)
    job = query(client, running)
    assert (job["job_stage"], job["job_status"]) == ("ERROR", "User cancelled")
    assert job["job_result"] == [
        {"base64": None, "url": None, "seed": "6", "finish_reason": "USER_CANCEL"}
    ]
    assert query(client, waiting)["job_stage"] == "SUCCESS"


def test_stop_keeps_pictures_that_were_finished(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    job_id = start(client, image_number=3)
    engine.gate.open(STEPS)
    for _ in range(STEPS + 1):
        engine.gate.wait_for_step()
    client.post("/v1/generation/stop", content=b"anything at all")
    wait(client)
    job = query(client, job_id)
    assert (job["job_stage"], job["job_progress"]) == ("SUCCESS", 100)
    assert [item["finish_reason"] for item in job["job_result"]] == ["SUCCESS"]


def test_defect_b7_stop_with_nothing_running_does_not_hit_the_next_job(client: TestClient) -> None:
    assert client.post("/v1/generation/stop").json() == {"msg": "success"}
    assert client.post(URL, json=SMALL).json()[0]["finish_reason"] == "SUCCESS"


@pytest.mark.parametrize(
    ("accept", "status", "body"),
    [("*/*", 200, '"USER_CANCEL"'), ("image/png", 400, "USER_CANCEL")],
    ids=["list", "png"],
)
def test_stopped_caller_is_told(
    client: TestClient, engine: FakeEngine, accept: str, status: int, body: str
) -> None:
    engine.play(Script(gated=True))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.post, URL, json=SMALL, headers={"accept": accept})
        engine.gate.wait_for_step()
        client.post("/v1/generation/stop")
        answer = waiting.result(timeout=30)
    assert answer.status_code == status
    assert body in answer.text


def test_f37_defect_b18_control_routes_answer_while_many_callers_wait(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(queue_size=200)
    engine.play(Script(gated=True))
    with ThreadPoolExecutor(max_workers=200) as pool:
        callers = [pool.submit(client.post, URL, json=SMALL) for _ in range(200)]
        engine.gate.wait_for_step()
        deadline = time.monotonic() + WAIT_S
        while (sizes := client.get("/v1/generation/job-queue").json())["running_size"] < 200:
            assert time.monotonic() < deadline
        assert client.get("/ping").json() == "pong"
        assert query(client, sizes["last_job_id"])["job_stage"] == "WAITING"
        assert client.post("/v1/queue/clear").json()["canceled"] == 199
        assert client.post("/v1/generation/stop").json() == {"msg": "success"}
        answers = [caller.result(timeout=30) for caller in callers]
    assert {answer.json()[0]["finish_reason"] for answer in answers} == {"USER_CANCEL"}


def test_f37_job_is_told_of_although_all_shared_threads_are_taken(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.play(Script(gated=True))
    job_id = start(client, require_base64=True)
    engine.gate.wait_for_step()
    release = threading.Event()

    async def take_threads() -> None:
        await asyncio.gather(*(asyncio.to_thread(release.wait, WAIT_S) for _ in range(50)))

    assert client.portal is not None
    taken = client.portal.start_task_soon(take_threads)
    try:
        began = time.monotonic()
        assert query(client, job_id, require_step_preview=True)["job_step_preview"] is not None
        assert time.monotonic() - began < WAIT_S / 2
    finally:
        release.set()
        taken.result(timeout=WAIT_S)


def test_warnings_of_the_run_reach_who_asks_and_the_log(
    client: TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.play(Script(warning="LoRA of another family left out"))
    job_id = start(client)
    wait(client)
    answer = client.get("/v1/generation/query-job", params={"job_id": job_id})
    assert answer.headers["X-Fooocus-Warning"] == "LoRA of another family left out"
    assert f"job {job_id}: LoRA of another family left out" in caplog.text


def test_a_file_is_kept_until_its_waiting_caller_has_it(
    make_client: MakeClient, core: CoreConfig
) -> None:
    client = make_client(queue_history=1)
    with ThreadPoolExecutor(max_workers=20) as pool:
        callers = [
            pool.submit(client.post, URL, json=SMALL, headers={"accept": "image/png"})
            for _ in range(20)
        ]
        statuses = [caller.result(timeout=30).status_code for caller in callers]
    assert statuses == [200] * 20
    wait_until(lambda: len(list(core.folders.outputs.rglob("*.png"))) == 1)
