"""Jobs outlive the process: servers that are killed, and what is there after the next start."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from fooocusapi.cli import PROJECT_ROOT, RESTART_WANTED
from tests.conftest import Start
from tests.deadline import wait_until
from tests.fakes import FakeReceiver
from tests.pictures import as_base64, encode, plain
from tests.servers import SMALL, TEXT_TO_IMAGE, Answer, Running


def accept(server: Running, **fields: Any) -> str:
    """Have a job accepted; its id."""
    return str(server.post(async_process=True, **fields)["job_id"])


def listed(server: Running) -> list[dict[str, Any]]:
    """All jobs, the oldest first."""
    jobs: list[dict[str, Any]] = server.request("GET", "/v1/generation/jobs").body["jobs"]
    return jobs[::-1]


def files(folder: Path, pattern: str = "*") -> list[str]:
    """Names of the files below a folder."""
    return sorted(path.name for path in folder.rglob(pattern) if path.is_file())


def test_f08_jobs_that_waited_wait_again_with_the_same_ids_and_in_the_same_order(
    start: Start,
) -> None:
    server = start(FAKE_HOLD="1")
    running = accept(server)
    server.wait_for("job .*: started")
    waiting = [accept(server, image_seed=seed) for seed in range(5)]
    server.kill()
    again = start(FAKE_HOLD="1")
    wait_until(lambda: listed(again)[0]["status"] == "running")
    assert [job["id"] for job in listed(again)] == [running, *waiting]
    assert [job["status"] for job in listed(again)[1:]] == ["queued"] * 5
    assert [job["attempt"] for job in listed(again)] == [2, 0, 0, 0, 0, 0]


def test_f09_a_job_that_ran_is_made_once_more_with_the_same_seed_and_no_half_file(
    start: Start, tmp_path: Path
) -> None:
    server = start(FAKE_HOLD="1", FAKE_PASSES="6")
    job_id = accept(server, image_number=2)
    (seed,) = {item["seed"] for item in wait_for_images(server, job_id)}
    server.kill()
    pictures = tmp_path / "out" / "files"
    (day,) = pictures.iterdir()
    (day / ".half.part").write_bytes(b"half")
    again = start()
    job = again.wait_for_end(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert [item["seed"] for item in job["images"]] == [seed, str(int(seed) + 1)]
    assert files(pictures, "*.p*") == [f"{job_id}-0.png", f"{job_id}-1.png"]


def wait_for_images(server: Running, job_id: str) -> list[dict[str, Any]]:
    """The pictures of a job as soon as it has any."""
    wait_until(lambda: bool(server.job(job_id)["images"]))
    images: list[dict[str, Any]] = server.job(job_id)["images"]
    return images


def test_f09_a_job_that_ran_fails_at_once_if_one_attempt_is_all_it_has(start: Start) -> None:
    server = start(FAKE_HOLD="1")
    job_id = accept(server)
    server.wait_for("job .*: started")
    server.kill()
    job = start("--max-attempts", "1").job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "interrupted")


def test_f10_a_job_that_ends_the_process_each_time_is_given_up_and_the_queue_goes_on(
    start: Start,
) -> None:
    server = start()
    deadly = accept(server, prompt="deadly")
    server.wait()
    server = start()
    server.wait()
    server = start()
    job = server.job(deadly)
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 2, "poisoned")
    legacy = server.request("GET", f"/v1/generation/query-job?job_id={deadly}").body
    assert legacy["job_stage"] == "ERROR"
    assert server.post()[0]["finish_reason"] == "SUCCESS"


def test_inputs_are_kept_until_their_job_ends_and_give_the_same_picture(
    start: Start, tmp_path: Path, picture_models: None
) -> None:
    server = start(FAKE_HOLD="1")
    fields = {**SMALL, "async_process": True, "input_image": as_base64(encode(plain(64, 64)))}
    path = "/v2/generation/image-upscale-vary"
    body = {**fields, "uov_method": "Vary (Subtle)", "image_seed": 3}
    job_id = server.request("POST", path, body).body["job_id"]
    server.wait_for("job .*: started")
    server.kill()
    inputs = tmp_path / "out" / "inputs"
    assert files(inputs / job_id) == ["0.npy"]
    (inputs / "of nobody").mkdir()
    again = start()
    assert again.wait_for_end(job_id)["status"] == "succeeded"
    again.stop()
    assert again.wait() == 0
    assert list(inputs.iterdir()) == []


def test_f12_a_full_disk_fails_the_job_and_leaves_no_file_and_is_got_over(
    start: Start, tmp_path: Path
) -> None:
    server = start(FAKE_FILE_LIMIT="600000")
    job_id = accept(server, prompt="noise", aspect_ratios_selection="512*512")
    job = server.wait_for_end(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "storage_full")
    assert "could not be saved" in job["error"]["message"]
    assert files(tmp_path / "out" / "files", "*.p*") == []
    # A small picture fits.
    assert server.post()[0]["finish_reason"] == "SUCCESS"


def test_f13_a_folder_of_pictures_that_was_deleted_is_made_again(
    start: Start, tmp_path: Path
) -> None:
    server = start()
    server.post()
    pictures = tmp_path / "out" / "files"
    for day in pictures.iterdir():
        for path in day.iterdir():
            path.unlink()
        day.rmdir()
    pictures.rmdir()
    assert server.post()[0]["finish_reason"] == "SUCCESS"


def test_f13_where_nothing_can_be_written_the_job_fails_and_the_next_one_is_made(
    start: Start, tmp_path: Path
) -> None:
    server = start()
    pictures = tmp_path / "out" / "files"
    pictures.touch()
    assert server.post()[0]["finish_reason"] == "ERROR"
    (job,) = listed(server)
    assert job["error"]["code"] == "storage_full"
    pictures.unlink()
    assert server.post()[0]["finish_reason"] == "SUCCESS"


def test_f14_a_locked_store_is_waited_for(start: Start, tmp_path: Path) -> None:
    server = start()
    lock = sqlite3.connect(
        tmp_path / "out" / "database.db", isolation_level=None, check_same_thread=False
    )
    lock.execute("BEGIN IMMEDIATE")
    unlock = threading.Timer(2, lock.execute, ["COMMIT"])
    unlock.start()
    assert server.post()[0]["finish_reason"] == "SUCCESS"
    unlock.join()
    lock.close()


def test_f14_a_damaged_store_is_moved_aside_and_told_of(start: Start, tmp_path: Path) -> None:
    outputs = tmp_path / "out"
    outputs.mkdir()
    (outputs / "database.db").write_bytes(b"this is no database" * 1000)
    server = start()
    assert "is damaged; it was moved aside" in "".join(server.lines)
    assert len(list(outputs.glob("database.db.damaged-*"))) == 1
    assert server.post()[0]["finish_reason"] == "SUCCESS"


def test_f22_what_a_receiver_did_not_take_is_told_after_a_crash_under_the_same_id(
    start: Start,
) -> None:
    receiver = FakeReceiver()
    receiver.hold.clear()
    secret = "whsec_" + 32 * "A"
    server = start("--webhook-url", receiver.url, "--webhook-secret", secret)
    job_id = accept(server)
    wait_until(lambda: len(receiver.seen) == 1)
    server.kill()
    receiver.hold.set()
    again = start("--webhook-url", receiver.url, "--webhook-secret", secret)
    wait_until(lambda: len(receiver.seen) == 2)
    first, second = (Webhook(secret).verify(raw, headers) for headers, raw in receiver.seen)
    assert first == second
    assert first["job_id"] == job_id
    (one,) = {headers["webhook-id"] for headers, _ in receiver.seen}
    path = f"/v1/webhooks/deliveries?job_id={job_id}"
    wait_until(lambda: again.request("GET", path).body["deliveries"][0]["status"] == "delivered")
    assert [told["id"] for told in again.request("GET", path).body["deliveries"]] == [one]
    receiver.close()


def test_decision_d19_the_history_shows_earlier_runs_only_if_it_is_to(start: Start) -> None:
    def look(server: Running) -> tuple[Answer, list[dict[str, Any]]]:
        assert server.job(job_id)["status"] == "succeeded"
        history = server.request("GET", "/v1/generation/job-history").body["history"]
        return server.request("GET", f"/v1/generation/query-job?job_id={job_id}"), history

    server = start()
    job_id = accept(server, prompt="a hat")
    server.wait_for_end(job_id)
    server.kill()
    forgetful = start()
    old, history = look(forgetful)
    assert (old.status, history) == (404, [])
    forgetful.kill()
    old, history = look(start("--persistent"))
    assert (old.status, old.body["job_stage"]) == (200, "SUCCESS")
    (entry,) = history
    assert entry["job_id"] == job_id
    assert entry["params"]["prompt"] == "a hat"
    assert entry["task_info"]["task_id"] == job_id
    assert entry["task_info"]["result_url"] == old.body["job_result"][0]["url"]
    assert entry["task_info"]["finish_reason"] == "SUCCESS"


def test_a_key_is_known_after_a_crash(start: Start) -> None:
    server = start()
    first = server.request("POST", TEXT_TO_IMAGE, SMALL, idempotency_key="k")
    server.kill()
    again = start().request("POST", TEXT_TO_IMAGE, SMALL, idempotency_key="k")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["X-Fooocus-Job-Id"] == first.headers["X-Fooocus-Job-Id"]


def test_f38_a_second_server_on_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    server = start(FAKE_HOLD="1")
    job_id = accept(server)
    command = [sys.executable, "-m", "tests.run_fake", "--port", "0"]
    second = subprocess.run(
        [*command, "--output-path", str(tmp_path / "out")],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "another server uses the output folder" in second.stderr
    assert "Traceback" not in second.stderr
    assert server.job(job_id)["attempt"] == 1


def test_a_cancel_that_was_answered_outlives_a_crash(start: Start) -> None:
    # Holds still before every step but after the check of the token, as a long step does.
    server = start(FAKE_PACE="30")
    job_id = accept(server)
    wait_until(lambda: server.job(job_id)["status"] == "running")
    answer = server.request("POST", f"/v1/generation/jobs/{job_id}/cancel")
    assert answer.status == 200
    server.kill()
    assert start().job(job_id)["status"] == "canceled"


def test_f14_a_store_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_fake", "--port", "0", "--output-path", str(tmp_path)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FOOOCUS_DB_CONF": "nodialect://u:secret@host/jobs"},
    )
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_f05_a_server_with_a_run_that_hangs_ends_for_whoever_starts_it_again(
    start: Start,
) -> None:
    server = start("--step-timeout", "0.5", FAKE_PACE="60")
    hung, waiting = accept(server), accept(server)
    assert server.wait() == RESTART_WANTED
    again = start()
    assert again.job(hung)["error"]["code"] == "timeout"
    assert again.wait_for_end(waiting)["status"] == "succeeded"


def test_f06_a_server_whose_device_has_failed_ends_and_keeps_what_waits(start: Start) -> None:
    server = start()
    failed, waiting = accept(server, prompt="device"), accept(server)
    assert server.wait() == RESTART_WANTED
    again = start()
    assert again.job(failed)["error"]["code"] == "device_failed"
    assert again.wait_for_end(waiting)["status"] == "succeeded"
