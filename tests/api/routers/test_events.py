"""Following a job by server-sent events."""

from __future__ import annotations

import base64
import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.deadline import wait_until
from tests.events import Frame, read_frames
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script

URL = "/v1/generation/text-to-image"
JOBS = "/v1/generation/jobs"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def begin(client: TestClient, **fields: object) -> str:
    answer = client.post(URL, json={**SMALL, "async_process": True, **fields})
    return str(answer.json()["job_id"])


def wait_for_end(client: TestClient, job_id: str) -> None:
    wait_until(lambda: client.get(f"{JOBS}/{job_id}").json()["finished_at"] is not None)


def events(client: TestClient, job_id: str, **options: Any) -> httpx.Response:
    return client.get(f"{JOBS}/{job_id}/events", **options)


def frames(answer: httpx.Response) -> list[Frame]:
    assert answer.status_code == 200
    return read_frames(answer.text)


def kinds(found: list[Frame]) -> list[str]:
    return [frame.event for frame in found]


def follow_to_the_end(
    client: TestClient, engine: FakeEngine, script: Script, **fields: Any
) -> tuple[str, list[Frame]]:
    """Have a gated job made that is followed from its first step on."""
    engine.play(script)
    job_id = begin(client, **fields)
    engine.gate.wait_for_step()
    with ThreadPoolExecutor() as pool:
        following: Future[httpx.Response] = pool.submit(events, client, job_id)
        wait_for_follower(client, job_id)
        engine.gate.open(2 * STEPS)
        return job_id, frames(following.result(WAIT_S))


def wait_for_follower(client: TestClient, job_id: str) -> None:
    streams = client.app.state.services.event_streams  # type: ignore[attr-defined]
    wait_until(lambda: streams.followers(job_id) > 0)


def test_a_job_is_followed_from_its_beginning_to_its_end(
    client: TestClient, engine: FakeEngine
) -> None:
    job_id, found = follow_to_the_end(
        client, engine, Script(gated=True, warning="odd"), image_number=2, image_seed=5
    )
    told = [kind for kind, _ in itertools.groupby(kinds(found), lambda kind: kind)]
    assert told[:4] == ["queued", "started", "progress", "warning"]
    assert told[-2:] == ["image", "completed"]
    assert kinds(found).count("image") == 2
    ids = [frame.id for frame in found if frame.id is not None]
    assert ids == sorted(set(ids))
    images = [frame.data for frame in found if frame.event == "image"]
    assert [(image["index"], image["seed"]) for image in images] == [(0, "5"), (1, "6")]
    assert client.get(images[0]["url"]).status_code == 200
    steps = [frame.data["progress"] for frame in found if frame.event == "progress"]
    assert steps == sorted(steps)
    assert found[-1].data == client.get(f"{JOBS}/{job_id}").json()
    assert found[0].data["status"] == "queued"
    (warning,) = [frame.data for frame in found if frame.event == "warning"]
    assert warning == {"message": "odd"}


def test_previews_are_pictures_and_can_be_left_out(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True))
    job_id = begin(client)
    engine.gate.wait_for_step()
    with ThreadPoolExecutor() as pool:
        with_previews = pool.submit(events, client, job_id)
        without = pool.submit(events, client, job_id, params={"previews": False})
        streams = client.app.state.services.event_streams  # type: ignore[attr-defined]
        wait_until(lambda: streams.followers(job_id) == 2)
        engine.gate.open(STEPS)
        found = frames(with_previews.result(WAIT_S))
        plain = frames(without.result(WAIT_S))
    (first, *_) = [frame.data for frame in found if frame.event == "preview"]
    assert base64.b64decode(first["image"]).startswith(b"\x89PNG")
    assert [frame for frame in found if frame.event != "preview"] == plain


@pytest.mark.parametrize(
    ("script", "kind"), [(Script(failure=ValueError("x")), "failed"), (Script(), "completed")]
)
def test_who_comes_late_gets_the_end_at_once(
    client: TestClient, engine: FakeEngine, script: Script, kind: str
) -> None:
    engine.play(script)
    job_id = begin(client)
    wait_for_end(client, job_id)
    (frame,) = frames(events(client, job_id))
    assert (frame.event, frame.data["id"]) == (kind, job_id)


def test_a_cancelled_job_ends_its_stream(client: TestClient, engine: FakeEngine) -> None:
    engine.play(Script(gated=True), Script(gated=True))
    begin(client)
    engine.gate.wait_for_step()
    waiting = begin(client)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(events, client, waiting)
        wait_for_follower(client, waiting)
        client.post(f"{JOBS}/{waiting}/cancel")
        assert kinds(frames(following.result(WAIT_S))) == ["queued", "canceled"]


def test_a_stream_goes_on_after_the_last_event_that_was_seen(
    client: TestClient, engine: FakeEngine
) -> None:
    job_id, found = follow_to_the_end(client, engine, Script(gated=True))
    place = len(found) // 2
    again = frames(events(client, job_id, headers={"Last-Event-ID": str(found[place].id)}))
    expected = [frame for frame in found[place + 1 :] if frame.event != "preview"]
    assert again == expected
    ended = events(client, job_id, headers={"Last-Event-ID": str(found[-1].id)})
    assert (ended.status_code, ended.content) == (204, b"")
    assert frames(events(client, job_id)) == found[-1:]


@pytest.mark.parametrize("last_id", ["abc", "9" * 18, "9" * 1000, "-1", "1.5", ""])
def test_b61_a_last_event_id_that_means_nothing_begins_anew(
    client: TestClient, engine: FakeEngine, last_id: str
) -> None:
    engine.play(Script(gated=True))
    job_id = begin(client)
    engine.gate.wait_for_step()
    with ThreadPoolExecutor() as pool:
        following = pool.submit(events, client, job_id, headers={"Last-Event-ID": last_id})
        wait_for_follower(client, job_id)
        engine.gate.open(STEPS)
        found = frames(following.result(WAIT_S))
    assert kinds(found)[0] == "queued"
    assert kinds(found)[-1] == "completed"


def test_events_that_are_gone_are_told_of_before_the_end(client: TestClient) -> None:
    job_id = begin(client)
    wait_for_end(client, job_id)
    found = frames(events(client, job_id, headers={"Last-Event-ID": "3"}))
    assert kinds(found) == ["error", "completed"]
    assert found[0].data["code"] == "events_gone"


def test_a_stream_is_neither_compressed_nor_kept_by_anybody(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client()
    engine.play(Script(warning="x" * 5000))
    job_id = begin(client)
    wait_for_end(client, job_id)
    answer = events(client, job_id, headers={"Accept-Encoding": "gzip"})
    assert len(answer.text) > 5000
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


def test_a_job_that_nobody_knows_is_a_problem(client: TestClient) -> None:
    answer = events(client, "nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
