"""Calls of the engine: on its thread, between two jobs, for as long as somebody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from fooocus_core.downloads import UPSCALER
from fooocus_core.errors import DeviceMemoryError
from fooocusapi.exceptions import ModelMissingError, QueueFullError, ServerStoppingError
from fooocusapi.jobs.worker import Engine
from fooocusapi.submit import Submitter
from tests.conftest import MakeClient
from tests.fakes import STEPS, WAIT_S, FakeEngine, Script

URL = "/v1/generation/text-to-image"
JOB = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


class Caller:
    """Somebody who waits for an answer, and may hang up."""

    def __init__(self) -> None:
        self.hangs_up = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self.hangs_up.wait()
        return {"type": "http.disconnect"}


def submitter_of(client: TestClient) -> Submitter:
    submitter: Submitter = client.app.state.services.submitter  # type: ignore[attr-defined]
    return submitter


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), WAIT_S))


@pytest.fixture
def submitter(client: TestClient) -> Submitter:
    return submitter_of(client)


@pytest.fixture
def busy(client: TestClient, engine: FakeEngine) -> FakeEngine:
    """An engine in the middle of a job, with another job waiting."""
    engine.play(Script(gated=True))
    for _ in range(2):
        client.post(URL, json={**JOB, "async_process": True})
    engine.gate.wait_for_step()
    return engine


async def queued(submitter: Submitter, calls: int) -> None:
    """Wait until so many calls wait in the queue."""
    while len(submitter.queue._calls) != calls:
        await asyncio.sleep(0.01)


def test_defect_b21_calls_run_on_the_thread_of_the_engine_between_two_jobs(
    submitter: Submitter, busy: FakeEngine
) -> None:
    seen: list[tuple[str, int, str]] = []

    def look(name: str) -> Callable[[Engine], str]:
        def function(engine: Engine) -> str:
            seen.append((name, len(busy.asked), threading.current_thread().name))
            return name.upper()

        return function

    async def test() -> None:
        waiting = []
        for number, name in enumerate("abc"):
            call = submitter.call(Caller().request, look(name))
            waiting.append(asyncio.ensure_future(call))
            await queued(submitter, number + 1)
        assert not any(task.done() for task in waiting)
        busy.gate.open(STEPS)
        assert await asyncio.gather(*waiting) == ["A", "B", "C"]

    run(test)
    assert seen == [(name, 1, "worker") for name in "abc"]


def test_a_caller_who_hangs_up_costs_the_engine_nothing(
    submitter: Submitter, busy: FakeEngine
) -> None:
    called: list[str] = []

    async def test() -> None:
        first, second = Caller(), Caller()
        gone = asyncio.ensure_future(submitter.call(first.request, lambda _: called.append("gone")))
        stays = asyncio.ensure_future(
            submitter.call(second.request, lambda _: called.append("stays"))
        )
        await queued(submitter, 2)
        first.hangs_up.set()
        with pytest.raises(ClientDisconnect):
            await gone
        busy.gate.open(STEPS)
        await stays

    run(test)
    assert called == ["stays"]


def test_a_caller_whose_handling_is_cancelled_costs_the_engine_nothing(
    submitter: Submitter, busy: FakeEngine
) -> None:
    called: list[str] = []

    async def test() -> None:
        call = submitter.call(Caller().request, lambda _: called.append("called"))
        waiting = asyncio.ensure_future(call)
        await queued(submitter, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        busy.gate.open(STEPS)
        await submitter.call(Caller().request, lambda _: None)

    run(test)
    assert called == []


def test_a_running_call_ends_although_its_caller_has_hung_up(submitter: Submitter) -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(engine: Engine) -> None:
        began.set()
        may_end.wait(WAIT_S)
        ended.set()

    async def test() -> None:
        caller = Caller()
        waiting = asyncio.ensure_future(submitter.call(caller.request, work))
        await asyncio.to_thread(began.wait, WAIT_S)
        caller.hangs_up.set()
        with pytest.raises(ClientDisconnect):
            await waiting
        may_end.set()
        await submitter.call(Caller().request, lambda _: None)

    run(test)
    assert ended.is_set()


def test_what_the_engine_raises_reaches_the_caller(submitter: Submitter) -> None:
    error = DeviceMemoryError("too large")

    def fail(engine: Engine) -> None:
        raise error

    async def test() -> None:
        with pytest.raises(DeviceMemoryError) as raised:
            await submitter.call(Caller().request, fail)
        assert raised.value is error

    run(test)


def test_a_missing_file_is_told_at_once(submitter: Submitter, busy: FakeEngine) -> None:
    async def test() -> None:
        with pytest.raises(ModelMissingError, match=rf"{UPSCALER.name}.*curl"):
            await submitter.call(Caller().request, lambda _: None, [UPSCALER])

    run(test)


def test_a_queue_full_of_jobs_takes_calls_and_a_limit_of_calls_refuses_more(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(queue_size=1)
    submitter = submitter_of(client)
    engine.play(Script(gated=True))
    client.post(URL, json={**JOB, "async_process": True})
    engine.gate.wait_for_step()
    full = client.post(URL, json=JOB).json()

    async def test() -> None:
        waiting = asyncio.ensure_future(submitter.call(Caller().request, lambda _: "answer"))
        await queued(submitter, 1)
        with pytest.raises(QueueFullError):
            await submitter.call(Caller().request, lambda _: None)
        engine.gate.open(STEPS)
        assert await waiting == "answer"

    run(test)
    assert full[0]["finish_reason"] == "QUEUE_IS_FULL"


def test_a_server_that_stops_answers_waiting_calls(submitter: Submitter, busy: FakeEngine) -> None:
    async def test() -> None:
        call = submitter.call(Caller().request, lambda _: None)
        waiting = asyncio.ensure_future(call)
        await queued(submitter, 1)
        submitter.queue.close()
        with pytest.raises(ServerStoppingError):
            await waiting
        busy.gate.open(STEPS)

    run(test)
